"""FT003, FT004 and the fused paths of FT007 on traces written by hand."""

from __future__ import annotations

from typing import Any

from fwdtrace.findings import find
from fwdtrace.trace import Call, CallError, Finding, Gradient, Uncalled
from tests.helpers.traces import call, trace


def found(*calls: Call, **fields: Any) -> list[str]:
    return [finding.message for finding in find(trace(*calls, **fields))]


ROOT = call(0, None, "", "Net", parameters=40)
HEAD = Uncalled("head", "Linear", 20)


def test_a_module_that_did_not_run_is_told_with_its_parameters() -> None:
    assert find(trace(ROOT, uncalled=(HEAD,))) == (
        Finding(
            "FT003",
            "never-called",
            None,
            "head (20 parameters) did not run; unless something reads the weights directly, they get no gradient",
        ),
    )


def test_of_a_subtree_that_did_not_run_the_top_is_told() -> None:
    modules = (Uncalled("aux.conv", "Conv2d", 100), Uncalled("aux.fc", "Linear", 23), HEAD)
    first, second = found(ROOT, call(1, 0, "body", "Linear"), uncalled=modules)
    assert first.startswith("aux (123 parameters) did not run;")
    assert second.startswith("head (20 parameters) did not run;")


def test_a_module_of_which_something_ran_is_not_the_top() -> None:
    (message,) = found(ROOT, call(1, 0, "body.first", "Linear"), uncalled=(Uncalled("body.second", "Linear", 5),))
    assert message.startswith("body.second (5 parameters) did not run;")


def test_a_module_whose_children_alone_ran_is_told_by_its_own_parameters() -> None:
    (message,) = found(ROOT, call(1, 0, "encoder.layer", "Linear"), uncalled=(Uncalled("encoder", "Encoder", 7),))
    assert message.startswith("encoder (7 parameters) did not run;")


def test_modules_that_differ_in_a_number_are_one_finding() -> None:
    experts = tuple(Uncalled(f"layers.{layer}.experts.3", "Linear", 10) for layer in range(6))
    ran = [call(1 + layer, 0, f"layers.{layer}.experts.0", "Linear") for layer in range(6)]
    (message,) = found(ROOT, *ran, uncalled=experts)
    assert message.startswith(
        "layers.0.experts.3, layers.1.experts.3, layers.2.experts.3 and 3 more (60 parameters) did not run;"
    )


def test_weights_that_multihead_attention_reads_are_told_apart() -> None:
    attention = call(1, 0, "attention", "MultiheadAttention")
    assert found(ROOT, attention, uncalled=(Uncalled("attention.out_proj", "Linear", 20),)) == [
        "attention.out_proj (20 parameters) did not run, but MultiheadAttention reads the weights itself;"
        " a hook there never fires"
    ]


def test_weights_that_got_a_gradient_were_used() -> None:
    gradients = (Gradient("head.weight", (4, 5), True, 1.5),)
    assert found(ROOT, uncalled=(HEAD,), gradients=gradients) == [
        "head (20 parameters) did not run, but the weights got gradients, so something reads them directly;"
        " a hook there never fires"
    ]


def test_after_an_error_nothing_is_said_to_be_never_called() -> None:
    failed = call(0, None, "", "Net", error=CallError("ValueError", "no"))
    assert not any("did not run" in message for message in found(failed, uncalled=(HEAD,)))


def test_what_compiled_code_calls_is_not_said_to_be_never_called() -> None:
    compiled = call(1, 0, "block", "Block", opaque="compiled")
    messages = found(ROOT, compiled, uncalled=(Uncalled("block.layer", "Linear", 20), HEAD))
    assert [message[:5] for message in messages] == ["head ", "block"]


def test_a_list_of_parameters_is_never_called_and_no_finding() -> None:
    assert found(ROOT, uncalled=(Uncalled("weights", "ParameterList", 20),)) == []


def test_nothing_is_told_of_a_recording_without_calls() -> None:
    assert found(uncalled=(HEAD,)) == []


def test_a_module_called_from_two_lines_is_one_finding() -> None:
    calls = [call(1, 0, "encode", "Linear", line=11, parameters=20), call(2, 0, "encode", "Linear", line=14, nth=2)]
    calls[1] = call(2, 0, "encode", "Linear", line=14, nth=2, parameters=20)
    (finding,) = find(trace(ROOT, *calls))
    assert (finding.code, finding.name, finding.call, finding.site) == ("FT004", "shared-module", 1, calls[0].site)
    assert finding.message == (
        "encode (Linear) ran 2 times, from line 11 in the model and line 14 in the model, with the same weights"
    )


def test_a_module_called_in_a_loop_is_no_finding() -> None:
    assert found(ROOT, *(call(id, 0, "cell", "GRUCell", nth=id, parameters=20) for id in (1, 2, 3))) == []


def test_an_activation_called_from_two_lines_is_no_finding() -> None:
    assert found(ROOT, call(1, 0, "act", "ReLU", line=11), call(2, 0, "act", "ReLU", line=12, nth=2)) == []


def test_a_module_with_two_names_is_told_with_them() -> None:
    tied = call(1, 0, "embed", "Embedding", aliases=("encoder.embed", "decoder.embed"), parameters=20)
    assert found(ROOT, tied) == [
        "embed (Embedding) is one module under 3 names: embed, encoder.embed and decoder.embed;"
        " state_dict has it under each"
    ]


def test_what_is_inside_a_module_with_two_names_is_not_told_again() -> None:
    block = call(1, 0, "a", "Block", aliases=("b",), parameters=20)
    layer = call(2, 1, "a.layer", "Linear", aliases=("b.layer",), parameters=20)
    (message,) = found(ROOT, block, layer)
    assert message.startswith("a (Block) is one module under 2 names: a and b;")


FUSED = (
    "(TransformerEncoderLayer) ran its fused path: one kernel computed it, no module inside it was called;"
    " --no-fused, or torch.backends.mha.set_fastpath_enabled(False), runs them"
)


def test_layers_that_ran_their_fused_path_are_one_finding() -> None:
    layers = [call(1 + number, 0, f"layers.{number}", "TransformerEncoderLayer") for number in range(2)]
    (finding,) = find(trace(ROOT, *layers))
    assert (finding.code, finding.call, finding.message) == ("FT007", 1, f"layers.0 and layers.1 {FUSED}")


def test_a_layer_that_called_its_modules_was_not_fused() -> None:
    layer = call(1, 0, "layer", "TransformerEncoderLayer")
    assert found(ROOT, layer, call(2, 1, "layer.linear1", "Linear")) == []
