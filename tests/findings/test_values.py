"""FT009 on traces written by hand."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.findings import find
from fwdtrace.trace import BetweenHooks, Call, Finding, Hook, Site
from tests.helpers.traces import call, tensor, trace

ROOT = call(0, None, "", "Net")


def found(*calls: Call) -> tuple[Finding, ...]:
    return find(trace(*calls))


HOOK = Hook("forward", "app.hooks.crop", True, True, "/home/user/hooks.py", 7)


def test_a_hook_that_replaced_an_output_is_named_with_the_old_and_the_new_output() -> None:
    between = BetweenHooks(forward_outputs=(tensor(1, 16),))
    cropped = call(1, 0, "layer", "Linear", hooks=(HOOK,), shape_out=(1, 8), between_hooks=between)
    assert found(ROOT, cropped) == (
        Finding(
            "FT009",
            "hook-changed-value",
            1,
            "the hook crop replaced the output of layer: 1×16 float32 became 1×8 float32",
            Site("/home/user/hooks.py", 7, "app.hooks.crop", ""),
        ),
    )


def test_a_hook_that_replaced_an_input_is_named_with_the_old_and_the_new_input() -> None:
    hook = replace(HOOK, kind="forward_pre", file=None, line=None)
    between = BetweenHooks((tensor(1, 16, dtype="float16"),))
    cast = call(1, 0, "layer", "Linear", hooks=(hook,), between_hooks=between)
    (finding,) = found(ROOT, cast)
    assert finding.message == ("the hook crop replaced the input of layer: 1×16 float32 became 1×16 float16")
    assert finding.site == cast.site


def test_one_hook_on_many_modules_is_one_finding() -> None:
    between = BetweenHooks(forward_outputs=(tensor(1, 16),))
    calls = [call(id, 0, f"layers.{id}", "Linear", hooks=(HOOK,), between_hooks=between) for id in range(1, 7)]
    (finding,) = found(ROOT, *calls)
    assert finding.message == (
        "the hook crop replaced the output of layers.1, layers.2, layers.3 and 3 more:"
        " 1×16 float32, as before, with other values"
    )


def test_a_hook_that_only_looked_is_no_finding() -> None:
    assert found(ROOT, call(1, 0, "layer", "Linear", hooks=(replace(HOOK, changed=False),))) == ()


def test_a_cast_that_fsdp_was_asked_for_is_no_finding_and_anything_else_of_its_hooks_is() -> None:
    file = "/home/user/lib/torch/distributed/fsdp/_fully_shard/_fsdp_state.py"
    hook = replace(HOOK, kind="forward_pre", name="_pre_forward", file=file)

    def found_for(dtype: str, features: int) -> int:
        between = BetweenHooks((tensor(1, features, dtype=dtype),))
        return len(found(ROOT, call(1, 0, "layer", "Linear", hooks=(hook,), between_hooks=between)))

    assert found_for("bfloat16", 16) == 0
    assert (found_for("bfloat16", 8), found_for("float32", 16)) == (1, 1)
