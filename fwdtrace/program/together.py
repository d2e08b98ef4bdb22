"""Several processes that can only run a call again together: which they are, and how they agree on it.

A call that waits for other ranks, as a sharded one does, would wait forever in a replay of one rank alone. So one rank
replays it if all do: they agree before each step of the optimizer, by one small reduction in the program's own groups.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from fwdtrace.recorder.torch_internals import collectives_in, process_groups, reduce_to_least

NEVER = 2**62
"""The place, in a list, of what is not in it."""


def collectives() -> dict[str, Any]:
    """How many collectives each process group has been asked for, by the name of the group."""
    return {group.group_name: collectives_in(group) for group in process_groups()}


def groups_used(before: Mapping[str, Any]) -> set[str]:
    """The names of the groups in which a collective ran since then."""
    return {name for name, count in collectives().items() if count != before.get(name)} if before else set()


def all_call(module: nn.Module, before: Mapping[str, Any]) -> bool:
    """Whether it is sure of a call that used groups that all ranks of them have made it.

    It is not where the backend does not count, nor with DDP, which sends buffers before a call that one rank may make.
    """
    if (
        isinstance(module, nn.parallel.DistributedDataParallel)
        and module.forward_sync_buffers
        and module.modules_buffers
    ):
        return False
    return all(isinstance(count, int) for count in before.values())


def least(groups: Collection[str], model: nn.Module, *numbers: int) -> list[int]:
    """The least of each of these numbers over all ranks of these groups, which all call this."""
    parameter = next(model.parameters(), None)
    found = torch.tensor(numbers, device=parameter.device if parameter is not None else None)
    for group in process_groups():
        if group.group_name in groups:
            reduce_to_least(found, group)
    return [int(number) for number in found]


def synchronise_nothing(model: nn.Module) -> None:
    """Have DDP leave gradients and buffers as they are on this rank; its attributes are to be put back."""
    for module in model.modules():
        if isinstance(module, nn.parallel.DistributedDataParallel):
            module.require_backward_grad_sync = module.require_forward_param_sync = False
