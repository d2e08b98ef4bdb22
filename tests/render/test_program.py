"""What is shown of a program: a line for each model, equal trees once, and never more than a screen."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from fwdtrace.render.kept_calls import Model, how_to_record_backward, model_lines
from fwdtrace.render.program import (
    ROOM_FOR_CRASH,
    SCREEN,
    SCREEN_WITH_TRACEBACK,
    _rooms,
    _those_with_room,
    print_crash,
    print_event,
    print_program,
)
from fwdtrace.trace import CallError, Finding, NonFinite, Trace
from fwdtrace.trace.called import Called, Mode
from tests.helpers.traces import call, tensor, trace

TRAIN: Mode = "training with gradients"


def net(number: int = 1, rows: int = 2, *, training: bool = True, layers: int = 1) -> Trace:
    """A call of a model with some layers."""
    leaves = (tensor(rows, 4),)
    calls = [call(0, None, "", "Net", inputs=leaves, outputs=leaves)]
    for id in range(1, layers + 1):
        calls.append(call(id, 0, f"layer{id}", f"Layer{id}", inputs=leaves, outputs=leaves))
    made = trace(*calls, spec=None)
    model = replace(made.model, class_name="m.Net", training=training, name="net")
    return replace(made, model=model, run=replace(made.run, call=number, grad=training))


def of_a_part() -> Trace:
    """A call of a model whose own `__call__` calls one of its layers alone."""
    made = net()
    return replace(made, calls=(call(0, None, "layer", "Layer"),))


def called(counts: dict[Mode, int], **fields: object) -> Called:
    return replace(Called("m.Net", "net", None, None, {("", "__call__"): counts}), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("models", "lines"),
    [
        ([(called({TRAIN: 1}), [net()])], ["Net (net): called once, in training with gradients"]),
        ([(called({TRAIN: 1204}), [net(7)])], ["Net (net): call 7 of 1,204, all in training with gradients"]),
        (
            [(called({"evaluation": 60, TRAIN: 1144}), [net(61)])],
            ["Net (net): call 61 of 1,204, the first of 1,144 in training with gradients"],
        ),
        (
            [(called({"evaluation": 60, TRAIN: 1144}), [net(1, training=False), net(61, layers=2)])],
            [
                "Net (net): call 1 of 1,204, the first of 60 in evaluation; call 61 of 1,204, the first of 1,144 "
                "in training with gradients"
            ],
        ),
        (
            [(called({TRAIN: 3}), [net(1), net(2), net(3)])],
            ["Net (net): calls 1 to 3 of 3, alike, all in training with gradients"],
        ),
        (
            [(called({TRAIN: 3}), [net()])] * 20,
            ["Net (net) ×20: each call 1 of 3, all in training with gradients"],
        ),
        (
            [(called({TRAIN: 3}, path="encoder.0"), [net()]), (called({TRAIN: 3}, path="encoder.1"), [net(rows=3)])],
            [
                "Net (encoder.0): call 1 of 3, all in training with gradients",
                "Net (encoder.1): call 1 of 3, all in training with gradients",
            ],
        ),
        (
            [(called({TRAIN: 3}, wraps="GPT", counted=False), [net()])],
            ["Net of GPT (net): call 1 of 3 or more, all in training with gradients"],
        ),
        (
            [(called({TRAIN: 3}), [of_a_part()])],
            ["Net (net): call 1 of 3, all in training with gradients"],
        ),
    ],
)
def test_a_line_says_which_call_of_how_many_is_shown(models: list[Model], lines: list[str]) -> None:
    assert model_lines(models) == lines


def test_a_call_that_was_chosen_by_its_number_is_not_said_to_be_the_first_of_its_mode() -> None:
    counts: dict[Mode, int] = {"evaluation": 1, TRAIN: 12}
    models: list[Model] = [(called(counts), [net(1, training=False), net(4), net(7)])]
    assert model_lines(models, by_number=True) == [
        "Net (net): call 1 of 13, the only one in evaluation; calls 4 and 7 of 13, alike, 2 of 12 in training with "
        "gradients"
    ]
    raised = replace(net(9), run=replace(net(9).run, event="error"))
    assert model_lines([(called(counts), [raised])]) == [
        "Net (net): call 9 of 13, one of 12 in training with gradients"
    ]


def printed(models: list[Model], **how: object) -> tuple[list[str], str]:
    options: dict[str, object] = {"depth": None, "fold": True, "beside": 2, **how}
    out = io.StringIO()
    left_out = print_program(models, Console(file=out, width=80), **options)  # type: ignore[arg-type]
    return out.getvalue().splitlines(), left_out


def test_equal_trees_are_shown_once() -> None:
    lines, left_out = printed([(called({TRAIN: 3}), [net()])] * 20)
    assert sum(line.startswith("m.Net") for line in lines) == 1
    assert left_out == ""


@pytest.mark.parametrize("screen", [SCREEN, SCREEN_WITH_TRACEBACK])
def test_a_long_tree_is_cut_to_a_screen_and_says_how_to_see_all(screen: int) -> None:
    model = (called({TRAIN: 3}), [net(layers=200)])
    lines, left_out = printed([model], screen=screen)
    assert len(lines) + 2 <= screen
    assert "+200 calls, --depth 1 shows more" in "\n".join(lines)
    assert left_out == (
        "left out to fit the screen: deeper calls; --depth 2 shows all, -o FILE.html opens in a browser"
    )


def test_all_of_it_is_shown_if_a_depth_is_given() -> None:
    lines, left_out = printed([(called({TRAIN: 3}), [net(layers=200)])], depth=9)
    assert len(lines) > 200
    assert left_out == ""


def test_of_many_models_some_trees_are_shown_and_the_others_counted() -> None:
    models = [(called({TRAIN: 3}), [net(rows=rows)]) for rows in range(1, 9)]
    lines, left_out = printed(models)
    assert sum(line.startswith("m.Net") for line in lines) == 4
    assert left_out.startswith("left out to fit the screen: 4 trees; ")
    lines, left_out = printed(models, screen=SCREEN_WITH_TRACEBACK, beside=20)
    assert sum(line.startswith("m.Net") for line in lines) == 2
    assert left_out.startswith("left out to fit the screen: 6 trees")


@pytest.mark.parametrize("layers", [1, 200])
def test_what_raised_is_shown_with_its_finding_last(layers: int) -> None:
    failed = net(layers=layers)
    error = CallError("RuntimeError", "no")
    calls = (*failed.calls[:-1], replace(failed.calls[-1], error=error, outputs=()))
    finding = Finding("FT006", "forward-error", 1, "why it raised")
    failed = replace(failed, calls=calls, findings=(finding,), run=replace(failed.run, event="error", replay="exact"))
    out = io.StringIO()
    print_crash(failed, Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert lines[0] == "fwdtrace: the call that raised, run once more to be seen"
    assert "  why it raised" in lines[-5:]
    assert len(lines) <= ROOM_FOR_CRASH + 2


def test_of_a_long_call_in_which_something_happened_its_row_is_shown_with_its_callers_and_what_is_near() -> None:
    leaves = (tensor(2, 4),)
    calls = [call(0, None, "", "Net", inputs=leaves, outputs=leaves)]
    for number in range(60):  # blocks of different classes, which do not fold
        calls.append(call(2 * number + 1, 0, f"b{number}", f"Block{number}", inputs=leaves, outputs=leaves))
        calls.append(call(2 * number + 2, 2 * number + 1, f"b{number}.c", "C", inputs=leaves, outputs=leaves))
    calls[62] = replace(calls[62], nonfinite=NonFinite(1, 0, inputs_finite=True))
    finding = Finding("FT005", "non-finite", 62, "why it is not finite")
    happened = replace(trace(*calls, spec=None), findings=(finding,))
    out = io.StringIO()
    print_event(happened, Console(file=out, width=80), depth=None, fold=True, columns=(), only=(), room=24)
    lines = out.getvalue().splitlines()
    assert len(lines) <= 24
    assert [line.split()[:2] for line in lines[3:15]] == [
        ["Net", "__call__"],
        ["…", "56"],
        *(words for number in (28, 29, 30, 31, 32) for words in ([f"├╴b{number}", f"Block{number}"], ["│", "└╴c"])),
    ]
    assert [line for line in lines if "FT005 non-finite" in line][:1] == lines[10:11]
    assert lines[15:16] + lines[-1:] == ["… 55 lines", "  why it is not finite"]


def test_of_models_of_one_class_the_line_says_how_each_came_to_be() -> None:
    copy = replace(called({"evaluation": 1}), name="ema", origin="a copy")
    assert model_lines([(called({TRAIN: 3}), [net()]), (copy, [net(training=False)])])[1] == (
        "Net (ema, a copy): called once, in evaluation"
    )
    assert model_lines([(copy, [net(training=False)])]) == ["Net (ema): called once, in evaluation"]


def test_a_large_tree_has_the_room_that_small_ones_leave() -> None:
    assert _rooms([5, 100, 8], 60) == [5, 47, 8]
    assert _rooms([100, 100], 60) == [30, 30]


def test_where_room_is_short_the_trees_of_training_are_shown() -> None:
    traces = [net(rows=1, training=False), net(rows=2), net(rows=3)]
    assert _those_with_room(traces, 20) == traces[1:]
    assert _those_with_room(traces, 1) == traces[1:2]


def test_the_last_call_of_the_only_model_is_the_one_to_record_after_a_backward_that_raised() -> None:
    one = called({TRAIN: 41, "evaluation": 1})
    assert how_to_record_backward([one]) == (
        "backward raised; exec --backward --call 42 records call 42 until an optimizer steps: if backward raises by "
        "then, it names the op that wrote or the graph that was used twice"
    )
    for models in ([one, one], [replace(one, counted=False)], []):
        assert "--call N records call N " in how_to_record_backward(models)
