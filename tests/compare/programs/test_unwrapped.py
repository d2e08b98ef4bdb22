"""A trace of a wrapped model is that of the model once the wrappers are taken off."""

from __future__ import annotations

from fwdtrace.compare.programs.saved_step import SavedHeld, SavedStep
from fwdtrace.compare.programs.unwrapped import Unwrapped, is_compiled
from fwdtrace.trace import Gradient, Op
from tests.helpers.traces import call, trace


def test_a_wrapper_around_the_model_and_one_inside_are_taken_off() -> None:
    wrapped = trace(
        call(0, None, "", "DistributedDataParallel"),
        call(1, 0, "module", "Net"),
        call(2, 1, "module.module", "CheckpointWrapper", depth=2),
        call(3, 2, "module.module._checkpoint_wrapped_module", "Linear", depth=3),
        ops=(Op(4, 1, "torch.relu"), Op(5, 0, "torch.neg")),
        gradients=(Gradient("module.module._checkpoint_wrapped_module.weight", (2,), True, 1.0),),
    )
    unwrapped = Unwrapped(wrapped)
    found = unwrapped.trace()
    assert [(each.id, each.parent, each.depth, each.path, each.class_name) for each in found.calls] == [
        (1, None, 0, "", "Net"),
        (3, 1, 1, "module", "Linear"),
    ]
    assert found.ops is not None and [op.parent for op in found.ops] == [1, None]
    assert found.gradients is not None and found.gradients[0].name == "module.weight"
    assert found.model.class_name == "Net"
    held = SavedHeld(0)
    step = unwrapped.step(SavedStep(state={"module.module._checkpoint_wrapped_module.weight": held}))
    assert step.state == {"module.weight": held}


def test_a_module_of_that_name_that_wraps_nothing_keeps_it() -> None:
    plain = trace(call(0, None, "", "Net"), call(1, 0, "module", "Linear"))
    assert Unwrapped(plain).trace() == plain
    assert Unwrapped(plain).name("module.weight") == "module.weight"


def test_a_compiled_model_of_which_nothing_is_seen_inside_keeps_its_call() -> None:
    compiled = trace(call(0, None, "", "OptimizedModule"))
    assert [each.path for each in Unwrapped(compiled).trace().calls] == [""]
    assert Unwrapped(compiled).name("_orig_mod.wte.weight") == "wte.weight"
    assert is_compiled(compiled) and not is_compiled(trace(call(0, None, "", "Net")))


def test_what_backward_computes_again_for_checkpointing_is_left_out() -> None:
    forward = call(0, None, "", "Net"), call(1, 0, "block", "Block", depth=1)
    again = call(3, None, "block", "Block", nth=2, in_backward=True), call(4, 3, "block.fc", "Linear", depth=1)
    recomputed = trace(*forward, *again, ops=(Op(2, 1, "torch.relu"), Op(5, 3, "torch.relu")))
    assert Unwrapped(recomputed).trace() == trace(*forward, ops=(Op(2, 1, "torch.relu"),))
