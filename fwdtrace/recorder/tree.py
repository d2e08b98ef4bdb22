"""The tree of a model, read from the tables of its modules: every module with its names, and how many parameters.

Each walk takes a stack of its own: generators within generators, as in torch's, take quadratic time in a deep tree.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

MOST_NAMES = 9
"""Names kept of one module, path and aliases; a tree that shares at every level has exponentially many."""


def modules_and_names(root: nn.Module) -> list[tuple[nn.Module, tuple[str, ...]]]:
    """Every module of the tree with all its names, in the order of `named_modules`; cycles are entered once."""
    names: dict[int, tuple[nn.Module, list[str]]] = {id(root): (root, [""])}
    path = {id(root)}
    pending = [(root, "", iter(root._modules.items()))]
    while pending:
        module, prefix, children = pending[-1]
        for key, child in children:
            if child is None:
                continue
            identity = id(child)
            known = names.get(identity)
            if known is None:
                known = names[identity] = child, []
            if identity in path or len(known[1]) == MOST_NAMES:
                continue
            name = prefix + key
            known[1].append(name)
            if child._modules:
                path.add(identity)
                pending.append((child, name + ".", iter(child._modules.items())))
                break
        else:
            pending.pop()
            path.discard(id(module))
    return [(module, tuple(known)) for module, known in names.values()]


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


def counts_of_parameters(root: nn.Module) -> dict[int, int]:
    """What `count_parameters` gives for each module of a tree, by the id of the module.

    Every module is counted once, after those in it. What is in the tree at several places goes up as a set.
    """
    order, is_tree, is_cyclic = _bottom_up(root)
    if is_cyclic:
        return {id(module): count_parameters(module) for module in order}
    own = {id(module): own_parameters(module) for module in order}
    parameters = [id(parameter) for its_own in own.values() for parameter in its_own]
    shared = set() if is_tree and len(set(parameters)) == len(parameters) else _at_several_places(order, own)
    totals: dict[int, int] = {}
    counts: dict[int, int] = {}
    sets: dict[int, dict[int, int]] = {}
    for module in order:
        key, count, several = id(module), 0, {}
        for parameter in own[key]:
            if id(parameter) in shared:
                several[id(parameter)] = parameter.numel()
            else:
                count += parameter.numel()
        for child in module._modules.values():
            if child is not None:
                count += counts[id(child)]
                if shared:
                    several.update(sets.get(id(child), ()))
        counts[key] = totals[key] = count
        if several:
            sets[key] = several
            totals[key] += sum(several.values())
    return totals


def own_parameters(module: nn.Module) -> list[Tensor]:
    """The parameters that the module itself holds and that are initialised."""
    return [
        parameter
        for parameter in module._parameters.values()
        if parameter is not None and (type(parameter) is nn.Parameter or not is_lazy(parameter))
    ]


def _bottom_up(root: nn.Module) -> tuple[list[nn.Module], bool, bool]:
    """Every module after those in it; whether each is at one place alone; whether one of them holds itself."""
    order: list[nn.Module] = []
    is_open = {id(root): True}
    is_tree, is_cyclic = True, False
    pending = [(root, iter(root._modules.values()))]
    while pending:
        module, children = pending[-1]
        for child in children:
            if child is None:
                continue
            key = id(child)
            if key in is_open:
                is_tree, is_cyclic = False, is_cyclic or is_open[key]
            elif not child._modules:
                is_open[key] = False
                order.append(child)
            else:
                is_open[key] = True
                pending.append((child, iter(child._modules.values())))
                break
        else:
            pending.pop()
            is_open[id(module)] = False
            order.append(module)
    return order, is_tree, is_cyclic


def _at_several_places(modules: list[nn.Module], own: dict[int, list[Tensor]]) -> set[int]:
    """The ids of the parameters that come up more than once where all modules are added up."""
    met: set[int] = set()
    several: set[int] = set()
    held: set[int] = set()
    for module in modules:
        for parameter in own[id(module)]:
            (several if id(parameter) in met else met).add(id(parameter))
        for child in module._modules.values():
            if child is None:
                continue
            if id(child) in held:
                several.update(id(parameter) for below in modules_below(child) for parameter in own[id(below)])
            held.add(id(child))
    return several
