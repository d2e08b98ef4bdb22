"""The data flow of a model as its torch.fx graph has it, told in the rows of a trace of the same model.

The graph is run node by node and every value is kept, so that no two tensors ever have one identity.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from fwdtrace.trace import Call, Op, TensorMeta, Trace
from tests.oracle.flow import Known, Origin, Sides, differences_in_flow, flow_of

OPERATORS = {
    **{"+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "**": "pow", "@": "matmul"},
    **{"+=": "add", "-=": "sub", "*=": "mul", "/=": "truediv", "[]": "getitem", "[]=": "setitem", "&": "and_"},
    **{"<": "lt", ">": "gt", "<=": "le", ">=": "ge", "==": "eq", "!=": "ne", "~": "invert"},
}
SAME = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv", "neg": "sub", "rsub": "sub", "rmul": "mul"}
CONSTANT = "constant"
"""The kind of origin of what the graph holds as a number, because tracing computed it once and for all."""


@dataclass
class Step:
    """A node of the graph that computes tensors: what went in and what came out, other steps named by their place."""

    node: fx.Node
    sides: Sides
    shapes: tuple[tuple[int, ...], ...]


class Proxy(fx.Proxy):
    """Has the operators that write into their left side, of which fx makes ordinary ones."""

    def __iadd__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})


class Tracer(fx.Tracer):
    """Goes into whatever the recorder goes into: modules of torch and those without modules of their own stay whole."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """The stand-in for the value of a node."""
        return Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether the call of a module is one node."""
        return super().is_leaf_module(m, module_qualified_name) or not m._modules


class Runner(fx.Interpreter):
    """Runs a graph and notes of every step where its tensors came from."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__(module, garbage_collect_values=False, graph=graph)
        self.steps: list[Step] = []
        self.results: tuple[Known, ...] = ()
        self._tensors: list[Tensor] = []
        self._versions: list[int] = []
        self._known: dict[int, Known] = {}
        self._state = {name: "buffer" for name, _ in module.named_buffers()}
        self._state |= {name: "parameter" for name, _ in module.named_parameters()}

    def run_node(self, n: fx.Node) -> Any:
        """Run a node; what comes out of it is new, unless it is one of the tensors that went in."""
        given = [tensor for node in nodes_in((n.args, n.kwargs)) for tensor in tensors_in(self.env[node])]
        inputs = tuple(self._known[id(tensor)] for tensor in given)
        result = super().run_node(n)
        if n.op == "output":
            self.results = inputs
            return result
        taken_out = n.target is operator.getitem and not isinstance(self.env[n.args[0]], Tensor)
        is_step = not taken_out and is_step_of(n, result)
        for place, version in enumerate(self._versions):
            if self._tensors[place]._version != version:
                key = id(self._tensors[place])
                self._versions[place] = self._tensors[place]._version
                self._known[key] = self._known[key]._replace(changed_by=len(self.steps))
        for output, tensor in leaves_in(result):
            if id(tensor) not in self._known:
                self._known[id(tensor)] = Known(self._origin_of(n, output))
                self._tensors.append(tensor)
                self._versions.append(tensor._version)
        if is_step:
            outputs = tuple(self._known[id(tensor)] for tensor in tensors_in(result))
            self.steps.append(Step(n, Sides(inputs, outputs), tuple(tuple(each.shape) for each in tensors_in(result))))
        return result

    def _origin_of(self, n: fx.Node, output: int) -> Origin:
        if n.op == "placeholder":
            return Origin("argument", str(n.target))
        if n.op != "get_attr":
            return Origin("row", len(self.steps), output)
        name = str(n.target)
        return Origin(self._state.get(name, CONSTANT), name)


def differences_from_graph(model: nn.Module, trace: Trace, args: tuple[Any, ...]) -> list[str]:
    """What a trace of `model(*args)` with its ops says otherwise than the graph of the model does; [] if nothing."""
    runner = Runner(model, Tracer(autowrap_functions=()).trace(model))
    runner.run(*args)
    pairing = Pairing(model, trace, runner.steps)
    if pairing.lost:
        return pairing.lost
    got = flow_of(trace)
    told = {step: pairing.told_of(step, got) for step in range(len(runner.steps))}
    expected = {step: runner.steps[step].sides for step in told}
    end = len(told)
    told[end] = pairing.in_steps(Sides((), got[trace.calls[0].id].outputs))
    expected[end] = Sides((), runner.results)
    return [
        f"{runner.steps[place].node if place < end else 'the end'}: {difference}"
        for place, difference in differences_in_flow(without_constants(expected), told)
    ]


@dataclass
class Pairing:
    """Which rows of a trace are which step of a graph: the next row that can be, in order."""

    model: nn.Module
    trace: Trace
    steps: list[Step]
    rows_of: list[list[Call | Op]] = field(default_factory=list)
    step_of: dict[int, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows_of = [[] for _ in self.steps]
        calls = {step.node.target for step in self.steps if step.node.op == "call_module"}
        inside: dict[int, int] = {}
        place = 0
        for row in sorted((*self.trace.calls, *(self.trace.ops or ())), key=lambda row: row.id):
            if row.parent in self.step_of and isinstance(self._row(row.parent), Call):
                self.step_of[row.id] = self.step_of[row.parent]  # below a module that is one node
                continue
            if isinstance(row, Call) and not calls.intersection((row.path, *row.aliases)):
                continue
            while place < len(self.steps) and self._is_whole(place) and not self._in_function(row, place):
                place += 1
            if place == len(self.steps) or not self._can_be(row, self.steps[place]):
                if isinstance(row, Op) and self._is_constant(row, inside):
                    inside[row.id] = row.id
                    continue
                expected = self.steps[place].node.format_node() if place < len(self.steps) else "the end"
                self.lost = [f"row {row.id}, {row.name if isinstance(row, Op) else row.path}, is not {expected}"]
                return
            self.rows_of[place].append(row)
            self.step_of[row.id] = place
            if not is_users_function(self.steps[place].node):
                place += 1
        missing = [step.node.format_node() for step, rows in zip(self.steps, self.rows_of, strict=True) if not rows]
        self.lost = [f"no row is {node}" for node in missing]

    def told_of(self, step: int, got: dict[int, Sides]) -> Sides:
        """What the trace says of a step, in the terms of the graph."""
        rows = self.rows_of[step]
        if not is_users_function(self.steps[step].node):
            return self.in_steps(got[rows[0].id])
        # The inside of such a function is no part of the graph: each tensor that goes in counts once, as first used.
        known = [known for row in rows for known in self.in_steps(got[row.id]).inputs]
        outside = dict.fromkeys(each for each in known if each.origin is not None and each.origin[:2] != ("row", step))
        order = {each: place for place, each in enumerate(self.steps[step].sides.inputs)}
        inputs = tuple(sorted(outside, key=lambda each: order.get(each, len(order))))
        return Sides(inputs, self.in_steps(got[rows[-1].id]).outputs)

    def in_steps(self, sides: Sides) -> Sides:
        """The same flow with steps in place of rows."""
        return Sides(tuple(map(self._in_steps, sides.inputs)), tuple(map(self._in_steps, sides.outputs)))

    def _in_steps(self, known: Known) -> Known:
        origin = known.origin
        if origin is not None and origin.kind == "row":
            step = self.step_of.get(int(origin.name))
            origin = Origin("row", step, origin.output) if step is not None else None
        changed_by = self.step_of.get(known.changed_by) if known.changed_by is not None else None
        return Known(origin, changed_by)

    def _row(self, id: int) -> Call | Op | None:
        return next((call for call in self.trace.calls if call.id == id), None)

    def _is_whole(self, place: int) -> bool:
        return is_users_function(self.steps[place].node) and bool(self.rows_of[place])

    def _in_function(self, row: Call | Op, place: int) -> bool:
        node = self.steps[place].node
        return isinstance(row, Op) and row.site is not None and row.site.function == node.target.__name__

    def _can_be(self, row: Call | Op, step: Step) -> bool:
        node = step.node
        if isinstance(row, Call):
            return node.op == "call_module" and node.target in (row.path, *row.aliases)
        if is_users_function(node):
            return row.site is not None and row.site.function == node.target.__name__
        shapes = tuple(leaf.shape for leaf in row.outputs if isinstance(leaf, TensorMeta))
        return node.op != "call_module" and name_of_row(row) == name_of_node(node) and shapes == step.shapes

    def _is_constant(self, row: Op, inside: dict[int, int]) -> bool:
        """Whether an op works on nothing that depends on the arguments of the model."""
        sources = [leaf.source for leaf in row.inputs if isinstance(leaf, TensorMeta)]
        return all(source is not None and (source.id is None or source.id in inside) for source in sources)


def without_constants(steps: dict[int, Sides]) -> dict[int, Sides]:
    """The same with constants as unknown: what computed them is not in the graph."""

    def known(each: Known) -> Known:
        return Known(None) if each.origin is not None and each.origin.kind == CONSTANT else each

    return {
        place: Sides(tuple(map(known, sides.inputs)), tuple(map(known, sides.outputs)))
        for place, sides in steps.items()
    }


def is_step_of(node: fx.Node, result: Any) -> bool:
    """Whether a node computes tensors."""
    if node.op in ("call_function", "call_method"):
        return node.target is operator.setitem or bool(tensors_in(result))
    return node.op == "call_module"


def is_users_function(node: fx.Node) -> bool:
    """Whether a node calls a function of the model's own, whose inside the graph does not show."""
    module = getattr(node.target, "__module__", None) or ""
    library = module.split(".")[0]
    return node.op == "call_function" and library not in ("torch", "_operator", "builtins", "math", "")


def name_of_node(node: fx.Node) -> str:
    """The bare name of what a node calls."""
    if node.target is builtins.getattr:
        return str(node.args[1])
    name = node.target if isinstance(node.target, str) else node.target.__name__
    return SAME.get(name.strip("_"), name.strip("_"))


def name_of_row(op: Op) -> str:
    """The bare name of an op."""
    name = OPERATORS.get(op.name) or op.name.rpartition(".")[2].strip("_")
    return SAME.get(name, name)


def nodes_in(arguments: Any) -> list[fx.Node]:
    """The nodes among the arguments of a node, in order, one as often as it is given."""
    found: list[fx.Node] = []
    fx.node.map_arg(arguments, lambda node: found.append(node))
    return found


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a result."""
    return [tensor for _, tensor in leaves_in(value)]


def leaves_in(value: Any) -> Iterator[tuple[int, Tensor]]:
    """The tensors in a result, each with its place among all leaves."""
    for place, leaf in enumerate(_leaves(value)):
        if isinstance(leaf, Tensor):
            yield place, leaf


def _leaves(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]
