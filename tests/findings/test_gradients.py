"""FT008 on traces written by hand."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.findings import find
from fwdtrace.findings.gradients import no_gradient
from fwdtrace.trace import (
    Backward,
    BackwardError,
    Call,
    CallError,
    Finding,
    Gradient,
    GradientFault,
    Hook,
    Op,
    Operand,
    Site,
    Source,
    Stats,
    TensorMeta,
    Trace,
)
from tests.helpers.traces import call, tensor, trace

YES = (TensorMeta("", (1, 16), "float32", requires_grad=True),)
NO = (tensor(1, 16),)
ROOT = call(0, None, "", "Net", outputs=YES)
ARRIVED = Gradient("last.weight", (2, 3), True, 1.0)


def missing(name: str) -> Gradient:
    return Gradient(name, (4, 5), True, None)


def found(*calls: Call, gradients: tuple[Gradient, ...]) -> tuple[Finding, ...]:
    return tuple(no_gradient(trace(*calls, gradients=gradients)))


def test_without_backward_asked_for_nothing_is_said() -> None:
    assert list(no_gradient(trace(ROOT))) == []


def test_after_an_error_nothing_is_said() -> None:
    failed = call(0, None, "", "Net", error=CallError("ValueError", "no"))
    assert found(failed, gradients=(missing("last.weight"),)) == ()


def test_a_backward_that_came_to_no_parameter_is_one_finding() -> None:
    begun = replace(ROOT, backward=Backward(0, 1.0))
    (finding,) = found(begun, gradients=(missing("last.weight"),))
    assert finding.message == "no parameter has a gradient: backward began and came to none"


def test_frozen_parameters_are_one_finding_that_names_the_topmost_modules() -> None:
    frozen = tuple(Gradient(f"body.{number}.weight", (10,), False, None) for number in range(20))
    bias = Gradient("last.bias", (5,), False, None)
    assert found(ROOT, gradients=(*frozen, bias, ARRIVED)) == (
        Finding(
            "FT008",
            "no-gradient",
            None,
            "body and last.bias (205 parameters) got no gradient: frozen, requires_grad is False",
        ),
    )


def test_modules_that_were_never_called_are_one_finding() -> None:
    (finding,) = found(ROOT, gradients=(missing("aux.0.weight"), missing("aux.1.weight"), ARRIVED))
    assert finding.message == "aux (40 parameters) got no gradient: never called"


def test_a_call_whose_error_was_caught_says_so() -> None:
    failed = call(1, 0, "narrow", "Linear", error=CallError("RuntimeError", "no"))
    (finding,) = found(ROOT, failed, gradients=(missing("narrow.weight"), ARRIVED))
    assert finding.message == ("narrow (20 parameters) got no gradient: narrow raised, and the error was caught")


def test_a_non_finite_gradient_names_the_step_of_backward_that_made_it() -> None:
    spoiled = (Gradient("a.weight", (2,), True, 0.0, nan=2), Gradient("b.weight", (3,), True, 1.0, inf=1))
    fault = GradientFault("non-finite", 2, 1, "SqrtBackward0", 16, 3, 0, ("a.weight", "b.weight"))
    layer = call(1, 0, "root", "Root", line=12)
    whole = trace(ROOT, layer, gradients=(*spoiled, ARRIVED), gradient_faults=(fault,))
    (finding,) = no_gradient(whole)
    assert (finding.call, finding.site) == (1, layer.site)
    assert finding.message == "a and b (5 parameters) got NaN or infinite gradients, made in the backward of root"


def test_a_non_finite_gradient_without_a_fault_is_told_without_a_reason() -> None:
    (finding,) = found(ROOT, gradients=(Gradient("a.weight", (2,), True, 0.0, nan=2), ARRIVED))
    assert finding.message == "a (2 parameters) got NaN or infinite gradients"


def test_a_zero_gradient_names_the_step_that_made_it_and_blocks_share_a_finding() -> None:
    dead = Operand("result", (1, 16), "float32", Stats(0.0, 0.0, 0.0, 0.0, 16, 0, 0))
    faults = tuple(
        GradientFault("zero", id, id, "ReluBackward0", 16, parameters=(f"{id}.weight",), operands=(dead,))
        for id in (1, 2)
    )
    layers = call(1, 0, "1.act", "ReLU", line=11), call(2, 0, "2.act", "ReLU", line=12)
    zeros = Gradient("1.weight", (2,), True, 0.0), Gradient("2.weight", (2,), True, 0.0)
    (finding,) = no_gradient(trace(ROOT, *layers, gradients=(*zeros, ARRIVED), gradient_faults=faults))
    assert finding.message == (
        "1 and 2 (4 parameters) got a gradient of exactly 0, made in the backward of 1.act and 2.act:"
        " its result is 0 everywhere, as no element of its input is above 0: a dead ReLU"
    )


def test_after_an_error_of_backward_nothing_is_said_of_gradients() -> None:
    error = BackwardError("RuntimeError", "modified by an inplace operation", 0)
    assert list(no_gradient(trace(ROOT, gradients=(missing("a.weight"),), backward_errors=(error,)))) == []


def test_a_hook_that_fired_is_not_the_reason() -> None:
    hook = Hook("forward_pre", "torch.nn.utils.spectral_norm.SpectralNorm", True)
    layer = call(1, 0, "layer", "Linear", hooks=(hook,), outputs=NO)
    (finding,) = found(ROOT, layer, gradients=(missing("layer.weight_orig"), ARRIVED))
    assert "spectral_norm" not in finding.message


def test_the_findings_of_a_hand_written_trace_go_through_find() -> None:
    gradients = (missing("head.weight"), ARRIVED)
    whole: Trace = trace(ROOT, call(1, 0, "head", "Linear", outputs=YES), gradients=gradients)
    assert [finding.code for finding in find(whole)] == ["FT008"]


def test_the_own_parameter_of_a_model_under_no_grad_has_this_as_its_reason() -> None:
    (finding,) = found(replace(ROOT, outputs=NO), gradients=(missing("scale"),))
    assert finding.message == (
        "every parameter (20 parameters) got no gradient: nothing that the model returned requires one"
    )
    (finding,) = found(replace(ROOT, outputs=NO, without_grad="no_grad"), gradients=(missing("scale"),))
    assert finding.message == "every parameter (20 parameters) got no gradient: the model ran under torch.no_grad()"


def test_a_new_leaf_that_is_used_in_place_of_a_result_is_told_by_its_shape() -> None:
    (own,) = YES
    parameter = replace(own, source=Source(parameter="p"))
    doubled = Op(1, 0, "*", (parameter,), (replace(own, source=Source(1, 0)),))
    used = Op(2, 0, "+", (own,), (replace(own, source=Source(2, 0)),), site=Site("m.py", 8, "Net.forward", "x + w"))
    model = replace(ROOT, outputs=used.outputs)
    unused = "p (20 parameters) got no gradient: nothing that was observed used what * gave"
    for op, more in [
        (
            used,
            "; what + in line 8 used of that shape, 1×16, came from elsewhere, such as a new nn.Parameter, which begins"
            " a graph of its own",
        ),
        (replace(used, inputs=(replace(own, requires_grad=False),)), ""),
        (replace(used, inputs=(replace(own, shape=(2, 16)),)), ""),
    ]:
        whole = trace(model, gradients=(missing("p"), ARRIVED), ops=(doubled, op))
        assert [finding.message for finding in no_gradient(whole)] == [unused + more]
