"""Unit: a module that holds weights and runs as one, with what it was given and gave; and the parts of its matrices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import is_lazy

from fwdtrace.compare.numbers.contents import Content, content_of
from fwdtrace.compare.two_models.recorded import Recorded
from fwdtrace.compare.weight_map import Piece
from fwdtrace.compare.weights.spellings import roles_of
from fwdtrace.recorder.measures.keeper import Kept
from fwdtrace.trace import Call, Trace

CLOSE = 2e-5
"""How far the contents of two float32 results of one computation may be apart, by their size."""

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Sample:
    """A tensor of a run; its content is worked out when it is first asked for."""

    tensor: Tensor

    @cached_property
    def content(self) -> Content:
        """What it holds."""
        return content_of(self.tensor)


@dataclass(frozen=True)
class Unit:
    """A module that ran, with the names of all weights in it, and its first call.

    `names` has the names in the state dict by those in the module. `given` and `gave` are the tensors of that call,
    where they were kept; `order` counts the units as they ran.
    """

    path: str
    order: int
    names: Mapping[str, str]
    given: tuple[Sample, ...]
    gave: Sample | None

    @property
    def given_contents(self) -> tuple[Content, ...]:
        """The contents of what it was given."""
        return tuple([sample.content for sample in self.given])

    @property
    def given_tensors(self) -> tuple[Tensor, ...]:
        """What it was given."""
        return tuple([sample.tensor for sample in self.given])


@dataclass(frozen=True)
class Part:
    """A matrix of a unit with its bias, as rows of what the unit stores.

    `role` says what it is for, if a module of torch has several. `place` is that of what it is multiplied with among
    what the unit was given, `gave` the result, as far as these are known.
    """

    unit: Unit
    weight: Piece
    bias: Piece | None
    rows: int
    columns: tuple[int, ...]
    role: str | None
    place: int | None
    gave: Sample | None

    @property
    def name(self) -> str:
        """The name by which it is compared with others."""
        return f"{self.unit.path}.{self.role}" if self.role else self.unit.path

    @property
    def given(self) -> tuple[Content, ...]:
        """What it is multiplied with, as far as that is known."""
        return () if self.place is None else self.unit.given_contents[self.place : self.place + 1]

    @property
    def roles(self) -> frozenset[str]:
        """What it may be for."""
        return frozenset((self.role,)) if self.role else roles_of(self.unit.path)


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers that have a shape by now; a module may put anything else into its state dict too."""
    return {
        name: value for name, value in model.state_dict().items() if isinstance(value, Tensor) and not is_lazy(value)
    }


def laid_out(model: nn.Module) -> frozenset[str]:
    """The weights of which the class of their module says that they have a row for each output."""
    of_linear = {"weight"}
    of_attention = {"in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"}
    return frozenset(
        f"{path}.{name}" if path else name
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, nn.Linear | nn.MultiheadAttention)
        for name, _ in module.named_parameters(recurse=False)
        if name in (of_linear if isinstance(module, nn.Linear) else of_attention)
    )


def units_of(run: Recorded, model: nn.Module) -> list[Unit]:
    """The units in the order in which they ran, as far as the model came.

    A unit is a module below which no other that holds weights is called.
    """
    samples: dict[int, Sample] = {}  # the same tensor often goes into several units
    units = []
    for order, (call, names) in enumerate(_holders(run.trace, state_of(model))):
        given, gave = ([*_samples(kept, samples)] for kept in run.numbers.get(call.id, ((), ())))
        units.append(Unit(call.path or "", order, names, tuple(given), gave[0] if gave else None))
    return units


def _samples(tensors: tuple[Kept | None, ...], known: dict[int, Sample]) -> Iterator[Sample]:
    for kept in tensors:
        if kept is not None and kept.tensor is not None:
            yield known.setdefault(id(kept), Sample(kept.tensor))


def units_by_structure(model: nn.Module) -> list[Unit] | None:
    """The units if each is a module of torch's usual kind that holds weights with no other below it, none if not.

    Whether they are, shows when the model runs. What they are given and give is not known.
    """
    below = _below(state_of(model))
    holders = {path for path in below if not any(other.startswith(f"{path}.") for other in below)} - {""}
    paths = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    modules = [(path, model.get_submodule(path)) for path in holders]
    has_lazy = any(map(is_lazy, (*model.parameters(), *model.buffers())))
    if has_lazy or any("parametrizations" in path.split(".") for path in holders):
        return None
    if any(paths[id(module)] > 1 or not _is_known_by_structure(module) for _, module in modules):
        return None
    return [Unit(path, order, below[path], (), None) for order, path in enumerate(sorted(holders))]


def _is_known_by_structure(module: nn.Module) -> bool:
    """Whether nothing but its class says how its matrix lies, and it is one that is called."""
    if isinstance(module, nn.ParameterList | nn.ParameterDict | nn.modules.linear.NonDynamicallyQuantizableLinear):
        return False
    weight = getattr(module, "weight", None)
    has_columns = isinstance(weight, Tensor) and weight.dim() == 2
    return not has_columns or isinstance(module, nn.Linear | nn.Embedding)


def _below(state: State) -> dict[str, dict[str, str]]:
    """For each module the names of all weights in it, by what they are called there."""
    below: dict[str, dict[str, str]] = {}
    for name in state:
        parts = name.split(".")
        for length in range(len(parts)):
            below.setdefault(".".join(parts[:length]), {})[".".join(parts[length:])] = name
    return below


def _holders(trace: Trace, state: State) -> Iterator[tuple[Call, dict[str, str]]]:
    """The first calls of the units, with the names of their weights."""
    below = _below(state)
    for call in trace.calls:
        names = below.get(call.path or "", {}) if _has_own_weights(call) else {}
        inner = (each.path or "-" for each in trace.walk(call) if _has_own_weights(each))
        if call.nth == 1 and names and not any(map(below.get, inner)):
            yield call, names


def _has_own_weights(call: Call) -> bool:
    """Whether it is a module of the tree, and none that only makes the weight of another, as a parametrization does."""
    return call.path is not None and "parametrizations" not in call.path.split(".")


def parts_of(unit: Unit, module: nn.Module, state: State) -> list[Part]:
    """The matrices of a unit, each with its bias; none if it holds something else as well."""
    if isinstance(module, nn.MultiheadAttention):
        return _attention_parts(unit, module, state)
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return _recurrent_parts(unit, state)
    if not set(unit.names) <= {"weight", "bias"} or "weight" not in unit.names:
        return []
    weight = state[unit.names["weight"]]
    if weight.dim() < 2:
        return []
    transposed = _is_transposed(unit, module, state)
    shape = tuple(weight.t().shape) if transposed else tuple(weight.shape)
    bias = Piece(unit.names["bias"]) if "bias" in unit.names else None
    piece = Piece(unit.names["weight"], transposed=transposed)
    return [Part(unit, piece, bias, shape[0], shape[1:], None, 0, unit.gave)]


def _is_transposed(unit: Unit, module: nn.Module, state: State) -> bool:
    """Whether the weight has a column for each output, as the Conv1D of GPT-2 has."""
    weight = state[unit.names["weight"]]
    if weight.dim() != 2 or isinstance(module, nn.Linear | nn.Embedding) or unit.gave is None or not unit.given:
        return False
    given, gave = unit.given[0].tensor, unit.gave.tensor
    if not given.is_floating_point() or not given.dim() or gave.shape[-1:] != weight.shape[1:]:
        return False
    if weight.shape[0] != weight.shape[1]:
        return given.shape[-1] == weight.shape[0]
    bias = state[unit.names["bias"]] if "bias" in unit.names else None
    straight = functional.linear(given, weight.detach(), bias)
    return not content_of(straight).same_elements(unit.gave.content, CLOSE)


def _attention_parts(unit: Unit, module: nn.MultiheadAttention, state: State) -> list[Part]:
    width = module.embed_dim
    bias = unit.names.get("in_proj_bias")
    parts = []
    for place, role in enumerate("qkv"):
        rows = place * width, (place + 1) * width
        if "in_proj_weight" in unit.names:
            weight, columns = Piece(unit.names["in_proj_weight"], *rows), width
        else:
            name = unit.names[f"{role}_proj_weight"]
            weight, columns = Piece(name), state[name].shape[1]
        own = Piece(bias, *rows) if bias is not None else None
        parts.append(
            Part(
                unit,
                weight,
                own,
                width,
                (columns,),
                role,
                min(place, len(unit.given) - 1) if unit.given else None,
                None,
            )
        )
    out = unit.names.get("out_proj.bias")
    last = Piece(unit.names["out_proj.weight"])
    parts.append(Part(unit, last, Piece(out) if out else None, width, (width,), "o", None, unit.gave))
    return parts


def _recurrent_parts(unit: Unit, state: State) -> list[Part]:
    parts = []
    for name in unit.names:
        if not name.startswith("weight_"):
            continue
        bias = unit.names.get(name.replace("weight_", "bias_"))
        shape = state[unit.names[name]].shape
        role = name[len("weight_") :].removesuffix("_l0")
        part = Part(unit, Piece(unit.names[name]), None, shape[0], (shape[1],), role, None, None)
        parts.append(replace(part, bias=Piece(bias) if bias else None))
    return parts
