"""The names of torch that are not public and that recording relies on; a test fails when torch changes one."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import CodeType
from typing import Any

import torch
import torch.fx._symbolic_trace as fx_file
import torch.nn.modules.module as module_file
import torch.utils._python_dispatch as dispatch_file
import torch.utils.checkpoint as checkpoint_file
from torch._C import DispatchKey
from torch._ops import OpOverload
from torch.nn.modules.module import Module

TORCH_FOLDER = os.path.dirname(torch.__file__) + os.sep
FSDP_FOLDER = os.path.join(TORCH_FOLDER, "distributed", "fsdp", "")


def leads_to_ops(file: str) -> bool:
    """Whether a file of torch only leads to ops: right in its folder, or that of autograd functions or collectives."""
    path = file[len(TORCH_FOLDER) :].replace(os.sep, "/") if file.startswith(TORCH_FOLDER) else "/"
    return "/" not in path or path == "autograd/function.py" or (path.startswith("distributed/") and "c10d" in path)


TORCHS_CALL = Module._wrapped_call_impl
"""`Module.__call__` as torch defines it, whatever may be there now."""

TORCHS_CALL_IMPL = Module._call_impl
"""What that goes on to, unless a class has another."""

WRAPPED_CALL_CODE: CodeType = Module._wrapped_call_impl.__code__
CALL_CODE: CodeType = Module._call_impl.__code__
_INNER_CODES = (each for each in CALL_CODE.co_consts if isinstance(each, CodeType) and each.co_name == "inner")
INNER_CODE: CodeType = next(_INNER_CODES, CALL_CODE)
"""What runs hooks; before torch 2.5 `_call_impl` does so itself."""
SLOW_FORWARD_CODE: CodeType = Module._slow_forward.__code__
NAMES_OF_CODES = {
    INNER_CODE: "Module._call_impl.inner",
    WRAPPED_CALL_CODE: "Module._wrapped_call_impl",
    CALL_CODE: "Module._call_impl",
    SLOW_FORWARD_CODE: "Module._slow_forward",
}

GLOBAL_HOOKS: tuple[tuple[str, dict[int, Any]], ...] = (
    ("global_forward_pre", module_file._global_forward_pre_hooks),
    ("global_forward", module_file._global_forward_hooks),
    ("global_full_backward_pre", module_file._global_backward_pre_hooks),
    ("global_full_backward", module_file._global_backward_hooks),
)
GLOBAL_ALWAYS_CALLED: dict[int, bool] = module_file._global_forward_hooks_always_called

MODULE_HOOKS = (
    ("forward_pre", "_forward_pre_hooks"),
    ("forward", "_forward_hooks"),
    ("full_backward_pre", "_backward_pre_hooks"),
    ("full_backward", "_backward_hooks"),
)

NO_FORWARD = Module.forward
"""What a class has for `forward` that defines none; a module of it holds others, or a graph reads its parameters."""
GENERATED = "<eval_with_key>"
"""How the file name begins of the code that `torch.fx` generates for a graph."""

REENTRANT_CODE: CodeType = checkpoint_file.CheckpointFunction.forward.__code__
"""In which `checkpoint(use_reentrant=True)` runs what it was given, without a graph."""
REENTRANT_NODE = "CheckpointFunctionBackward"
"""The name of its node, in which a backward pass of its own runs."""
STOP_RECOMPUTATION = "_StopRecomputationError"
"""The exception by which a checkpointed forward is left once its recomputation has what backward needs."""

is_tracing: Callable[[], bool] = torch._C._is_tracing
fx_tracing: Callable[[], bool] = getattr(fx_file, "is_fx_symbolic_tracing", fx_file.is_fx_tracing)
"""Whether `torch.fx` traces; by the name that older versions have, and newer ones warn of, if there is no other."""
torch_function_modes = torch._C._len_torch_function_stack
dispatch_modes: Callable[[], int] = torch._C._len_torch_dispatch_stack
without_torch_function = torch._C.DisableTorchFunction
is_functional: Callable[[torch.Tensor], bool] = torch._is_functional_tensor
transforms: Callable[[], int | None] = torch._C._functorch.maybe_current_level
"""How many transforms of `torch.func`, such as `vmap` and `grad`, run around this line; None if there is none."""
push_function_mode: Callable[[Any], None] = torch._C._push_on_torch_function_stack
pop_function_mode: Callable[[], Any] = torch._C._pop_torch_function_stack
push_dispatch_mode: Callable[[Any], None] = dispatch_file._push_mode
pop_dispatch_mode: Callable[[], Any] = dispatch_file._pop_mode
holders_of_memory: Callable[[int], int] = torch._C._storage_Use_Count
"""How many hold the storage at this address, two for a single tensor."""
next_node_number: Callable[[], int] = torch._C._autograd._get_sequence_nr
"""The number that the next node of the graph will get that is made in this thread."""
graph_task: Callable[[], int] = torch._C._current_graph_task_id
"""Which backward pass runs; -1 if none does."""
running_node: Callable[[], Any] = torch._C._current_autograd_node
"""The node of the graph that backward runs now in this thread, also while hooks on it run."""
BACKWARD_CODES: tuple[CodeType, ...] = tuple(
    function.__code__
    for function in (torch.autograd.backward, torch.autograd.grad, torch.autograd.graph._engine_run_backward)
)
"""The Python functions from which every backward pass runs."""
when_backward_ends: Callable[[Callable[[], None]], None] = torch.autograd.Variable._execution_engine.queue_callback

norms_of: Callable[..., tuple[torch.Tensor, ...]] = torch._foreach_norm
"""The norm of each of these tensors, of this order, computed in this type if one is given."""


class Unseen:
    """A `with` block in which we read tensors: no mode or subclass of the user's notices, and nothing is graphed."""

    def __enter__(self) -> None:
        self._no_grad, self._no_function = torch.no_grad(), without_torch_function()
        self._no_function.__enter__()  # first: a mode notices the change of grad mode too
        self._no_grad.__enter__()
        self._modes = [pop_dispatch_mode() for _ in range(dispatch_modes())]

    def __exit__(self, *_: object) -> None:
        while self._modes:
            push_dispatch_mode(self._modes.pop())
        self._no_grad.__exit__(None, None, None)
        self._no_function.__exit__(None, None, None)


@contextlib.contextmanager
def without_hooks_on_gradients(parameters: Iterable[torch.Tensor]) -> Iterator[None]:
    """Have backward call no hook that the user runs once a gradient has been accumulated, such as one that steps."""
    tables = [getattr(parameter, "_post_accumulate_grad_hooks", None) for parameter in parameters]
    hooks = [(table, dict(table)) for table in tables if table]
    for table, _ in hooks:
        table.clear()
    try:
        yield
    finally:
        for table, own in hooks:
            table.update(own)


def process_groups() -> list[Any]:
    """The groups of processes that this one is in, in the order in which they were made."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return []
    return list(torch.distributed.distributed_c10d._world.pg_map)


def collectives_in(group: Any) -> Any:
    """How many collectives a group was asked for; something new each time if its backend does not count them."""
    try:
        return group._get_sequence_number_for_group()
    except RuntimeError:
        return object()


def reduce_to_least(numbers: torch.Tensor, group: Any) -> None:
    """Replace these numbers by the least of each over all ranks of a group, of which no thread holds them afterwards.

    A thread of gloo lets go of a tensor of Python's only after Python has gone on, and needs Python's lock for it. If
    the group goes away before, with DDP's reducer, torch waits for that thread with the lock held, forever.
    """
    holders_of: Callable[[torch.Tensor], int] = torch.Tensor._use_count  # type: ignore[attr-defined]
    before = holders_of(numbers)
    torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MIN, group)
    until = time.perf_counter() + 0.1  # of a backend that goes on holding them
    while numbers.device.type == "cpu" and holders_of(numbers) > before and time.perf_counter() < until:
        time.sleep(0)


@contextlib.contextmanager
def versions_kept(tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """Leave these tensors with the counts of writes that they have now, for who puts back what is written."""
    with contextlib.ExitStack() as stack:
        for tensor in tensors:
            if not tensor.is_inference():  # which has no count
                stack.enter_context(torch.autograd._unsafe_preserve_version_counter(tensor))  # type: ignore[attr-defined]
        yield


def part_here(tensor: Any) -> torch.Tensor:
    """The part of a DTensor that is on this rank; any other tensor itself."""
    return tensor._local_tensor if _is_distributed(tensor) else tensor  # type: ignore[no-any-return]


def _is_distributed(tensor: torch.Tensor) -> bool:
    kind: Any = type(tensor)  # the module of which is imported by who has one
    return bool(kind.__name__ == "DTensor" and kind.__module__.startswith("torch."))


def placed(tensor: torch.Tensor) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """How a DTensor is placed on its mesh, and the shape of its part on this rank; nothing of any other tensor.

    `to_local()` would say the same, and make a node in the user's graph.
    """
    if not _is_distributed(tensor):
        return (), None
    placed_tensor: Any = tensor
    return tuple(map(repr, placed_tensor.placements)), tuple(placed_tensor._local_tensor.shape)


def mesh_of(tensor: torch.Tensor) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The shape of the mesh of a DTensor and where this rank is on it; None for any other tensor, or outside it."""
    if not _is_distributed(tensor):
        return None
    placed_tensor: Any = tensor
    mesh = placed_tensor.device_mesh
    coordinate = mesh.get_coordinate()
    return (tuple(mesh.shape), tuple(coordinate)) if coordinate is not None else None


def offset_of(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """Where the part of a DTensor that is on this rank begins in the whole; None if it is not one block of it."""
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    sharded: Any = tensor
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, sharded.device_mesh, sharded.placements)
    return tuple(offset) if tuple(shape) == tuple(part_here(tensor).shape) else None


def likeness(tensor: torch.Tensor) -> Callable[[Any], bool] | None:
    """A quick test whether a value is a tensor of the same class, shape, dtype and device that needs a gradient alike.

    It asks no mode or subclass. It is also false where torch is in another mode than now, such as autocast, or traces.
    None for a tensor that such a test does not describe.
    """
    if tensor.layout is not torch.strided or tensor.is_nested:
        return None
    make: Any = torch._C._dynamo.guards.TensorGuards
    try:
        guard = make(tensor, dynamic_dims_sizes=[list(tensor.shape)], dynamic_dims_strides=[[None] * tensor.dim()])
    except Exception:  # not made for this one: it is described by reading it
        return None
    accepts: Callable[[Any], bool] = guard.check
    return accepts


def top_function_mode() -> Any:
    """The torch function mode that is asked first; None if none is on."""
    count = torch_function_modes()
    return torch._C._get_function_stack_at(count - 1) if count else None


def run_composite(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Run the kernel of an operation that is made of other operations, so that those are dispatched."""
    return function._op_dk(DispatchKey.CompositeImplicitAutograd, *args, **kwargs)


def is_composite(function: Any) -> bool:
    """Whether eager torch runs an operation through such a kernel, because no backend has one of its own."""
    if not isinstance(function, OpOverload):
        return False
    name = function.name()  # type: ignore[no-untyped-call]
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return has_kernel(name, DispatchKey.CompositeImplicitAutograd) and not any(
        has_kernel(name, key) for key in (DispatchKey.CPU, DispatchKey.CUDA, DispatchKey.MPS, DispatchKey.XPU)
    )


def node_number(node: Any) -> int:
    """The number of a node of the graph: those made later in a thread have higher ones."""
    return int(node._sequence_nr())


SAVED_CAN_BE_READ = hasattr(torch._C._autograd.SavedTensor, "data")
"""Whether what a node of the graph has saved can be looked at without running the hooks that somebody put on it."""


def saved_in(node: Any) -> list[tuple[str, torch.Tensor]]:
    """The tensors that a node of the graph has saved, with its names of them, whatever has become of them since.

    Those are left out that hooks have packed, as a checkpoint does: to unpack them would run the hooks.
    """
    return [(name, raw.data) for name, raw in _saved(node) if isinstance(raw.data, torch.Tensor)]


def why_unusable(node: Any) -> tuple[str, str]:
    """The first tensor that a node has saved and cannot use any more, and what torch says; "" if all are there."""
    users = is_users_function(node)
    for name in ["tensors"] if users else [name for name, _ in _saved(node)]:
        try:
            getattr(node, "saved_tensors" if users else f"_saved_{name}")
        except RuntimeError as error:
            return name, str(error)
    return "", ""


def _saved(node: Any) -> list[tuple[str, Any]]:
    """What torch calls the SavedTensors of a node, and these, which must not outlive it."""
    if not SAVED_CAN_BE_READ:
        return []
    prefix = "_raw_saved_"
    named = [(name.removeprefix(prefix), _unless_freed(node, name)) for name in dir(node) if name.startswith(prefix)]
    each = [(name, raw) for name, raws in named for raw in (raws if isinstance(raws, (tuple, list)) else (raws,))]
    return [(name, raw) for name, raw in each if raw is not None and raw.unpack_hook is None]


def _unless_freed(node: Any, name: str) -> Any:
    """What a node has under this name; nothing once a function of the user's has let go of all that it had saved."""
    try:
        return getattr(node, name)
    except RuntimeError:
        return None


def is_users_function(node: Any) -> bool:
    """Whether a node of the graph is of a `torch.autograd.Function` written in Python."""
    return isinstance(node, torch.autograd.function.BackwardCFunction)


def backward_of(node: Any) -> CodeType | None:
    """The code of the backward that a user's function has written in Python; None of torch's own nodes."""
    function = getattr(node, "_forward_cls", None)
    return getattr(getattr(function, "backward", None), "__code__", None)


def memory_of(tensor: torch.Tensor) -> int:
    """What all views of one memory have in common; a number of its own for what has no memory."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):  # a sparse or wrapped tensor
        return -id(tensor)


def always_called(module: Module) -> dict[int, bool]:
    """The ids of the module's forward hooks that also run when its forward raises."""
    return module._forward_hooks_always_called


def is_compiled(module: Module) -> bool:
    """Whether `module.compile()` was called, so that `__call__` goes to compiled code and `forward` does not."""
    return module._compiled_call_impl is not None


def wraps_compiled(cls: type) -> bool:
    """Whether modules of this class are what `torch.compile(module)` gives; the compiler need not be imported."""
    return cls.__name__ == "OptimizedModule" and cls.__module__ == "torch._dynamo.eval_frame"


def has_legacy_backward_hooks(module: Module) -> bool:
    """Whether the module's backward hooks are of the kind before `register_full_backward_hook`."""
    return module._is_full_backward_hook is False


def is_no_plain_run() -> bool:
    """Whether what runs is traced, exported, compiled or recomputed for backward."""
    return bool(is_tracing() or torch.compiler.is_compiling() or fx_tracing() or graph_task() != -1)


def meta_is_ready() -> bool:
    """Whether torch has imported what many ops need on the meta device, which takes it about a second."""
    return "torch._dynamo" in sys.modules
