"""The text of a comparison, letter for letter, from comparisons written by hand; without torch."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from fwdtrace.compare.difference import Difference
from fwdtrace.compare.direct.comparison import Carried, DirectComparison, Experiment, Fired, Measurement, Round
from fwdtrace.render.direct_forward import comparison_text, print_comparison
from fwdtrace.trace import Finding, ModelInfo, Site, Versions

SAME = (
    Measurement("output", "2×4 float32", "bit-identical", True),
    Measurement("grad_fn", "AddmmBackward0", "AddmmBackward0", True),
    Measurement("training flags", "unchanged", "unchanged", True),
)
APART = (Measurement("output", "2×4 float32", "other numbers", False), *SAME[1:])
NO_GRAPH = (Measurement("output", "2×4 float32", "bit-identical", True),)
FAILED = (Measurement("outcome", "a result", "RuntimeError in backward: a second time", False),)

EQUAL = DirectComparison(
    "No difference found: all is the same.",
    (),
    Versions("0.1.0", "2.13.0", "3.11.7"),
    ModelInfo("net.py:Net", "net.Net", True, 1234),
    copies="a deep copy",
    experiments=(
        Experiment(
            "",
            "model(x)",
            "model.forward(x)",
            ("Module._wrapped_call_impl", "Module._call_impl", "Net.forward"),
            ("Net.forward",),
            (Round("train", "first step", SAME), Round("eval", "first step", SAME)),
            (),
            (Fired("", "forward_pre", "", 1, 0), Fired("", "forward", "", 1, 0), Fired("", "backward", "", 0, 0)),
        ),
    ),
)

DIFFERENT = DirectComparison(
    "lin.forward(x) does not compute what lin(x) computes, as it skips weight_norm.",
    (
        Difference(
            *("output", "numbers", "", "a", "b", "the output differs by up to 0.97", None),
            *("lin", "eval", "changed weights"),
        ),
        Difference(
            *("exception", "exception", "", "a result", "RuntimeError", "lin.forward(x) raises RuntimeError", None),
            *("lin", "eval", "second step"),
        ),
        *(
            Difference(
                *("calls", "cost", f"layers.{number}", "twice", "once", f"layers.{number} runs twice, once", None),
                *("lin", None, None),
            )
            for number in range(5)
        ),
    ),
    EQUAL.versions,
    EQUAL.model,
    fix="write lin(x) instead of lin.forward(x)",
    inventory=(
        *(
            Carried(f"lin.{number}", "Linear", "forward_pre", "torch.nn.utils.weight_norm.WeightNorm", "weight_norm")
            for number in range(5)
        ),
        Carried("", "Net", "full_backward", "net.look", None, "net.py", 7),
        Carried("head", "Linear", "parametrization", "Orthogonal of weight"),
    ),
    experiments=(
        Experiment(
            "lin",
            "lin(x)",
            "lin.forward(x)",
            ("Module._wrapped_call_impl", "Module._call_impl", "Module._call_impl.inner", "Linear.forward"),
            ("Linear.forward",),
            (
                Round("eval", "first step", SAME),
                Round("eval", "second step", FAILED),
                Round("eval", "changed weights", APART),
            ),
            (Fired("lin", "forward_pre", "torch.nn.utils.weight_norm.WeightNorm", 1, 0),),
        ),
    ),
    findings=tuple(
        Finding(
            "FT001", "direct-forward", 3, f"b.{number}.forward ran", Site("net.py", 9, "Net.forward", "x = [red](x)")
        )
        for number in range(2)
    ),
    notes=("train mode: model(x) itself raises ValueError",),
)


def test_a_comparison_without_a_difference() -> None:
    assert (
        comparison_text(EQUAL)
        == """\
Net · net.py:Net · 1,234 parameters · every run on a deep copy

Nothing on this model acts through __call__: no hook, no __call__ of its own,
nothing compiled in place.

                        model(x)                    model.forward(x)
  ran                   Module._wrapped_call_impl → Net.forward
                        Module._call_impl →
                        Net.forward
  first step, train mode
=   output              2×4 float32                 bit-identical
=   grad_fn             AddmmBackward0              AddmmBackward0
=   training flags      unchanged                   unchanged
  a hook added to a copy, to see whether it runs
    each of 2 kinds     once                        never
      (forward pre-hook, forward hook)
    backward hook       never                       never

= the same in all 2 rounds: first step, each in train and eval mode
  As measured, autograd was at work on both sides and no training flag changed
  on either.

No difference found: all is the same."""
    )


def test_a_comparison_with_differences() -> None:
    assert (
        comparison_text(DIFFERENT)
        == """\
Net · net.py:Net · 1,234 parameters

Acts through __call__, and not when its own module is run directly
  lin.0, lin.1, lin.2   forward pre-hook: weight_norm
  and 2 more
  the model             full backward hook: net.look, net.py:7
Acts in forward, and in a direct call too
  head                  parametrization: Orthogonal of weight

                        lin(x)                      lin.forward(x)
  ran                   Module._wrapped_call_impl → Linear.forward
                        Module._call_impl →
                        Module._call_impl.inner →
                        Linear.forward
✗ weight_norm on lin    once                        never
  first step, eval mode
=   output              2×4 float32                 bit-identical
=   grad_fn             AddmmBackward0              AddmmBackward0
=   training flags      unchanged                   unchanged

                        eval     eval     eval
                        first    second   changed
  output                =                 ✗
  grad_fn               =                 =
  training flags        =                 =
  outcome               =        ✗        =
  As measured, autograd was at work on both sides and no training flag changed
  on either.

wrong numbers
  ✗ the output differs by up to 0.97
    in changed weights of eval mode

exception
  ✗ lin.forward(x) raises RuntimeError
    in second step of eval mode

same numbers at another cost
  ✗ layers.0 runs twice, once
  ✗ layers.1 runs twice, once
  ✗ layers.2 runs twice, once
    … and 2 more of the same kind, which --json lists

The model runs forward directly by itself
  ✗ FT001 b.0.forward ran (and 1 more from this line)
    net.py:9  x = [red](x)

Note: train mode: model(x) itself raises ValueError

lin.forward(x) does not compute what lin(x) computes, as it skips weight_norm.
Fix: write lin(x) instead of lin.forward(x)."""
    )


def test_many_modules_have_a_line_each_where_they_differ() -> None:
    experiments = tuple(
        Experiment(name, f"{name}(x)", f"{name}.forward(x)", rounds=(Round("eval", "first step", SAME),))
        for name in ("lin", "act", "norm")
    )
    unreached = Experiment("head", "head(x)", "head.forward(x)", reached=False)
    text = comparison_text(
        replace(DIFFERENT, experiments=(*experiments, unreached), inventory=(), findings=(), notes=())
    )
    assert (
        text
        == """\
Net · net.py:Net · 1,234 parameters

Nothing on this model acts through __call__: no hook, no __call__ of its own,
nothing compiled in place.

Run directly, one at a time
✗ lin.forward(x)   the output differs by up to 0.97; lin.forward(x) raises
                   RuntimeError
    --at shows one in full, --json all 7 differences
= 2 modules the same in all rounds: act, norm
  1 module never called by the model, so not measured: head

lin.forward(x) does not compute what lin(x) computes, as it skips weight_norm.
Fix: write lin(x) instead of lin.forward(x)."""
    )


def test_a_module_that_was_not_reached_says_so() -> None:
    unreached = Experiment("head", "head(x)", "head.forward(x)", reached=False)
    text = comparison_text(replace(EQUAL, experiments=(unreached,)))
    assert "head(x) is never run by the model, so nothing was measured." in text


def test_a_mode_without_a_graph_claims_nothing_of_autograd() -> None:
    experiment = replace(EQUAL.experiments[0], rounds=(Round("eval", "first step", NO_GRAPH),))
    assert "As measured" not in comparison_text(replace(EQUAL, experiments=(experiment,)))


@pytest.mark.parametrize("width", [50, 60, 80, 120, 160])
def test_it_fits_the_width(width: int) -> None:
    lines = [
        line for comparison in (EQUAL, DIFFERENT) for line in comparison_text(comparison, width=width).splitlines()
    ]
    assert max(map(len, lines)) <= width


def test_brackets_are_text_and_colours_only_where_there_are_any() -> None:
    plain, coloured = io.StringIO(), io.StringIO()
    print_comparison(DIFFERENT, Console(file=plain, width=80))
    print_comparison(DIFFERENT, Console(file=coloured, width=80, force_terminal=True, color_system="standard"))
    assert plain.getvalue() == comparison_text(DIFFERENT) + "\n"
    assert "x = [red](x)" in coloured.getvalue() and "\x1b[31m✗" in coloured.getvalue()


def test_an_output_that_takes_ascii_only_gets_ascii() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_comparison(EQUAL, Console(file=stream, width=80))
    stream.seek(0)
    assert "Net - net.py:Net - 1,234 parameters" in stream.read()
