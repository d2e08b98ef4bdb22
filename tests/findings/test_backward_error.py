"""FT011 on traces written by hand."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.findings.backward_error import backward_error
from fwdtrace.trace import BackwardError, Call, CallError, Finding, Op, Site, Source, TensorMeta
from tests.helpers.traces import call, tensor, trace

SITE = Site("/home/user/model.py", 20, "Net.forward", "gate += 0.1")
CHANGED = BackwardError("RuntimeError", "modified by an inplace operation", 1, "SigmoidBackward0", "result")
FREED = BackwardError("RuntimeError", "a second time", 1, "TanhBackward0", freed=True)


def made(id: int) -> TensorMeta:
    return replace(tensor(1, 16), source=Source(id, 0), requires_grad=True)


ROOT = call(0, None, "", "Net", outputs=(made(2),), line=3)
SIGMOID = Op(1, 0, "torch.sigmoid", (tensor(1, 16),), (made(1),), replace(SITE, line=19))
WRITES = Op(2, 0, "+=", (made(1),), (replace(made(1), changed_by=2),), SITE)


def found(error: BackwardError, *more: Call, root: Call = ROOT) -> tuple[Finding, ...]:
    return tuple(backward_error(trace(root, *more, ops=(SIGMOID, WRITES), backward_errors=(error,))))


def test_the_op_that_wrote_is_where_to_look() -> None:
    assert found(replace(CHANGED, writers=(2,))) == (
        Finding(
            "FT011",
            "backward-error",
            0,
            "+= in the model wrote into the output of torch.sigmoid in the model (line 19),"
            " which the backward of torch.sigmoid needs as it was",
            SITE,
        ),
    )


def test_the_maker_of_an_input_that_was_written_into_is_named() -> None:
    later = Op(3, 0, "*", (made(1),), (made(3),), replace(SITE, line=21))
    writes = replace(WRITES, id=4)
    error = replace(CHANGED, event=3, saved="self", writers=(4,))
    whole = trace(ROOT, ops=(SIGMOID, later, writes), backward_errors=(error,))
    (finding,) = backward_error(whole)
    assert finding.message == (
        "+= in the model wrote into the output of torch.sigmoid in the model (line 19),"
        " which the backward of * in the model (line 21) needs as it was"
    )


def test_a_parameter_that_was_written_into_is_named() -> None:
    (finding,) = found(replace(CHANGED, saved="other", state="fc.weight"))
    assert finding.message == (
        "something that was not observed, as outside of the model, wrote into fc.weight,"
        " which the backward of torch.sigmoid in the model (line 19) needs as it was"
    )


def test_a_state_that_a_later_call_was_given_is_named() -> None:
    after = call(3, None, "", "Net", nth=2, inputs=(replace(made(2), name="h"),), outputs=(made(4),), line=3)
    inside = call(4, 3, "cell", "Linear", inputs=(made(2),), outputs=(made(4),))
    (finding,) = found(replace(FREED, came_through=4), after, inside)
    assert finding.message == (
        "backward came a second time to torch.sigmoid in the model (line 19), whose graph an earlier backward freed:"
        " it came back through `h` of the model #2, which the model gave with its graph;"
        " pass `h.detach()` in its place (not tried)"
    )
    (finding,) = found(FREED)
    assert finding.message.endswith("both began at what came out of the model")


def test_an_error_of_another_kind_is_told_with_its_step() -> None:
    (finding,) = found(BackwardError("ValueError", "no\nmore", 0, "MineBackward"))
    assert finding.message == "the backward of Mine in the model (line 3) raised ValueError: no"


def test_a_forward_that_raised_is_not_told_of_twice() -> None:
    assert found(FREED, root=replace(ROOT, outputs=(), error=CallError("ValueError", "no"))) == ()


def test_a_backward_that_had_nothing_to_start_from_is_left_to_the_finding_about_gradients() -> None:
    refused = BackwardError("RuntimeError", "element 0 of tensors does not require grad and does not have a grad_fn")
    assert found(refused, root=replace(ROOT, outputs=(tensor(1, 16),))) == ()
    assert len(found(refused)) == 1
