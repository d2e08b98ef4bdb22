"""What two modules do not have alike, in words: class, settings, mode, attributes, parameters and buffers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import Tensor, nn

from fwdtrace.compare.numbers.tensors import distance_of_tensors

_BETWEEN_SETTINGS = re.compile(r", (?![^()]*\))")
"""The comma between two settings, and not one inside the tuple that is a setting."""


def differences_of_modules(one: nn.Module, other: nn.Module) -> Iterator[str]:
    """Each thing that two modules do not have alike, in words; what is in their submodules is not looked at."""
    if type(one) is not type(other) and type(one).__name__ != type(other).__name__:
        yield f"{type(one).__name__} became {type(other).__name__}"
    yield from differences_of_settings(one, other)
    ours, theirs = _own_tensors(one), _own_tensors(other)
    if not ours.keys() & theirs.keys() and type(one).__name__ != type(other).__name__:
        return  # modules of two kinds hold what they need
    for name in dict.fromkeys([*ours, *theirs]):
        if name not in ours or name not in theirs:
            yield f"{name} is only in the {'second' if name in theirs else 'first'}"
        elif text := weight_apart(name, ours[name], theirs[name]):
            yield text


def weight_apart(name: str, one: Tensor | None, other: Tensor | None) -> str:
    """How a weight of this name is not the same in two models, in words; nothing if it is."""
    if one is None or other is None:
        return ""
    if one.shape != other.shape:
        return f"{name} is {list(one.shape)} and {list(other.shape)}"
    distance = distance_of_tensors(one, other)
    by = f" by up to {distance.absolute:.2g}" if distance.absolute else ""
    return "" if distance.same else f"{name} differs{by}"


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of the module itself that have numbers."""
    own = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
    lazy = (nn.UninitializedParameter, nn.UninitializedBuffer)
    return {name: tensor for name, tensor in own.items() if not isinstance(tensor, lazy) and not tensor.is_meta}


def differences_of_settings(one: nn.Module, other: nn.Module) -> Iterator[str]:
    """What two modules do not have alike besides their class and what they hold in tensors."""
    same_class = type(one).__name__ == type(other).__name__
    settings = _parts_apart(_settings(one), _settings(other), same_class=same_class)
    for what, (before, after) in (("settings", settings), ("mode", (_mode(one), _mode(other)))):
        if before != after:
            yield f"{what} ({before}) became ({after})"
    yield from differences_of_attributes(one, other, shown=settings[0] != settings[1])


def _parts_apart(before: str, after: str, *, same_class: bool) -> tuple[str, str]:
    """What is not alike in two lists of settings, `eps=1e-05` and `eps=0.01`; all of it if one is longer.

    Modules of two classes that name other settings are compared by those that both name.
    """
    ours, theirs = _BETWEEN_SETTINGS.split(before), _BETWEEN_SETTINGS.split(after)
    names = [
        {name for name, equals, _ in (part.partition("=") for part in parts) if equals} for parts in (ours, theirs)
    ]
    if not same_class and (names[0] != names[1] or len(ours) != len(theirs)):
        shared = names[0] & names[1]
        ours, theirs = (
            sorted(part for part in parts if part.partition("=")[0] in shared and "=" in part)
            for parts in (ours, theirs)
        )
    if len(ours) != len(theirs):
        return before, after
    pairs = [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]
    return ", ".join(one for one, _ in pairs), ", ".join(other for _, other in pairs)


def differences_of_attributes(one: nn.Module, other: nn.Module, *, shown: bool = False) -> Iterator[str]:
    """The plain public attributes that are not alike; those that settings have `shown` are left out.

    Modules of two classes may name them otherwise: then a number that only one name of each has is compared.
    """
    ours, theirs = _attributes(one), _attributes(other)
    for name in [name for name in ours if name in theirs]:
        if not _is_alike(ours[name], theirs[name]) and not (shown and f"{name}=" in _settings(one)):
            yield f"{name} {ours[name]} became {theirs[name]}"
    if type(one).__name__ == type(other).__name__:
        return
    alone = [
        {name: value for name, value in mine.items() if name not in others and isinstance(value, float)}
        for mine, others in ((ours, theirs), (theirs, ours))
    ]
    if len(alone[0]) == len(alone[1]) == 1:
        (was, before), (becomes, after) = alone[0].popitem(), alone[1].popitem()
        if before != after:
            yield f"{was} {before} became {becomes} {after}"


def _is_alike(one: object, two: object) -> bool:
    """Whether two are equal, or one number is given for each dimension by one of them: `1` and `(1, 1)`."""
    if isinstance(one, tuple) != isinstance(two, tuple):
        (number, numbers) = (two, one) if isinstance(one, tuple) else (one, two)
        return isinstance(numbers, tuple) and bool(numbers) and all(each == number for each in numbers)
    return one == two


def _attributes(module: nn.Module) -> dict[str, object]:
    """The public attributes that are plain numbers, texts or tuples of these."""
    plain = (bool, int, float, str, type(None))
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and name != "training"
        and (isinstance(value, plain) or (isinstance(value, tuple) and all(isinstance(part, plain) for part in value)))
    }


def _settings(module: nn.Module) -> str:
    try:
        return str(module.extra_repr())
    except Exception:  # the user's own method, of which only its text is wanted
        return ""


def _mode(module: nn.Module) -> str:
    return "train" if module.training else "eval"
