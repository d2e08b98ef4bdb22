"""A call is named, entered and marked in the same words in every form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fwdtrace.render.calls import marks, source, way
from fwdtrace.render.sheet import sheet_for
from fwdtrace.trace import CallError, Hook, NonFinite, Site
from tests.helpers.drawings import below_root, row_of, rows
from tests.helpers.traces import FAST_PATH, call, trace


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


def test_hooks_that_ran_are_counted_and_those_that_did_not_are_skipped() -> None:
    ran, waits = Hook("forward", "look", True), Hook("full_backward", "watch", False)
    changed = Hook("forward_pre", "scale", True, changed=True)
    override = Hook("call_override", "Layer.__call__", False)

    def mark(**fields: Any) -> str:
        return row_of("layer", below_root(**fields)).split(" :10")[1].strip()

    assert mark(hooks=(ran,)) == "1 hook"
    assert mark(hooks=(ran, changed)) == "2 hooks, a value changed"
    assert mark(hooks=(waits,)) == "1 backward hook"
    assert mark(hooks=(replace(ran, fired=False),)) == "1 hook skipped"
    assert mark(hooks=(ran, waits), thread="worker") == "1 hook · 1 backward hook · thread worker"
    assert mark(entry="forward", hooks=(override, waits)) == "1 hook skipped · own __call__ skipped"
    assert mark(nonfinite=NonFinite(3, 1, True)) == "3 NaN · 1 inf"


def test_the_number_of_nan_is_told_once() -> None:
    """A column has it; of infinities, which it counts too, the row tells apart."""

    def told(nan: int, inf: int, *, shown: bool) -> list[str]:
        spoiled = call(1, 0, "layer", "Linear")
        return marks(replace(spoiled, nonfinite=NonFinite(nan, inf, True)), nan_is_shown=shown)

    assert told(3, 0, shown=True) == []
    assert told(3, 0, shown=False) == ["3 NaN"]
    assert told(3, 1, shown=True) == ["3 NaN", "1 inf"]


def test_how_a_call_went_in_comes_from_the_chain_that_was_seen() -> None:
    assert "__call__ → forward" in row_of("layer", below_root())
    assert "__call__ → compiled" in row_of("layer", below_root(opaque="compiled", chain=()))
    assert "__call__ → script" in row_of("layer", below_root(opaque="script", chain=()))
    assert "forward DIRECT" in row_of("layer", below_root(entry="forward"))
    own = row_of("layer", below_root(chain=("Layer.__call__", *FAST_PATH, "Layer.forward")))
    assert "__call__ → forward" in own and own.endswith("own __call__")
    failed_before = below_root(chain=(), error=CallError("ValueError", "a hook said no"))
    assert "→ forward" not in row_of("layer", failed_before)


def test_a_way_into_forward_is_told_without_what_each_step_says_already() -> None:
    inner = (*FAST_PATH, "Module._call_impl.inner", "Layer.forward")
    shown = "Module._wrapped_call_impl → Module._call_impl → inner → forward"
    assert way(call(0, None, "", "Layer", chain=inner)) == shown
    assert way(call(0, None, "", "Layer", chain=(), opaque="script")) == "script"
    assert way(call(0, None, "", "Layer", chain=())) == "forward was not reached"


def test_a_line_is_named_by_its_file_alone_whatever_the_system_it_was_recorded_on() -> None:
    sheet = sheet_for(trace())
    assert [source(Site(file, 3, "f", "c"), sheet) for file in ("/home/user/model.py", "C:\\code\\model.py")] == [
        "model.py:3",
        "model.py:3",
    ]
    assert source(None, sheet) == ""
