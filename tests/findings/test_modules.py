"""FT003, FT004 and the fused paths of FT007 on traces written by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fwdtrace.findings import find
from fwdtrace.trace import Call, CallError, Finding, Gradient, Hook, Op, Site, Source, TensorMeta, Uncalled
from tests.helpers.traces import call, trace


def found(*calls: Call, **fields: Any) -> list[str]:
    return [finding.message for finding in find(trace(*calls, **fields))]


ROOT = call(0, None, "", "Net", parameters=40)
HEAD = Uncalled("head", "Linear", 20)
SITE = Site("net.py", 31, "Net.forward", "F.linear(x, self.head.weight)")


def test_a_module_that_did_not_run_is_named_with_its_parameters() -> None:
    assert find(trace(ROOT, uncalled=(HEAD,))) == (
        Finding(
            "FT003",
            "never-called",
            None,
            "head (20 parameters) did not run; unless something reads the weights directly, they get no gradient",
        ),
    )


def test_of_a_subtree_that_did_not_run_the_top_is_named() -> None:
    modules = (Uncalled("aux.conv", "Conv2d", 100), Uncalled("aux.fc", "Linear", 23), HEAD)
    first, second = found(ROOT, call(1, 0, "body", "Linear"), uncalled=modules)
    assert first.startswith("aux (123 parameters) did not run;")
    assert second.startswith("head (20 parameters) did not run;")


def test_a_module_of_which_something_ran_is_not_the_top() -> None:
    (message,) = found(ROOT, call(1, 0, "body.first", "Linear"), uncalled=(Uncalled("body.second", "Linear", 5),))
    assert message.startswith("body.second (5 parameters) did not run;")


def test_a_module_of_which_only_children_ran_is_named_with_its_own_parameters() -> None:
    (message,) = found(ROOT, call(1, 0, "encoder.layer", "Linear"), uncalled=(Uncalled("encoder", "Encoder", 7),))
    assert message.startswith("encoder (7 parameters) did not run;")


def test_modules_that_differ_in_a_number_are_one_finding() -> None:
    experts = tuple(Uncalled(f"layers.{layer}.experts.3", "Linear", 10) for layer in range(6))
    ran = [call(1 + layer, 0, f"layers.{layer}.experts.0", "Linear") for layer in range(6)]
    (message,) = found(ROOT, *ran, uncalled=experts)
    assert message.startswith(
        "layers.0.experts.3, layers.1.experts.3, layers.2.experts.3 and 3 more (60 parameters) did not run;"
    )


def test_weights_that_multihead_attention_reads_are_said_to_be_used() -> None:
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


def reads(path: str, device: str = "cpu", name: str = "F.linear", made_on: str = "cpu") -> Op:
    """An op of the root that is given the weight of a module."""
    weight = TensorMeta("1", (4, 5), "float32", device, source=Source(parameter=f"{path}.weight"))
    result = TensorMeta("", (2, 4), "float32", made_on)
    return Op(5, 0, name, (TensorMeta("0", (2, 5), "float32"), weight), (result,), site=SITE)


def test_weights_that_an_op_reads_are_said_to_be_used_there() -> None:
    assert found(ROOT, ops=(reads("head"),), uncalled=(HEAD,)) == [
        "head (20 parameters) did not run, but F.linear in the model (line 31) reads head.weight; a hook there never"
        " fires"
    ]


def test_weights_that_a_mechanism_makes_in_a_call_and_that_are_read_without_one_are_stale() -> None:
    pruned = replace(HEAD, hooks=(Hook("forward_pre", "torch.nn.utils.prune.L1Unstructured", fired=False),))
    (finding,) = find(trace(ROOT, ops=(reads("head"),), uncalled=(pruned,)))
    assert (finding.code, finding.call, finding.site) == ("FT002", 0, SITE)
    assert finding.message == (
        "prune on head did not act, as F.linear in the model (line 31) read head.weight without a call of head: the"
        " mask was not applied again, so the weight may be stale and a second backward may fail;"
        " torch.nn.utils.prune.remove makes the pruning permanent"
    )


def test_weights_without_values_were_not_loaded() -> None:
    hook = Hook("instance_forward", "accelerate.hooks.add_hook_to_module.<locals>.new_forward", fired=False)
    offloaded = replace(HEAD, hooks=(hook,))
    (finding,) = find(trace(ROOT, ops=(reads("head", "meta"),), uncalled=(offloaded,)))
    assert finding.message.startswith("accelerate's hook on head did not act, as F.linear in the model (line 31) read")
    embedded = call(1, 0, "embed", "Embedding")
    (finding,) = find(trace(ROOT, embedded, ops=(reads("embed", "meta"),)))
    assert finding.code == "FT002" and finding.message.startswith("what loads the weights on embed did not act")


def test_weights_whose_shape_alone_is_read_need_no_values() -> None:
    for op in (reads("embed", "meta", made_on="meta"), reads("embed", "meta", "torch.zeros_like")):
        assert found(ROOT, call(1, 0, "embed", "Embedding"), ops=(op,)) == []


def test_weights_that_were_loaded_are_no_finding() -> None:
    hook = Hook("instance_forward", "accelerate.hooks.add_hook_to_module.<locals>.new_forward", fired=False)
    (message,) = found(ROOT, ops=(reads("head"),), uncalled=(replace(HEAD, hooks=(hook,)),))
    assert "did not run, but F.linear" in message


def test_after_an_error_nothing_is_said_to_be_never_called() -> None:
    failed = call(0, None, "", "Net", error=CallError("ValueError", "no"))
    assert not any("did not run" in message for message in found(failed, uncalled=(HEAD,)))


def test_what_compiled_code_calls_is_not_said_to_be_never_called() -> None:
    compiled = call(1, 0, "block", "Block", opaque="compiled")
    messages = found(ROOT, compiled, uncalled=(Uncalled("block.layer", "Linear", 20), HEAD))
    assert [message[:5] for message in messages] == ["head ", "block"]


def test_a_list_of_parameters_is_never_called_and_no_finding() -> None:
    assert found(ROOT, uncalled=(Uncalled("weights", "ParameterList", 20),)) == []


def test_a_recording_without_calls_has_no_finding() -> None:
    assert found(uncalled=(HEAD,)) == []


def test_a_module_called_from_two_lines_is_one_finding() -> None:
    calls = [call(1, 0, "encode", "Linear", line=11, parameters=20), call(2, 0, "encode", "Linear", line=14, nth=2)]
    calls[1] = call(2, 0, "encode", "Linear", line=14, nth=2, parameters=20)
    (finding,) = find(trace(ROOT, *calls))
    assert (finding.code, finding.name, finding.call, finding.site) == ("FT004", "shared-module", 1, calls[0].site)
    assert finding.message == (
        "encode (Linear) ran twice, from line 11 in the model and line 14 in the model, with the same weights"
    )


def test_a_module_called_in_a_loop_is_no_finding() -> None:
    assert found(ROOT, *(call(id, 0, "cell", "GRUCell", nth=id, parameters=20) for id in (1, 2, 3))) == []


def test_an_activation_called_from_two_lines_is_no_finding() -> None:
    assert found(ROOT, call(1, 0, "act", "ReLU", line=11), call(2, 0, "act", "ReLU", line=12, nth=2)) == []


def test_a_module_with_two_names_is_named_by_both() -> None:
    tied = call(1, 0, "embed", "Embedding", aliases=("encoder.embed", "decoder.embed"), parameters=20)
    assert found(ROOT, tied) == [
        "embed (Embedding) is one module under 3 names: embed, encoder.embed and decoder.embed;"
        " state_dict has it under each"
    ]


def test_what_is_inside_a_module_with_two_names_is_no_further_finding() -> None:
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
