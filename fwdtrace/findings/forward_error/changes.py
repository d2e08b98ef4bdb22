"""What could be done about a failure, as values that a copy of the model can be changed by, and their words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fwdtrace.trace import Shape, Site
from fwdtrace.trace.text import listed, path_text, shape_text

PACKING = ("pack_padded_sequence", "pack_sequence")
"""Functions of torch that pack for a line, the second through the first; each call at a line can be made otherwise."""


@dataclass(frozen=True, slots=True)
class Step:
    """A method of a tensor with its arguments, as `x.transpose(1, 2)`; `part` is a field or an item, as `x.logits`."""

    method: str
    args: tuple[int | str, ...] = ()

    def of(self, name: str) -> str:
        """The step as code, on a tensor of this name."""
        if self.method == "part":
            return f"{name}{self.args[0]}"
        if self.method == "interpolate":
            return f"F.interpolate({name}, size=({', '.join(map(str, self.args))}))"
        return f"{name}.{self.method}({', '.join(map(str, self.args))})"


@dataclass(frozen=True, slots=True)
class Built:
    """A layer is built with another argument."""

    path: str
    argument: str
    value: int | bool | Shape


@dataclass(frozen=True, slots=True)
class Shaped:
    """A parameter has another shape."""

    name: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class PassedTo:
    """A layer is given its tensor after some steps; `back` are the steps on its result."""

    path: str
    tensor: int
    name: str
    steps: tuple[Step, ...]
    back: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Operand:
    """An op is given one of its tensors, `of` so many, after some steps, at each of its calls at this line."""

    op: str
    site: Site
    tensor: int
    of: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Called:
    """An op is called with another argument, by its place and its name, at each of its calls at this line."""

    op: str
    site: Site
    place: int
    argument: str
    value: int | bool | tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class WithoutGrad:
    """An op runs under `torch.no_grad()`, at each of its calls at this line."""

    op: str
    site: Site


@dataclass(frozen=True, slots=True)
class Given:
    """The model is given an argument of another shape, of another dtype, or after some steps."""

    argument: str
    shape: Shape | None = None
    dtype: str | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Converted:
    """A module, with all inside it, has another dtype."""

    path: str
    dtype: str


Change = Built | Shaped | PassedTo | Operand | Called | WithoutGrad | Given | Converted


@dataclass(frozen=True, slots=True)
class Proposal:
    """Changes that are made together. The lower the `cost`, the less they change; `why` ends the words of it."""

    changes: tuple[Change, ...]
    cost: float
    why: str = ""

    @property
    def only_resizes_inputs(self) -> bool:
        """Whether all that it changes are the shapes of what the model is given."""
        return all(isinstance(change, Given) and change.shape is not None for change in self.changes)


def proposal_text(proposal: Proposal, give: str = "give the model") -> str:
    """The proposal in words, as advice: `set in_features=8 in q, k and v`; `give` stands before other arguments."""
    texts: list[str] = []
    built: dict[tuple[str, object], list[str]] = {}
    operands: dict[tuple[str, Site, tuple[Step, ...]], list[Operand]] = {}
    given: dict[str, tuple[Step, ...]] = {}
    for change in proposal.changes:
        if isinstance(change, Given) and change.shape is None:
            to = () if change.dtype is None else (Step("to", (f"torch.{change.dtype}",)),)
            given[change.argument] = (*given.get(change.argument, ()), *to, *change.steps)
        elif isinstance(change, Built):
            built.setdefault((change.argument, change.value), []).append(path_text(change.path))
        elif isinstance(change, Operand):
            operands.setdefault((change.op, change.site, change.steps), []).append(change)
        else:
            texts.append(_text(change, give))
    texts = [f"{give} {_steps(steps, argument)}" for argument, steps in given.items()] + texts
    texts += [_operands(changed) for changed in operands.values()]
    settings = [f"{argument}={_value(value)} in {listed(paths, 6)}" for (argument, value), paths in built.items()]
    if settings:
        texts.append(f"set {' and '.join(settings)}")
    return " and ".join(texts) + proposal.why


def _text(change: Change, give: str) -> str:
    if isinstance(change, Shaped):
        return f"make the parameter {change.name} {shape_text(change.shape)}"
    if isinstance(change, Converted):
        module = "model" if not change.path else change.path
        return f"convert {'all of ' if change.path else ''}the module, {module}.to(torch.{change.dtype})"
    if isinstance(change, Given):
        assert change.shape is not None
        as_dtype = f" as {change.dtype}" if change.dtype else ""
        return f"{give} {change.argument} of {shape_text(change.shape)}{as_dtype}"
    if isinstance(change, Called):
        if change.argument == "shape":
            return f"call {change.op} in line {change.site.line} with {_value(change.value)}"
        return f"call {change.op} in line {change.site.line} with {change.argument}={_value(change.value)}"
    if isinstance(change, WithoutGrad):
        return f"run {change.op} in line {change.site.line} under torch.no_grad()"
    assert isinstance(change, PassedTo)
    text = f"pass {_steps(change.steps, change.name)} to {path_text(change.path)}"
    return text + (f", and take {_steps(change.back, '')} of its result" if change.back else "")


def _operands(changed: list[Operand]) -> str:
    """Operands of one op that go through the same steps."""
    one = changed[0]
    if one.of == 1:
        which = "the operand"
    elif one.of == len(changed) == 2:
        which = "both operands"
    elif one.of == 2:
        which = ("the first operand", "the second operand")[one.tensor]
    else:
        numbers = [str(each.tensor + 1) for each in changed]
        which = f"{'operand' if len(numbers) == 1 else 'operands'} {listed(numbers, 6)}"
    place = f"{which} of {one.op} in line {one.site.line}"
    if one.steps[0].method == "interpolate":
        return f"resize {place}, {_steps(one.steps, 'x')}"
    return f"apply {_steps(one.steps, '')} to {place}"


def _steps(steps: Iterable[Step], name: str) -> str:
    for step in steps:
        name = step.of(name)
    return name


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(str, value))})"
    return str(value)
