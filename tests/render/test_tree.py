"""The tree in the terminal, letter for letter at 80 columns and in parts elsewhere, on traces made by hand."""

from __future__ import annotations

import io
from dataclasses import replace
from textwrap import dedent
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from fwdtrace.render.tree import print_tree, tree_text
from fwdtrace.trace import CallError, Finding, Hook, NonFinite, Op, RunInfo, Site, TensorMeta, Trace, Value
from tests.helpers.traces import FAST_PATH, call, everything, lenet, odd, tensor, trace

HEAD = "model.py:Net · torch 2.13.0 · eval, no grad · cpu · 1,234 parameters"


def drawn(text: str) -> str:
    return dedent(text).strip("\n")


def rows(shown: Trace, width: int = 80, **options: Any) -> list[str]:
    """The rows of the tree, without header, titles and what stands below."""
    return tree_text(shown, width=width, **options).split("\n\n")[1].split("\n")[1:]


def row_of(name: str, shown: Trace, width: int = 120) -> str:
    """The one row that begins with this name, guides apart."""
    (found,) = (row for row in rows(shown, width) if row.lstrip("├└╴│ ").startswith(name))
    return found


def below_root(**fields: Any) -> Trace:
    """A root that makes one call, with these fields."""
    return trace(call(0, None, "", "Net"), call(1, 0, fields.pop("path", "layer"), "Layer", **fields))


def blocks(number: int, **last: Any) -> Trace:
    """Blocks of two layers in a row, then a norm; `last` are fields in which the last block differs."""
    calls = [call(0, None, "", "Net", parameters=99)]
    for index in range(number):
        at = len(calls)
        fields = last if index == number - 1 else {}
        calls += [
            call(at, 0, f"layers.{index}", "Block", parameters=2128, **fields),
            call(at + 1, at, f"layers.{index}.up", "Linear", (1, 16), (1, 64), depth=2, parameters=1088),
            call(at + 2, at, f"layers.{index}.down", "Linear", (1, 64), (1, 16), depth=2, parameters=1040),
        ]
    return trace(*calls, call(len(calls), 0, "norm", "LayerNorm", parameters=32))


def failing() -> Trace:
    """The second layer of a body raises."""
    message = "mat1 and mat2 shapes cannot be multiplied (1x400 and 256x120)"
    above = CallError("RuntimeError", message, raised_below=True)
    return trace(
        call(0, None, "", "Net", (1, 3), parameters=9, error=above),
        call(1, 0, "body", "Sequential", (1, 3), error=above),
        call(2, 1, "body.0", "Conv2d", (1, 3), depth=2),
        call(3, 1, "body.1", "Linear", (1, 400), depth=2, error=CallError("RuntimeError", message)),
    )


def test_lenet_with_a_direct_call_at_80_columns() -> None:
    finding = Finding("FT001", "direct-forward", 8, "f5.forward ran without __call__", lenet().calls[8].site)
    assert tree_text(replace(lenet(direct=True), findings=(finding,)), width=80) == drawn(
        """
        lenet · torch 2.13.0 · eval, no grad · cpu · 1,234 parameters

        module            called             input      → output     params from
        LeNet             __call__ → forward 1×3×32×32  → 1×10       62,006 model.py:5
        ├╴c1 Conv2d       __call__ → forward 1×3×32×32  → 1×6×28×28     456 model.py:23
        ├╴sig Sigmoid     __call__ → forward 1×6×28×28  → 1×6×28×28         model.py:23
        ├╴s2 MaxPool2d    __call__ → forward 1×6×28×28  → 1×6×14×14         model.py:24
        ├╴c3 Conv2d       __call__ → forward 1×6×14×14  → 1×16×10×10  2,416 model.py:25
        ├╴sig #2 Sigmoid  __call__ → forward 1×16×10×10 → 1×16×10×10        model.py:25
        ├╴s2 #2 MaxPool2d __call__ → forward 1×16×10×10 → 1×16×5×5          model.py:26
        ├╴flatten Flatten __call__ → forward 1×16×5×5   → 1×400             model.py:27
        ├╴f5 Linear       forward DIRECT     1×400      → 1×120      48,120 model.py:28
        │   1 hook skipped
        ├╴f6 Linear       __call__ → forward 1×120      → 1×84       10,164 model.py:29
        └╴f7 Linear       __call__ → forward 1×84       → 1×10          850 model.py:30

        FT001 direct-forward  model.py:28
          f5.forward ran without __call__

        11 calls · 1 direct · 1.5 ms
        chain  Module._wrapped_call_impl → Module._call_impl → forward  ×10
               forward  ×1
        """
    )


def test_lenet_with_a_direct_call_at_160_columns() -> None:
    assert tree_text(lenet(direct=True), width=160) == drawn(
        """
        lenet · torch 2.13.0 · eval, no grad · cpu · 1,234 parameters

        module             called              input      → output      params  from
        LeNet              __call__ → forward  1×3×32×32  → 1×10        62,006  model.py:5
        ├╴c1 Conv2d        __call__ → forward  1×3×32×32  → 1×6×28×28      456  model.py:23
        ├╴sig Sigmoid      __call__ → forward  1×6×28×28  → 1×6×28×28           model.py:23
        ├╴s2 MaxPool2d     __call__ → forward  1×6×28×28  → 1×6×14×14           model.py:24
        ├╴c3 Conv2d        __call__ → forward  1×6×14×14  → 1×16×10×10   2,416  model.py:25
        ├╴sig #2 Sigmoid   __call__ → forward  1×16×10×10 → 1×16×10×10          model.py:25
        ├╴s2 #2 MaxPool2d  __call__ → forward  1×16×10×10 → 1×16×5×5            model.py:26
        ├╴flatten Flatten  __call__ → forward  1×16×5×5   → 1×400               model.py:27
        ├╴f5 Linear        forward DIRECT      1×400      → 1×120       48,120  model.py:28  1 hook skipped
        ├╴f6 Linear        __call__ → forward  1×120      → 1×84        10,164  model.py:29
        └╴f7 Linear        __call__ → forward  1×84       → 1×10           850  model.py:30

        11 calls · 1 direct · 1.5 ms
        chain  Module._wrapped_call_impl → Module._call_impl → forward  ×10
               forward  ×1
        """
    )


def test_a_narrow_terminal_drops_columns_and_says_which() -> None:
    assert tree_text(lenet(direct=True), width=40) == drawn(
        """
        lenet · torch 2.13.0 · eval, no grad
        cpu · 1,234 parameters

        module            → output
        LeNet             → 1×10
        ├╴c1 Conv2d       → 1×6×28×28
        ├╴sig Sigmoid     → 1×6×28×28
        ├╴s2 MaxPool2d    → 1×6×14×14
        ├╴c3 Conv2d       → 1×16×10×10
        ├╴sig #2 Sigmoid  → 1×16×10×10
        ├╴s2 #2 MaxPool2d → 1×16×5×5
        ├╴flatten Flatten → 1×400
        ├╴f5 Linear       → 1×120
        │   DIRECT · 1 hook skipped
        ├╴f6 Linear       → 1×84
        └╴f7 Linear       → 1×10

        11 calls · 1 direct · 1.5 ms
        chain  Module._wrapped_call_impl →…  ×10
               forward  ×1
        too narrow for the source, parameters,
        inputs, entry
        """
    )


def test_an_error_is_told_once_where_it_began() -> None:
    assert tree_text(failing()) == drawn(
        f"""
        {HEAD}

        module             called              input → output  params  from
        Net                __call__ → forward  1×3   → ✗            9  model.py:10
        └╴body Sequential  __call__ → forward  1×3   → ✗               model.py:10
          ├╴0 Conv2d       __call__ → forward  1×3   → 1×16            model.py:10
          └╴1 Linear       __call__ → forward  1×400 → ✗               model.py:10
              ✗ RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x400 and
              256x120)

        4 calls · 1 raised · 1.5 ms
        chain  Module._wrapped_call_impl → Module._call_impl → forward  ×4
        """
    )


def test_equal_blocks_fold_into_the_first() -> None:
    assert tree_text(blocks(12)) == drawn(
        f"""
        {HEAD}

        module            called              input → output  params  from
        Net               __call__ → forward  1×16  → 1×16        99  model.py:10
        ├╴layers.0 Block  __call__ → forward  1×16  → 1×16     2,128  model.py:10
        │ ├╴up Linear     __call__ → forward  1×16  → 1×64     1,088  model.py:10
        │ └╴down Linear   __call__ → forward  1×64  → 1×16     1,040  model.py:10
        ├┄layers.0 … layers.11  ×12, same shapes  +33 calls, --no-fold shows them
        └╴norm LayerNorm  __call__ → forward  1×16  → 1×16        32  model.py:10

        38 calls · 1.5 ms
        chain  Module._wrapped_call_impl → Module._call_impl → forward  ×38
        """
    )


def test_no_fold_shows_every_block() -> None:
    shown = rows(blocks(12), fold=False)
    assert len(shown) == 38
    assert sum("Block" in row for row in shown) == 12


@pytest.mark.parametrize(
    "difference",
    [
        {"class_name": "OtherBlock"},
        {"entry": "forward"},
        {"outputs": (tensor(1, 17),)},
        {"outputs": (tensor(1, 16, dtype="bfloat16"),)},
        {"parameters": 3000},
        {"hooks": (Hook("forward", "look", True),)},
        {"error": CallError("ValueError", "no")},
        {"line": 99},
        {"thread": "worker"},
        {"opaque": "compiled"},
        {"path": "layers.7"},
        {"path": "last"},
        {"chain": ("Module.__call__", "Block.forward")},
        {"nonfinite": NonFinite(1, 0, True)},
    ],
)
def test_a_block_that_differs_is_not_folded(difference: dict[str, Any]) -> None:
    shown = blocks(4)
    calls = list(shown.calls)
    at = next(number for number, made in enumerate(calls) if made.path == "layers.3")
    site = calls[at].site
    if "line" in difference and site is not None:
        difference = {"site": replace(site, line=99)}
    calls[at] = replace(calls[at], **difference)
    folded = "\n".join(rows(replace(shown, calls=tuple(calls))))
    assert "layers.0 … layers.2  ×3, same shapes" in folded


def test_what_differs_below_a_block_keeps_it_from_folding() -> None:
    calls = list(blocks(4).calls)
    calls[-2] = replace(calls[-2], outputs=(tensor(1, 99),))
    assert "layers.0 … layers.2  ×3" in "\n".join(rows(replace(blocks(4), calls=tuple(calls))))


def test_blocks_that_run_backwards_or_in_steps_fold_and_those_in_disorder_do_not() -> None:
    def run(*order: int) -> str:
        return "\n".join(
            rows(trace(call(0, None, "", "Net"), *(call(n + 1, 0, f"a.{i}", "A") for n, i in enumerate(order))))
        )

    assert "a.5 … a.2  ×4" in run(5, 4, 3, 2)
    assert "a.0 … a.6  ×4" in run(0, 2, 4, 6)
    assert "same shapes" not in run(0, 2, 1, 3)
    assert "same shapes" not in run(0, 1, 3, 2)


def test_folding_that_would_save_no_row_is_not_done() -> None:
    two = trace(call(0, None, "", "Net"), call(1, 0, "a.0", "A"), call(2, 0, "a.1", "A"))
    assert len(rows(two)) == 3 and "same shapes" not in tree_text(two)


def test_a_cache_that_grows_from_layer_to_layer_is_named() -> None:
    calls = [call(0, None, "", "Net")]
    for index in range(6):
        cache = tuple(tensor(1, 2, 7, name=f"cache.layers[{layer}].keys") for layer in range(index))
        inputs = (tensor(1, 16, name="x"), Value("index", str(index)), *(cache or (Value("cache", "Cache(…)"),)))
        calls.append(call(index + 1, 0, f"layers.{index}", "Block", inputs=inputs))
    assert rows(trace(*calls))[2:] == [
        "└┄layers.0 … layers.5  ×6, same shapes but in cache",
        "    +5 calls, --no-fold shows them",
    ]


def test_a_loop_of_two_modules_folds() -> None:
    steps = (
        made
        for step in range(20)
        for made in (
            call(2 * step + 1, 0, "cell", "Cell", nth=step + 1),
            call(2 * step + 2, 0, "out", "Linear", nth=step + 1),
        )
    )
    assert rows(trace(call(0, None, "", "Net"), *steps))[1:] == [
        "├╴cell Cell   __call__ → forward  1×16  → 1×16    model.py:10",
        "├╴out Linear  __call__ → forward  1×16  → 1×16    model.py:10",
        "└┄cell #1, out #1 … cell #20, out #20  ×20, same shapes",
        "    +38 calls, --no-fold shows them",
    ]


def test_the_same_call_of_the_root_again_and_again_folds() -> None:
    calls = [
        made
        for n in range(9)
        for made in (call(2 * n, None, "", "Net", nth=n + 1), call(2 * n + 1, 2 * n, "a", "A", nth=n + 1))
    ]
    assert rows(trace(*calls))[2] == "Net #1 … Net #9  ×9, same shapes  +16 calls, --no-fold shows them"


def test_depth_cuts_and_says_what_it_cut() -> None:
    assert rows(blocks(2), depth=1) == [
        "Net               __call__ → forward  1×16  → 1×16        99  model.py:10",
        "├╴layers.0 Block  __call__ → forward  1×16  → 1×16     2,128  model.py:10",
        "│   +2 calls, --depth 2 shows more",
        "├┄layers.0 … layers.1  ×2, same shapes  +3 calls, --no-fold shows them",
        "└╴norm LayerNorm  __call__ → forward  1×16  → 1×16        32  model.py:10",
    ]


def test_depth_does_not_hide_what_raised() -> None:
    shown = "\n".join(rows(failing(), depth=0))
    assert "└╴1 Linear" in shown and "✗ RuntimeError" in shown and "Conv2d" not in shown
    assert "+1 call, --depth 2 shows more" in shown


def test_ops_stand_between_the_calls_and_fold_too() -> None:
    site = Site("/home/user/model.py", 3, "f", "x = x + 1")
    plus = (Op(5 + n, 0, "+", (tensor(4, name="0"), Value("1", "1")), (tensor(4),), site) for n in range(5))
    ops = (Op(1, 0, "torch.flatten", (tensor(1, 4, name="input"),), (tensor(4),), site), *plus)
    calls = (call(0, None, "", "Net", (1, 4), (4,)), call(2, 0, "fc", "Linear", (4,), (4,)))
    assert rows(trace(*calls, ops=ops)) == [
        "Net              __call__ → forward  1×4   → 4       model.py:10",
        "├╴torch.flatten                      1×4   → 4       model.py:3",
        "├╴fc Linear      __call__ → forward  4     → 4       model.py:10",
        "├╴+                                  4, 1  → 4       model.py:3",
        "└┄+  ×5, same shapes  +4 ops, --no-fold shows them",
    ]
    assert "2 calls · 6 ops · 1.5 ms" in tree_text(trace(*calls, ops=ops))


def test_a_module_is_named_below_its_caller_and_in_full_elsewhere() -> None:
    shown = trace(
        call(0, None, "", "Net"),
        call(1, 0, "layers.0", "Block"),
        call(2, 1, "layers.0.fc", "Linear", depth=2),
        call(3, 1, "shared", "ReLU", depth=2),
        call(4, 1, None, "Softmax", depth=2),
    )
    assert [row.split("__call__")[0].rstrip() for row in rows(shown)] == [
        "Net",
        "└╴layers.0 Block",
        "  ├╴fc Linear",
        "  ├╴shared ReLU",
        "  └╴(Softmax)",
    ]


@pytest.mark.parametrize(
    ("fields", "cell"),
    [
        ({"inputs": (tensor(1, 7, name="ids", dtype="int64"),), "outputs": (tensor(1, 7, 32),)}, "1×7 i64 → 1×7×32"),
        ({"inputs": (tensor(1, 7, name="x"), tensor(1, 7, name="mask", dtype="bool"))}, "1×7, mask 1×7 bool → 1×16"),
        ({"inputs": (Value("scale", "2.0"), tensor(3, name="x"))}, "3, scale=2.0 → 1×16"),
        ({"inputs": (tensor(3, name="x"), Value("mask", "None"))}, "3, mask=None → 1×16"),
        ({"inputs": (tensor(3, name="x"), Value("a", "None"), Value("b", "None"))}, "3, 2 None → 1×16"),
        ({"inputs": ()}, "() → 1×16"),
        ({"outputs": (tensor(2, name="[0]"), Value("[1]", "None"))}, "1×16 → (2, None)"),
        ({"outputs": (tensor(2, name="[0]"),)}, "1×16 → (2)"),
        ({"outputs": (tensor(2, name=".logits"), tensor(3, name=".state[0]"))}, "1×16 → (logits 2, state 3)"),
        ({"outputs": (Value("", "None"),)}, "1×16 → None"),
        ({"outputs": (tensor(),)}, "1×16 → scalar"),
        ({"outputs": (tensor(3, -1, 0),)}, "1×16 → 3×?×0"),
        ({"outputs": (tensor(3, device="cuda:1"),)}, "1×16 → 3 cuda:1"),
        ({"outputs": (TensorMeta("", (3, 3), "float32", layout="sparse_coo"),)}, "1×16 → 3×3 sparse_coo"),
        ({"outputs": tuple(tensor(2, name=f".cache[{n}].k") for n in range(9))}, "1×16 → (cache 9 leaves)"),
        ({"outputs": (tensor(2, dtype="float8_e4m3fn"),)}, "1×16 → 2 f8_e4m3fn"),
        ({"outputs": (tensor(2, dtype="complex64"),)}, "1×16 → 2 c64"),
    ],
)
def test_leaves_are_shown_in_few_words(fields: dict[str, Any], cell: str) -> None:
    assert cell in " ".join(row_of("layer", below_root(**fields)).split())


def test_a_side_that_does_not_fit_says_how_much_it_leaves_out() -> None:
    many = tuple(tensor(1, 7, 64, name=f"argument_{number}") for number in range(9))
    shown = below_root(inputs=many, outputs=many)
    assert " 1×7×64, +8 → (1×7×64, +8) " in row_of("layer", shown, 70)
    assert " 1×7×64, 1×7×64, 1×7×64, +6 → (1×7×64, 1×7×64, 1×7×64, +6) " in row_of("layer", shown, 110)


def test_a_model_of_another_type_says_so_once() -> None:
    half = tensor(1, 7, dtype="bfloat16")
    text = tree_text(trace(call(0, None, "", "Net", inputs=(replace(half, name="x"),), outputs=(half,))))
    assert "· cpu, bf16 ·" in text
    assert "1×7   → 1×7 " in text


def test_hooks_that_ran_are_counted_and_those_that_did_not_are_skipped() -> None:
    ran, waits = Hook("forward", "look", True), Hook("full_backward", "watch", False)
    changed = Hook("forward_pre", "scale", True, changed=True)
    override = Hook("call_override", "Layer.__call__", False)

    def mark(**fields: Any) -> str:
        return row_of("layer", below_root(**fields)).split("model.py:10")[1].strip()

    assert mark(hooks=(ran,)) == "1 hook"
    assert mark(hooks=(ran, changed)) == "2 hooks, a value changed"
    assert mark(hooks=(waits,)) == "1 backward hook"
    assert mark(hooks=(replace(ran, fired=False),)) == "1 hook skipped"
    assert mark(hooks=(ran, waits), thread="worker") == "1 hook · 1 backward hook · thread worker"
    assert mark(entry="forward", hooks=(override, waits)) == "1 hook skipped · own __call__ skipped"
    assert mark(nonfinite=NonFinite(3, 1, True)) == "3 NaN · 1 inf"


def test_how_a_call_went_in_comes_from_the_chain_that_was_seen() -> None:
    assert "__call__ → forward" in row_of("layer", below_root())
    assert "__call__ → compiled" in row_of("layer", below_root(opaque="compiled", chain=()))
    assert "__call__ → script" in row_of("layer", below_root(opaque="script", chain=()))
    assert "forward DIRECT" in row_of("layer", below_root(entry="forward"))
    own = row_of("layer", below_root(chain=("Layer.__call__", *FAST_PATH, "Layer.forward")))
    assert "__call__ → forward" in own and own.endswith("own __call__")
    failed_before = below_root(chain=(), error=CallError("ValueError", "a hook said no"))
    assert "→ forward" not in row_of("layer", failed_before)


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


def test_the_header_says_what_ran_and_how() -> None:
    shown = replace(lenet(), run=RunInfo("cuda:0", True, None, 3, 2_500_000.0))
    shown = replace(shown, model=replace(shown.model, spec=None, training=True))
    lines = tree_text(shown).split("\n")
    assert lines[:2] == ["model.Net · torch 2.13.0 · train · cuda:0 · 1,234 parameters · rank 3", ""]
    assert "11 calls · 2.50 s" in lines


def test_findings_stand_below_the_tree_wrapped_and_in_their_paragraphs() -> None:
    site = Site("C:\\code\\model.py", 31, "f", "c")
    message = "word " * 20 + "\nfix: call it"
    shown = trace(findings=(Finding("FT001", "direct-forward", None, message, site), Finding("FT003", "b", None, "c")))
    assert tree_text(shown).split("\n")[2:8] == [
        "FT001 direct-forward  model.py:31",
        "  word word word word word word word word word word word word word word word",
        "  word word word word word",
        "  fix: call it",
        "FT003 b",
        "  c",
    ]


def test_more_findings_than_can_be_read_are_counted() -> None:
    shown = trace(findings=tuple(Finding("FT004", "shared", None, "twice") for _ in range(40)))
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


def test_columns_are_aligned_by_what_characters_take_on_the_screen() -> None:
    shown = trace(
        call(0, None, "", "Net"), call(1, 0, "漢字", "Wide"), call(2, 0, "🙂", "Face"), call(3, 0, "ab", "Thin")
    )
    starts = {cell_len(row.split("__call__")[0]) for row in rows(shown)}
    assert len(starts) == 1


@pytest.mark.parametrize("width", [20, 33, 50, 72, 80, 100, 120, 160, 300])
def test_no_line_is_wider_than_the_terminal_or_ends_in_spaces(width: int) -> None:
    for shown in (lenet(direct=True), blocks(5), failing(), everything(), *map(odd, range(12))):
        for options in ({}, {"fold": False}, {"depth": 1}):
            for line in tree_text(shown, width=width, **options).split("\n"):
                assert cell_len(line) <= width
                assert line == line.rstrip(" ")


@pytest.mark.parametrize("width", [40, 80, 160])
def test_printing_without_colours_gives_the_same_text(width: int) -> None:
    for shown in (lenet(direct=True), failing(), blocks(12), *map(odd, range(12))):
        console = Console(file=io.StringIO(), width=width, color_system=None)
        print_tree(shown, console)
        assert isinstance(console.file, io.StringIO)
        assert console.file.getvalue() == tree_text(shown, width=width) + "\n"


def test_a_direct_call_and_an_error_are_red() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard", no_color=False)
    print_tree(lenet(direct=True), console)
    print_tree(failing(), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "\x1b[1;31mforward DIRECT" in text
    assert "\x1b[1;31m✗ RuntimeError" in text
    assert "\x1b[31m__call__ → forward" in text


def test_a_console_that_takes_no_more_gets_ascii_that_is_still_aligned() -> None:
    taken = io.BytesIO()
    stream = io.TextIOWrapper(taken, encoding="ascii", write_through=True)
    print_tree(trace(call(0, None, "", "Net"), call(1, 0, "größe", "A")), Console(file=stream, width=80))
    assert taken.getvalue().decode("ascii").split("\n")[3:5] == [
        "Net              __call__ > forward  1x16  > 1x16    model.py:10",
        "`-gr\\xf6\\xdfe A  __call__ > forward  1x16  > 1x16    model.py:10",
    ]


def test_recursion_of_any_depth_stays_on_the_page() -> None:
    deep = trace(*(call(id, id - 1 if id else None, "rec" if id else "", "Rec", nth=id + 1) for id in range(2500)))
    shown = rows(deep)
    assert len(shown) == 2500
    assert shown[-1].lstrip("│ ").startswith("⋯2499 rec #2500 Rec")
    assert max(map(cell_len, shown)) <= 80


def test_very_many_calls_fold_into_a_few_rows() -> None:
    calls = [call(0, None, "", "Net")]
    for layer in range(3_000):
        calls.append(call(len(calls), 0, f"layers.{layer}", "Block"))
        parent = calls[-1].id
        calls += [call(parent + 1 + part, parent, f"layers.{layer}.{part}", "Linear", depth=2) for part in range(9)]
    assert [row.split("  ")[0] for row in rows(trace(*calls), 160)] == [
        "Net",
        "├╴layers.0 Block",
        "│ ├╴0 Linear",
        "│ └┄0 … 8",
        "└┄layers.0 … layers.2999",
    ]


def test_a_distributed_tensor_is_shown_with_its_placements_and_the_shape_of_its_part() -> None:
    placed = TensorMeta("x", (6, 8), "float32", placements=("Shard(dim=1)", "Replicate()"), local_shape=(6, 4))
    text = tree_text(trace(call(0, None, "", "Net", inputs=(placed,))))
    assert "6×8 S(1),R here 6×4 → 1×16" in text
