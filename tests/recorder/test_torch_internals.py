"""What recording relies on in torch and torch does not promise; these fail when torch changes it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from types import CodeType
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import checkpoint
from torch.utils._python_dispatch import TorchDispatchMode

from fwdtrace.recorder import torch_internals

pytestmark = pytest.mark.usefixtures("dynamo")


def callers_of_forward(model: nn.Module) -> list[CodeType]:
    """The code objects from forward outwards, up to and including `_wrapped_call_impl`."""
    found: list[CodeType] = []

    def forward(*args: Any) -> None:
        frame = sys._getframe(1)
        while frame.f_code is not torch_internals.WRAPPED_CALL_CODE:
            found.append(frame.f_code)
            assert frame.f_back is not None
            frame = frame.f_back
        found.append(frame.f_code)

    model.forward = forward
    model()
    return found


def test_a_plain_module_is_called_on_the_fast_path() -> None:
    assert callers_of_forward(nn.Module()) == [torch_internals.CALL_CODE, torch_internals.WRAPPED_CALL_CODE]


def test_a_module_with_a_hook_is_called_by_inner() -> None:
    model = nn.Module()
    model.register_forward_hook(lambda *_: None)
    codes = [torch_internals.INNER_CODE, torch_internals.CALL_CODE, torch_internals.WRAPPED_CALL_CODE]
    assert callers_of_forward(model) == codes


def test_module_call_is_wrapped_call_impl() -> None:
    assert torch_internals.TORCHS_CALL.__code__ is torch_internals.WRAPPED_CALL_CODE


@pytest.fixture
def hooked() -> Iterator[nn.Module]:
    model = nn.Module()
    model.register_forward_pre_hook(lambda *_: None)
    model.register_forward_hook(lambda *_: None, always_call=True)
    model.register_full_backward_pre_hook(lambda *_: None)
    model.register_full_backward_hook(lambda *_: None)
    yield model


def test_a_module_keeps_its_hooks_in_these_dictionaries(hooked: nn.Module) -> None:
    assert [len(getattr(hooked, attribute)) for _, attribute in torch_internals.MODULE_HOOKS] == [1, 1, 1, 1]
    assert list(torch_internals.always_called(hooked)) == list(hooked._forward_hooks)
    assert not torch_internals.has_legacy_backward_hooks(hooked)


def test_a_backward_hook_of_the_old_kind_is_told_apart() -> None:
    model = nn.Module()
    model.register_backward_hook(lambda *_: None)
    assert torch_internals.has_legacy_backward_hooks(model)


def test_global_hooks_are_kept_in_these_dictionaries() -> None:
    register = nn.modules.module
    handles = [
        register.register_module_forward_pre_hook(lambda *_: None),
        register.register_module_forward_hook(lambda *_: None, always_call=True),
        register.register_module_full_backward_pre_hook(lambda *_: None),
        register.register_module_full_backward_hook(lambda *_: None),
    ]
    counts = [len(hooks) for _, hooks in torch_internals.GLOBAL_HOOKS]
    always = len(torch_internals.GLOBAL_ALWAYS_CALLED)
    for handle in handles:
        handle.remove()
    nn.modules.module._global_is_full_backward_hook = None  # registering one leaves the kind behind
    assert counts == [1, 1, 1, 1] and always == 1


def test_module_compile_is_known_by_its_compiled_call() -> None:
    model = nn.ReLU()
    assert not torch_internals.is_compiled(model)
    model.compile(backend="eager")
    assert torch_internals.is_compiled(model)


def test_a_wrapper_of_torch_compile_is_known_by_its_class() -> None:
    assert torch_internals.wraps_compiled(type(torch.compile(nn.ReLU(), backend="eager")))
    assert not torch_internals.wraps_compiled(nn.ReLU)


def test_checkpoint_leaves_recomputation_by_this_exception() -> None:
    assert issubclass(getattr(checkpoint, torch_internals.STOP_RECOMPUTATION), Exception)


def test_jit_tracing_is_known_by_the_tracing_state() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch_internals.is_tracing())
            return x

    seen: list[bool] = []
    assert not torch_internals.is_tracing()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Net(), torch.ones(1), check_trace=False)
    assert seen == [True]


def test_generated_code_is_in_a_file_of_a_known_name() -> None:
    code = type(torch.fx.symbolic_trace(nn.Sequential(nn.ReLU()))).forward.__code__
    assert code.co_filename.startswith(torch_internals.GENERATED)


def test_a_class_that_defines_no_forward_has_that_of_module() -> None:
    assert nn.ParameterList.forward is torch_internals.NO_FORWARD is not nn.Linear.forward


def test_a_distributed_tensor_tells_its_placements_and_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import distributed
    from torch.distributed.tensor import DeviceMesh, Shard, distribute_tensor

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # which torch replaces for good
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        tensor = distribute_tensor(torch.ones(4, 2), DeviceMesh("cpu", [0]), [Shard(0)])
        assert torch_internals.placed(tensor) == (("Shard(dim=0)",), (4, 2))
        assert torch_internals.placed(nn.Parameter(torch.ones(2))) == ((), None)
    finally:
        distributed.destroy_process_group()


def test_symbolic_tracing_is_noticed() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch_internals.fx_tracing())
            return x

    seen: list[bool] = []
    assert not torch_internals.fx_tracing()
    torch.fx.symbolic_trace(Net())
    assert seen == [True]


def test_nobody_is_asked_while_torch_function_is_off() -> None:
    class Asked(torch.Tensor):
        @classmethod
        def __torch_function__(cls, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError

    with torch.overrides.BaseTorchFunctionMode(), torch_internals.without_torch_function():
        assert torch.ones(2).as_subclass(Asked).shape == (2,)


def test_the_innermost_function_mode_is_the_one_pushed_last() -> None:
    mode = torch.overrides.BaseTorchFunctionMode()
    assert torch_internals.top_function_mode() is None
    torch_internals.push_function_mode(mode)
    assert torch_internals.top_function_mode() is mode
    assert torch_internals.pop_function_mode() is mode


def test_a_tensor_of_functionalize_is_told_apart() -> None:
    seen = []
    torch.func.functionalize(lambda x: seen.append(torch_internals.is_functional(x)) or x)(torch.ones(1))
    assert seen == [True] and not torch_internals.is_functional(torch.ones(1))


def test_what_is_read_unseen_is_told_to_no_mode_and_modes_are_back_in_their_order() -> None:
    told: list[str] = []

    class Tells(TorchDispatchMode):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            told.append(self.name)
            return function(*args, **(kwargs or {}))

    with Tells("outer"), Tells("inner"):
        with torch_internals.Unseen():
            assert not (torch.ones(2, requires_grad=True) + 1).requires_grad
        assert told == []
        torch.ones(2).neg()
    assert told[:2] == ["inner", "outer"]


def test_function_modes_are_counted() -> None:
    assert torch_internals.torch_function_modes() == 0
    with torch.overrides.BaseTorchFunctionMode():
        assert torch_internals.torch_function_modes() == 1


def test_a_likeness_accepts_the_tensors_that_are_described_alike_and_nothing_else() -> None:
    tensor = torch.ones(2, 3)
    accepts = torch_internals.likeness(tensor)
    assert accepts is not None
    assert [accepts(other) for other in (tensor, torch.zeros(2, 3), torch.ones(3, 2).t())] == [True] * 3
    others = (
        *(torch.ones(3, 2), torch.ones(6), torch.ones(2, 3, 1), tensor.double(), tensor.to("meta"), tensor.to_sparse()),
        *(torch.ones(2, 3, requires_grad=True), nn.Parameter(tensor), None, 1, "text", (tensor,), [tensor]),
    )
    assert [accepts(other) for other in others] == [False] * len(others)


def test_a_likeness_accepts_nothing_while_torch_traces() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(accepts is not None and accepts(x))
            return x

    seen: list[bool] = []
    accepts = torch_internals.likeness(torch.ones(1))
    Net()(torch.ones(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Net(), torch.ones(1), check_trace=False)
    assert seen == [True, False]


def test_tensors_that_a_shape_does_not_describe_have_no_likeness() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nested = torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])
    assert [torch_internals.likeness(tensor) for tensor in (torch.ones(2, 3).to_sparse(), nested)] == [None, None]


def test_what_was_reduced_is_held_by_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that lets go of it later needs Python's lock, which whoever frees the group may hold as it waits."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # init_process_group sets one of its own
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        (group,) = torch_internals.process_groups()
        numbers = torch.tensor([3, -1])
        held = set()
        for _ in range(200):
            torch_internals.reduce_to_least(numbers, group)
            held.add(numbers._use_count())
        assert (held, numbers.tolist()) == ({torch.tensor(0)._use_count()}, [3, -1])
    finally:
        torch.distributed.destroy_process_group()


def test_a_function_of_the_users_that_has_let_go_of_what_it_saved_is_unusable() -> None:
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
            return gradients[0] * 2

    y = Double.apply(torch.ones(2, requires_grad=True))  # type: ignore[no-untyped-call]
    assert torch_internals.why_unusable(y.grad_fn) == ("", "")
    y.sum().backward()
    name, why = torch_internals.why_unusable(y.grad_fn)
    assert name == "tensors" and "second time" in why


def test_the_storage_of_a_single_tensor_has_two_holders_and_each_view_is_one_more() -> None:
    tensor = torch.ones(4)
    memory = torch_internals.memory_of(tensor)
    assert torch_internals.holders_of_memory(memory) == 2
    view = tensor[0]
    assert torch_internals.holders_of_memory(memory) == 3
    del view
    assert torch_internals.holders_of_memory(memory) == 2
