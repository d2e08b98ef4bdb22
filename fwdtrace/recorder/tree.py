"""The tree of a model, read from the tables of its modules: every module with its names, and how many parameters.

Each walk takes a stack of its own: generators within generators, as in torch's, take quadratic time in a deep tree.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import Parameter, is_lazy

MOST_NAMES = 9
"""Names kept of one module, path and aliases; a tree that shares at every level has exponentially many."""


def modules_and_names(root: nn.Module) -> list[tuple[nn.Module, tuple[str, ...]]]:
    """Every module of the tree with all its names, in the order of `named_modules`; cycles are entered once."""
    names: dict[int, tuple[nn.Module, tuple[str, ...]]] = {id(root): (root, ("",))}
    path = {id(root)}
    pending = [(root, "", iter(root._modules.items()))]
    while pending:
        module, prefix, children = pending[-1]
        for key, child in children:
            if child is None:
                continue
            identity = id(child)
            name = prefix + key
            if identity not in names:
                names[identity] = child, (name,)
            else:
                known = names[identity][1]
                if identity in path or len(known) == MOST_NAMES:
                    continue
                names[identity] = child, (*known, name)
            if child._modules:
                path.add(identity)
                pending.append((child, name + ".", iter(child._modules.items())))
                break
        else:
            pending.pop()
            path.discard(id(module))
    return list(names.values())


def modules_below(root: nn.Module) -> list[nn.Module]:
    """Every module of the tree, the root first and each once."""
    modules = {id(root): root}
    pending = [root]
    while pending:
        for child in pending.pop()._modules.values():
            if child is not None and id(child) not in modules:
                modules[id(child)] = child
                pending.append(child)
    return list(modules.values())


def parameters_and_names(root: nn.Module) -> list[tuple[str, Tensor]]:
    """Every parameter of the tree with its first name, in the order of `named_parameters`."""
    return _held(root, "_parameters")


def buffers_and_names(root: nn.Module) -> list[tuple[str, Tensor]]:
    """Every buffer of the tree with its first name, in the order of `named_buffers`."""
    return _held(root, "_buffers")


def tensors_and_names(root: nn.Module) -> list[tuple[str, Tensor]]:
    """Every buffer of the tree, and every parameter, with its first name."""
    return _held(root, "_buffers", "_parameters")


def _held(root: nn.Module, *tables: str) -> list[tuple[str, Tensor]]:
    # Not by methods of the module, which may be the user's own and fail.
    held: dict[int, tuple[str, Tensor]] = {}
    modules = modules_and_names(root)
    for table in tables:
        for module, names in modules:
            for name, tensor in getattr(module, table).items():
                if tensor is not None and id(tensor) not in held:
                    held[id(tensor)] = f"{names[0]}.{name}".lstrip("."), tensor
    return list(held.values())


def first_parameter(root: nn.Module) -> Tensor | None:
    """The first parameter of the tree, None if it has none."""
    met = {id(root)}
    pending = [root]
    while pending:
        module = pending.pop()
        for parameter in module._parameters.values():
            if parameter is not None:
                return parameter
        children = [child for child in module._modules.values() if child is not None and id(child) not in met]
        met.update(map(id, children))
        pending.extend(reversed(children))
    return None


def count_parameters(root: nn.Module) -> int:
    """The elements of all parameters in the module and below it: shared ones once, those not initialised left out."""
    parameters = {id(parameter): parameter for module in modules_below(root) for parameter in own_parameters(module)}
    return sum(parameter.numel() for parameter in parameters.values())


@dataclass(frozen=True)
class Sizes:
    """How large a model is: the elements of the parameters in each module, by its id, and what the whole tree holds.

    `counts` are what `count_parameters` gives for each module. `trainable` counts the elements that require a gradient.
    """

    counts: dict[int, int]
    trainable: int
    parameter_bytes: int
    buffer_bytes: int


def sizes_of(root: nn.Module) -> Sizes:
    """The sizes of a tree; each of its tensors is asked once."""
    order, is_tree = _bottom_up(root)
    counts: dict[int, int] = {}
    held: list[Tensor] = []
    trainable = in_parameters = 0
    for module in order:
        count = 0
        for parameter in module._parameters.values():
            if type(parameter) is not Parameter and (parameter is None or is_lazy(parameter)):
                continue
            held.append(parameter)
            number = parameter.numel()
            count += number
            in_parameters += number * parameter.itemsize
            if parameter.requires_grad:
                trainable += number
        if is_tree and module._modules:
            for child in module._modules.values():
                if child is not None:
                    count += counts[id(child)]
        counts[id(module)] = count
    met = set(map(id, held))
    if not is_tree or len(met) < len(held):
        counts = _counts_with_sharing(order)
        once = {id(parameter): parameter for parameter in held}.values()
        in_parameters = sum(parameter.numel() * parameter.itemsize for parameter in once)
        trainable = sum(parameter.numel() for parameter in once if parameter.requires_grad)
    return Sizes(counts, trainable, in_parameters, _in_buffers(order, met))


def _in_buffers(modules: list[nn.Module], parameters: set[int]) -> int:
    """The bytes of the buffers of these modules that are no parameters too, each counted once."""
    buffers: dict[int, Tensor] = {}
    for module in modules:
        for buffer in module._buffers.values():
            if buffer is not None and id(buffer) not in parameters and not is_lazy(buffer):
                buffers[id(buffer)] = buffer
    return sum(buffer.numel() * buffer.itemsize for buffer in buffers.values())


def own_parameters(module: nn.Module) -> list[Tensor]:
    """The parameters that the module itself holds and that are initialised."""
    return [
        parameter
        for parameter in module._parameters.values()
        if parameter is not None and (type(parameter) is nn.Parameter or not is_lazy(parameter))
    ]


def _bottom_up(root: nn.Module) -> tuple[list[nn.Module], bool]:
    """Every module after those in it, as far as there is no cycle, and whether each is at one place alone."""
    order: list[nn.Module] = []
    met = {id(root)}
    is_tree = True
    pending = [(root, iter(root._modules.values()))]
    while pending:
        module, children = pending[-1]
        for child in children:
            if child is None:
                continue
            if id(child) in met:
                is_tree = False
                continue
            met.add(id(child))
            if child._modules:
                pending.append((child, iter(child._modules.values())))
                break
            order.append(child)
        else:
            pending.pop()
            order.append(module)
    return order, is_tree


def _counts_with_sharing(modules: list[nn.Module]) -> dict[int, int]:
    """The counts where modules or parameters are at several places: what is shared goes up as a set, the rest as a sum.

    `modules` are those of a whole tree, each after those in it. In a cycle there is no such order; each is walked then.
    """
    shared = _at_several_places(modules)
    sums: dict[int, int] = {}
    sets: dict[int, dict[int, int]] = {}
    for module in modules:
        own = own_parameters(module)
        total = sum(parameter.numel() for parameter in own if id(parameter) not in shared)
        several = {id(parameter): parameter.numel() for parameter in own if id(parameter) in shared}
        for child in module._modules.values():
            if child is None:
                continue
            if id(child) not in sums:
                return {id(module): count_parameters(module) for module in modules}
            total += sums[id(child)]
            several |= sets[id(child)]
        sums[id(module)], sets[id(module)] = total, several
    return {key: total + sum(sets[key].values()) for key, total in sums.items()}


def _at_several_places(modules: list[nn.Module]) -> set[int]:
    """The ids of the parameters that come up more than once where the modules of a tree are added up."""
    met: set[int] = set()
    held: set[int] = set()
    several: set[int] = set()
    for module in modules:
        for parameter in own_parameters(module):
            (several if id(parameter) in met else met).add(id(parameter))
        for child in module._modules.values():
            if child is not None and id(child) in held:
                several.update(id(parameter) for below in modules_below(child) for parameter in own_parameters(below))
            held.add(id(child))
    return several
