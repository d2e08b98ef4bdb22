"""Hooks of every kind: which are listed with a call, what they did, and where a direct call skipped them."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.trace import Hook
from tests.helpers.models import Chain
from tests.helpers.recorded import recorded

X = torch.ones(2, 4)


def test_hooks_are_listed_with_what_they_did() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].register_forward_pre_hook(doubles_input)
    model[0].register_forward_hook(only_looks)
    model[0].register_forward_hook(only_looks, always_call=True)
    model[0].register_full_backward_hook(looks_back)
    hooks = recorded(model, X).calls[1].hooks
    assert [(hook.kind, hook.name.rpartition(".")[2], hook.fired, hook.changed) for hook in hooks] == [
        ("forward_pre", "doubles_input", True, True),
        ("forward", "only_looks", True, False),
        ("forward_always_call", "only_looks", True, False),
        ("full_backward", "looks_back", False, False),
    ]
    assert hooks[0].file == __file__ and hooks[0].line == doubles_input.__code__.co_firstlineno


def doubles_input(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (args[0] * 2,)


def only_looks(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    return output


def looks_back(module: nn.Module, grad_input: Any, grad_output: Any) -> None:
    return None


def test_a_backward_hook_has_fired_when_backward_ran_in_the_block() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].register_full_backward_hook(looks_back)
    with fwdtrace.record(model) as recording:
        model(X)
        model(torch.ones(2, 4, requires_grad=True)).sum().backward()
    first, second = (call.hooks[0] for call in recording.trace.at("0"))
    assert (first.fired, second.fired) == (False, True)


def test_a_direct_call_lists_the_hooks_it_skipped() -> None:
    model = Chain()
    model.second.register_forward_hook(only_looks)
    model.forward = lambda x: model.second.forward(model.first(x))
    assert [hook.fired for hook in recorded(model, X).at("second")[0].hooks] == [False]


def test_global_hooks_are_listed_for_every_module() -> None:
    handle = nn.modules.module.register_module_forward_hook(only_looks)
    try:
        trace = recorded(Chain(), X)
    finally:
        handle.remove()
    assert [[(hook.kind, hook.fired) for hook in call.hooks] for call in trace.calls] == [
        [("global_forward", True)]
    ] * 3


def test_hooks_put_a_module_on_the_hook_path_and_nothing_else_does() -> None:
    model = Chain()
    model.first.register_forward_hook(only_looks)
    chains = [call.chain for call in recorded(model, X).calls]
    assert chains == [
        ("Module._wrapped_call_impl", "Module._call_impl", "Chain.forward"),
        ("Module._wrapped_call_impl", "Module._call_impl", "Module._call_impl.inner", "Linear.forward"),
        ("Module._wrapped_call_impl", "Module._call_impl", "Linear.forward"),
    ]


def test_a_pre_hook_that_raises_leaves_a_call_that_never_reached_forward() -> None:
    def refuse(module: nn.Module, args: Any) -> None:
        raise ValueError("refused")

    model = Chain()
    model.first.register_forward_pre_hook(refuse)
    with pytest.raises(ValueError), fwdtrace.record(model) as recording:
        model(X)
    call = recording.trace.calls[1]
    assert call.chain == () and call.error is not None
    assert (call.error.type, call.error.message) == ("ValueError", "refused")
    assert call.error.site is not None and call.error.site.code == 'raise ValueError("refused")'


@pytest.mark.skipif(sys.version_info < (3, 11), reason="code objects have no qualified names")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="code objects have no qualified names")
def test_what_stands_before_torchs_call_impl_is_in_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(nn.ReLU):
        def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
            return super()._call_impl(*args, **kwargs)

    def patched(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return torchs(module, *args, **kwargs)

    torchs = nn.Module._call_impl
    model = nn.Sequential(Own(), nn.ReLU())
    with fwdtrace.record(model) as recording:
        model(torch.ones(1))
        monkeypatch.setattr(nn.Module, "_call_impl", patched)
        model(torch.ones(1))
    monkeypatch.undo()
    own, call = "Own._call_impl", "Module._call_impl"
    chains = [[name.rpartition("<locals>.")[2] for name in call.chain[1:-1]] for call in recording.trace.calls]
    assert chains == [[call], [own, call], [call], ["patched", call], [own, "patched", call], ["patched", call]]


def test_an_overridden_call_is_in_the_chain() -> None:
    class Own(nn.Linear):
        def __call__(self, x: Tensor) -> Tensor:
            return super().__call__(x)

    class Skips(nn.Linear):
        def __call__(self, x: Tensor) -> Tensor:
            return self.forward(x)

    trace = recorded(nn.Sequential(Own(4, 4), Skips(4, 4)), X)
    names = ("Own.__call__", "Skips.__call__") if sys.version_info >= (3, 11) else ("__call__", "__call__")
    assert [(call.entry, call.chain[0].rpartition(".<locals>.")[2], len(call.chain)) for call in trace.calls[1:]] == [
        ("__call__", names[0], 4),
        ("__call__", names[1], 2),
    ]


def test_hooks_say_which_file_and_line_they_come_from() -> None:
    model = Chain()
    model.first.register_forward_hook(only_looks)
    hook = recorded(model, X).calls[1].hooks[0]
    assert hook == Hook(
        "forward", "tests.recorder.test_hooks.only_looks", True, False, __file__, only_looks.__code__.co_firstlineno
    )


def test_a_backward_hook_that_gives_back_its_gradients_has_changed_none() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].register_full_backward_hook(lambda module, inputs, outputs: inputs)
    model[0].register_full_backward_hook(lambda module, inputs, outputs: (inputs[0] * 2,))
    with fwdtrace.record(model) as recording:
        model(torch.ones(2, 4, requires_grad=True)).sum().backward()
    assert [(hook.fired, hook.changed) for hook in recording.trace.at("0")[0].hooks] == [(True, False), (True, True)]


def test_what_torch_says_of_a_hook_with_a_wrong_result_is_said_as_without_a_recording() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].register_forward_pre_hook(lambda module, args, kwargs: args[0], with_kwargs=True)
    with pytest.raises(RuntimeError, match="forward pre-hook must return None or a tuple"):
        model(torch.ones(3, 4))
    with pytest.raises(RuntimeError, match="forward pre-hook must return None or a tuple"), fwdtrace.record(model):
        model(torch.ones(3, 4))
