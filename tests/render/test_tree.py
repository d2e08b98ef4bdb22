"""The tree in the terminal, letter for letter at 80 columns and in parts elsewhere, on traces made by hand."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from fwdtrace.render.tree import print_tree, tree_text
from fwdtrace.trace import CallError, Finding, Op, Site, Value
from tests.helpers.drawings import HEAD, below_root, blocks, drawn, failing, rows
from tests.helpers.traces import FAST_PATH, call, lenet, tensor, trace


def test_lenet_with_a_direct_call_at_80_columns() -> None:
    finding = Finding("FT001", "direct-forward", 8, "f5.forward ran without __call__", lenet().calls[8].site)
    assert tree_text(replace(lenet(direct=True), findings=(finding,)), width=80) == drawn(
        """
        lenet · torch 2.13.0 · eval, no grad · cpu · 1,234 parameters

        module            called             input      → output     params from
        LeNet             __call__ → forward 1×3×32×32  → 1×10       62,006 model.py:5
        ├╴c1 Conv2d       __call__ → forward 1×3×32×32  → 1×6×28×28     456 :23
        ├╴sig Sigmoid     __call__ → forward 1×6×28×28  → 1×6×28×28         :23
        ├╴s2 MaxPool2d    __call__ → forward 1×6×28×28  → 1×6×14×14         :24
        ├╴c3 Conv2d       __call__ → forward 1×6×14×14  → 1×16×10×10  2,416 :25
        ├╴sig #2 Sigmoid  __call__ → forward 1×16×10×10 → 1×16×10×10        :25
        ├╴s2 #2 MaxPool2d __call__ → forward 1×16×10×10 → 1×16×5×5          :26
        ├╴flatten Flatten __call__ → forward 1×16×5×5   → 1×400             :27
        ├╴f5 Linear       forward DIRECT     1×400      → 1×120      48,120 :28
        │   1 hook skipped
        ├╴f6 Linear       __call__ → forward 1×120      → 1×84       10,164 :29
        └╴f7 Linear       __call__ → forward 1×84       → 1×10          850 :30

        11 calls · 1 direct · 1.5 ms
        0.06 MB activations
        chain  Module._wrapped_call_impl → Module._call_impl → forward  ×10
               forward  ×1

        FT001 direct-forward  model.py:28
          f5.forward ran without __call__
        """
    )


def test_lenet_with_a_direct_call_at_160_columns() -> None:
    assert tree_text(lenet(direct=True), width=160) == drawn(
        """
        lenet · torch 2.13.0 · eval, no grad · cpu · 1,234 parameters

        module             called              input      → output      params  from
        LeNet              __call__ → forward  1×3×32×32  → 1×10        62,006  model.py:5
        ├╴c1 Conv2d        __call__ → forward  1×3×32×32  → 1×6×28×28      456  :23
        ├╴sig Sigmoid      __call__ → forward  1×6×28×28  → 1×6×28×28           :23
        ├╴s2 MaxPool2d     __call__ → forward  1×6×28×28  → 1×6×14×14           :24
        ├╴c3 Conv2d        __call__ → forward  1×6×14×14  → 1×16×10×10   2,416  :25
        ├╴sig #2 Sigmoid   __call__ → forward  1×16×10×10 → 1×16×10×10          :25
        ├╴s2 #2 MaxPool2d  __call__ → forward  1×16×10×10 → 1×16×5×5            :26
        ├╴flatten Flatten  __call__ → forward  1×16×5×5   → 1×400               :27
        ├╴f5 Linear        forward DIRECT      1×400      → 1×120       48,120  :28  1 hook skipped
        ├╴f6 Linear        __call__ → forward  1×120      → 1×84        10,164  :29
        └╴f7 Linear        __call__ → forward  1×84       → 1×10           850  :30

        11 calls · 1 direct · 1.5 ms
        0.06 MB activations
        chain  Module._wrapped_call_impl → Module._call_impl → forward  ×10
               forward  ×1
        """
    )


def test_an_error_is_told_once_where_it_began() -> None:
    assert tree_text(failing()) == drawn(
        f"""
        {HEAD}

        module             called              input → output  params  from
        Net                __call__ → forward  1×3   → ✗            9  model.py:10
        └╴body Sequential  __call__ → forward  1×3   → ✗               :10
          ├╴0 Conv2d       __call__ → forward  1×3   → 1×16            :10
          └╴1 Linear       __call__ → forward  1×400 → ✗               :10
              ✗ RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x400 and
              256x120)

        4 calls · 1 raised · 1.5 ms
        64 B activations
        chain  Module._wrapped_call_impl → Module._call_impl → forward  ×4
        """
    )


def test_equal_blocks_fold_into_the_first() -> None:
    assert tree_text(blocks(12)) == drawn(
        f"""
        {HEAD}

        module            called              input → output  params  from
        Net               __call__ → forward  1×16  → 1×16        99  model.py:10
        ├╴layers.0 Block  __call__ → forward  1×16  → 1×16     2,128  :10
        │ ├╴up Linear     __call__ → forward  1×16  → 1×64     1,088  :10
        │ └╴down Linear   __call__ → forward  1×64  → 1×16     1,040  :10
        ├┄layers.0 … layers.11  ×12, same shapes  +33 calls, --no-fold shows them
        └╴norm LayerNorm  __call__ → forward  1×16  → 1×16        32  :10

        38 calls · 1.5 ms
        3,904 B activations
        chain  Module._wrapped_call_impl → Module._call_impl → forward  ×38
        """
    )


def test_ops_stand_between_the_calls_and_fold_too() -> None:
    site = Site("/home/user/model.py", 3, "f", "x = x + 1")
    plus = (Op(5 + n, 0, "+", (tensor(4, name="0"), Value("1", "1")), (tensor(4),), site) for n in range(5))
    ops = (Op(1, 0, "torch.flatten", (tensor(1, 4, name="input"),), (tensor(4),), site), *plus)
    calls = (call(0, None, "", "Net", (1, 4), (4,)), call(2, 0, "fc", "Linear", (4,), (4,)))
    assert rows(trace(*calls, ops=ops)) == [
        "Net              __call__ → forward  1×4   → 4       model.py:10",
        "├╴torch.flatten                      1×4   → 4       :3",
        "├╴fc Linear      __call__ → forward  4     → 4       :10",
        "├╴+                                  4, 1  → 4       :3",
        "└┄+  ×5, same shapes  +4 ops, --no-fold shows them",
    ]
    assert "2 calls · 6 ops · 1.5 ms" in tree_text(trace(*calls, ops=ops))


def test_the_chains_are_told_once_with_how_often_each_ran() -> None:
    inner = (*FAST_PATH, "Module._call_impl.inner", "Layer.forward")
    shown = trace(
        call(0, None, "", "Net"),
        *(call(number, 0, f"a{number}", "Layer", chain=inner) for number in range(1, 4)),
        call(4, 0, "b", "Layer", chain=(), opaque="script"),
        call(5, 0, "c", "Layer", chain=(), error=CallError("ValueError", "no")),
    )
    assert tree_text(shown).split("\n")[-4:] == [
        "chain  Module._wrapped_call_impl → Module._call_impl → inner → forward  ×3",
        "       Module._wrapped_call_impl → Module._call_impl → forward  ×1",
        "       script  ×1",
        "       forward was not reached  ×1",
    ]


def test_findings_stand_below_the_tree_wrapped_and_in_their_paragraphs() -> None:
    site = Site("C:\\code\\model.py", 31, "f", "c")
    message = "word " * 20 + "\nfix: call it"
    shown = trace(findings=(Finding("FT001", "direct-forward", None, message, site), Finding("FT003", "b", None, "c")))
    assert tree_text(shown).split("\n")[3:] == [
        "",
        "FT001 direct-forward  model.py:31",
        "  word word word word word word word word word word word word word word word",
        "  word word word word word",
        "  fix: call it",
        "FT003 b",
        "  c",
    ]


def test_more_findings_than_can_be_read_are_counted() -> None:
    words = ("a" * (number + 1) for number in range(40))
    shown = trace(findings=tuple(Finding("FT004", "shared", None, word) for word in words))
    assert "15 more findings, --json has all" in tree_text(shown)


def test_an_empty_trace_is_a_header_and_totals() -> None:
    assert tree_text(trace()) == f"{HEAD}\n\n0 calls · 1.5 ms"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[red]x[/red]", "[red]x[/red]"),
        ("</script>", "</script>"),
        ("a\nb\t", "a\\nb\\t"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\ud800", "\\ud800"),
        ("漢字", "漢字"),
        ("שלום", "שלום"),
    ],
)
def test_names_are_text_whatever_is_in_them(name: str, shown: str) -> None:
    made = below_root(path=name, site=Site(f"/x/{name}.py", 1, name, name), error=CallError(name, name))
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system="truecolor")
    print_tree(made, console)
    assert isinstance(console.file, io.StringIO)
    assert shown in console.file.getvalue()
    text = tree_text(made, width=120)
    assert f"└╴{shown} Layer" in text
    assert f"✗ {shown}: {shown}" in text


def test_a_direct_call_and_an_error_are_red() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard", no_color=False)
    print_tree(lenet(direct=True), console)
    print_tree(failing(), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "\x1b[1;31mforward DIRECT" in text
    assert "\x1b[1;31m✗ RuntimeError" in text
    assert "\x1b[31m__call__ → forward" in text
