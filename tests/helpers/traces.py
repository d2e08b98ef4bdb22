"""Traces made by hand, for tests that need no model: a LeNet, one of every kind of field, and odd ones at random."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace
from typing import Any

from fwdtrace.trace import (
    Accelerator,
    Backward,
    BackwardError,
    BetweenHooks,
    Call,
    CallError,
    FailedModule,
    Finding,
    Fix,
    Gradient,
    GradientFault,
    Hook,
    Leaf,
    ModelInfo,
    NonFinite,
    Op,
    Operand,
    RunInfo,
    Site,
    Source,
    Stats,
    TensorMeta,
    Trace,
    Uncalled,
    Value,
    Versions,
)
from fwdtrace.trace.info import EarlierCall, Magnitude
from fwdtrace.trace.trace import write_trace

FAST_PATH = ("Module._wrapped_call_impl", "Module._call_impl")
ODD_TEXTS = (
    "",
    "x",
    "[red]",
    "</script>",
    "a\nb",
    "\x1b[31m",
    "漢字",
    "🙂",
    "שלום",
    "\u202e",
    "\ud800",
    '"\\',
    "é" * 70,
)


def tensor(*shape: int, name: str = "", dtype: str = "float32", device: str = "cpu") -> TensorMeta:
    return TensorMeta(name, shape, dtype, device)


def call(
    id: int,
    parent: int | None,
    path: str | None,
    class_name: str,
    shape_in: tuple[int, ...] = (1, 16),
    shape_out: tuple[int, ...] = (1, 16),
    **fields: Any,
) -> Call:
    """A call of one tensor to one tensor; `fields` are any others of Call, `line` that of its site in model.py."""
    entry = fields.pop("entry", "__call__")
    line = fields.pop("line", 10)
    chain = (f"{class_name}.forward",) if entry == "forward" else (*FAST_PATH, f"{class_name}.forward")
    filled: dict[str, Any] = {
        "depth": 0 if parent is None else 1,
        "nth": 1,
        "inputs": (tensor(*shape_in, name="input"),),
        "outputs": () if fields.get("error") else (tensor(*shape_out),),
        "site": Site("/home/user/model.py", line, "Net.forward", "x = self.layer(x)"),
        "chain": chain,
        **fields,
    }
    return Call(id=id, parent=parent, path=path, class_name=class_name, entry=entry, **filled)


def trace(*calls: Call, spec: str | None = "model.py:Net", **fields: Any) -> Trace:
    """A trace of these calls, with 1,234 parameters, that took 1.5 ms."""
    return Trace(
        Versions("0.1.0", "2.13.0", "3.11.7"),
        ModelInfo(spec, "model.Net", False, 1234),
        RunInfo("cpu", False, 0, None, 1500.0),
        calls,
        **fields,
    )


def json_of(trace: Trace) -> str:
    """The trace as the text of its file."""
    stream = io.StringIO()
    write_trace(trace, stream)
    return stream.getvalue()


def document(trace: Trace) -> Any:
    """The trace as `json` reads its file."""
    return json.loads(json_of(trace))


def lenet(*, direct: bool = False) -> Trace:
    """The ten calls of LeNet below its own, f5 run directly or not."""
    hook = Hook("forward", "model.keep_features", fired=False, file="/home/user/model.py", line=3)
    f5: dict[str, Any] = {"entry": "forward", "hooks": (hook,)} if direct else {}
    rows: list[tuple[str, str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
        ("c1", "Conv2d", (1, 3, 32, 32), (1, 6, 28, 28), {"parameters": 456, "line": 23}),
        ("sig", "Sigmoid", (1, 6, 28, 28), (1, 6, 28, 28), {"line": 23}),
        ("s2", "MaxPool2d", (1, 6, 28, 28), (1, 6, 14, 14), {"line": 24}),
        ("c3", "Conv2d", (1, 6, 14, 14), (1, 16, 10, 10), {"parameters": 2416, "line": 25}),
        ("sig", "Sigmoid", (1, 16, 10, 10), (1, 16, 10, 10), {"line": 25, "nth": 2}),
        ("s2", "MaxPool2d", (1, 16, 10, 10), (1, 16, 5, 5), {"line": 26, "nth": 2}),
        ("flatten", "Flatten", (1, 16, 5, 5), (1, 400), {"line": 27}),
        ("f5", "Linear", (1, 400), (1, 120), {"parameters": 48120, "line": 28, **f5}),
        ("f6", "Linear", (1, 120), (1, 84), {"parameters": 10164, "line": 29}),
        ("f7", "Linear", (1, 84), (1, 10), {"parameters": 850, "line": 30}),
    ]
    root = call(0, None, "", "LeNet", (1, 3, 32, 32), (1, 10), parameters=62006, line=5, duration_us=640.1)
    calls = (call(number, 0, *row[:4], **row[4]) for number, row in enumerate(rows, 1))
    return trace(root, *calls, spec="lenet")


def residual() -> Trace:
    """`first(x)`, `relu_` on its output, then `second`, whose output is added to that of `relu_` and to a parameter."""

    def leaf(source: Source, changed_by: int | None = None) -> TensorMeta:
        return replace(tensor(1, 16), source=source, changed_by=changed_by)

    first, written, second = leaf(Source(1, 0)), leaf(Source(1, 0), 2), leaf(Source(3, 0))
    x, end = leaf(Source(argument="x")), leaf(Source(4, 0))
    ops = (
        Op(2, 0, "torch.relu_", (first,), (written,)),
        Op(4, 0, "+", (second, written, leaf(Source(parameter="scale"))), (end,)),
    )
    return trace(
        call(0, None, "", "Net", inputs=(x,), outputs=(end,)),
        call(1, 0, "first", "Linear", inputs=(x,), outputs=(first,)),
        call(3, 0, "second", "Linear", inputs=(written,), outputs=(second,)),
        ops=ops,
    )


def everything() -> Trace:
    """A trace in which every field of every value is something else than its default."""
    site = Site("/home/user/model.py", 31, "Net.forward", "x = self.f5.forward(x)")
    stats = Stats(0.5, None, -1.0, 2.5, 3, 4, 5)
    sparse = TensorMeta(
        *("x.parts[0]", (2, -1), "bfloat16", "cuda:1", True, "sparse_coo", stats, ("Shard(0)",), (1, -1)),
        *(Source(argument="x.parts[0]"), 1),
    )
    sources = (
        *(Source(1, 0), Source(parameter="f5.weight"), Source(buffer="cos"), Source(attribute="mask")),
        *(Source(7, 1, call=1), Source(1, 0, hook="model.double")),
    )
    known = tuple(replace(tensor(2, name=f"args[{place}]"), source=source) for place, source in enumerate(sources))
    operand = Operand("mask", (2, -1), "bool", stats, True, (0,), (1,), (2,))
    wrong = NonFinite(1, 2, True, ("weight",), (operand,))
    hooks = (
        Hook("forward_pre", "model.look", True, True, "/home/user/model.py", 3),
        Hook("global_full_backward", "model.watch", False),
    )
    first = Call(
        *(0, None, 0, "", "Net", 2, "forward", (sparse, Value("scale", "2.0")), (tensor(1, 10),), site),
        *(("Net.forward",), hooks, 1234, 640.125, None, ("other", "third"), "script", "worker-1"),
        *(BetweenHooks((tensor(3),), (Value("", "1"),)), FailedModule((tensor(4),), "in_features=4"), wrong, 99),
        *(Backward(0, 12.5), Accelerator(70.5, 4096)),
    )
    second = call(
        2, 0, None, "Softmax", error=CallError("ValueError", "no", raised_below=True), without_grad="checkpoint"
    )
    ops = (
        Op(1, 0, "torch.flatten", known, (tensor(2),), site),
        Op(
            3,
            2,
            "+",
            error=CallError("TypeError", "not so", outside=Value("x[1]", "9")),
            nonfinite=NonFinite(0, 1, False),
            without_grad="no_grad",
        ),
    )
    fixes = (Fix("set a=1 in b", True, ((2, 10), ())), Fix("move it", False))
    findings = (
        Finding("FT001", "direct-forward", 0, "f5 ran directly", site),
        Finding("FT003", "never", None, "b", fixes=fixes),
    )
    run = RunInfo("cuda:0", True, 7, 3, 812.5, "t.safetensors", "0a1b", 2, around=(Value("OMP_NUM_THREADS", "4"),))
    return Trace(
        Versions("0.1.0", "2.13.0", "3.11.7"),
        ModelInfo("model.py:Net", "model.Net", True, 1234, 1000, 4936, 80),
        replace(run, earlier=(EarlierCall(1, (Magnitude("a", 2.5), Magnitude("b"))),)),
        (first, second),
        ops,
        findings,
        (Uncalled("spare", "Linear", 12),),
        (Gradient("weight", (2, 3), True, 0.25, 1, 2), Gradient("bias", (2,), False, None)),
        (GradientFault("zero", 7, 3, "AddBackward0", 6, 1, 2, ("weight",), (operand,), made_by="/", site=site),),
        (BackwardError("RuntimeError", "no", 3, "AddBackward0", "other", "bias", (2, 3), True, 1),),
    )


def odd(seed: int) -> Trace:
    """A trace at random: any text anywhere, any tree, values and tensors of all kinds; the same for the same seed."""
    chance = random.Random(seed)

    def text() -> str:
        return "".join(chance.choices(ODD_TEXTS, k=chance.randrange(3)))

    def site() -> Site | None:
        return chance.choice((None, Site(text(), chance.randrange(1, 10**6), text(), text())))

    def leaf() -> Leaf:
        if chance.random() < 0.4:
            return Value(text(), chance.choice((text(), "None")))
        shape = tuple(chance.choices((-1, 0, 1, 7, 2**40), k=chance.randrange(5)))
        return TensorMeta(text(), shape, chance.choice(("float32", "int64", "bfloat16")), text(), chance.random() < 0.5)

    def leaves() -> tuple[Leaf, ...]:
        return tuple(leaf() for _ in range(chance.choice((0, 1, 1, 2, 9))))

    def hook() -> Hook:
        return Hook(chance.choice(("forward", "full_backward", "compiled")), text(), chance.random() < 0.5)

    calls: list[Call] = []
    for id in range(chance.randrange(40)):
        above = chance.choice((None, *calls[-5:]))
        error = CallError(text(), text(), chance.random() < 0.5) if chance.random() < 0.1 else None
        calls.append(
            Call(
                id=id,
                parent=above.id if above else None,
                depth=above.depth + 1 if above else 0,
                path=chance.choice((None, "", "a", "a.0", "a.1", text())),
                class_name=text(),
                nth=chance.randrange(1, 99),
                entry=chance.choice(("__call__", "forward")),
                inputs=leaves(),
                outputs=() if error else leaves(),
                site=site(),
                chain=chance.choice(((), FAST_PATH, (text(), text()))),
                hooks=tuple(hook() for _ in range(chance.choice((0, 0, 2)))),
                parameters=chance.choice((0, 5, 10**12)),
                duration_us=chance.choice((None, 0.0, 1e-9, 1e15)),
                error=error,
                opaque=chance.choice((None, None, "compiled")),
                thread=chance.choice((None, None, text())),
            )
        )
    findings = [Finding("FT001", text(), chance.choice((None, *(c.id for c in calls))), text(), site()) for _ in "ab"]
    return trace(*calls, spec=chance.choice((None, text())), findings=tuple(findings))


def on_a_device() -> Trace:
    """A model of two layers that ran on a GPU, the second of which gave a number, so that only the host timed it."""
    return trace(
        call(0, None, "", "Net", duration_us=5000.0, accelerator=Accelerator(900.0, 3 * 2**20)),
        call(1, 0, "up", "Linear", duration_us=4000.0, accelerator=Accelerator(300.0, 2**20)),
        call(2, 0, "score", "Score", outputs=(Value("", "0.5"),), duration_us=700.0),
    )


def measured() -> Trace:
    """A model of two layers and a frozen one, with everything measured."""

    def out(mean: float, nan: int = 0) -> dict[str, Any]:
        stats = Stats(mean, 0.25, -1.0, 1234.0, 0, nan, 0)
        return {"outputs": (replace(tensor(1, 16), stats=stats),), "duration_us": 100.0, "flops": 4_000}

    return trace(
        call(0, None, "", "Net", parameters=48, **{**out(1.0), "duration_us": 1000.0, "flops": 8_000}),
        call(1, 0, "up", "Linear", parameters=16, **out(0.5)),
        call(2, 0, "down", "Linear", parameters=16, **out(1.5e-5, nan=7)),
        call(3, 0, "frozen", "Linear", parameters=16, **out(0.0)),
        gradients=(
            Gradient("up.weight", (4, 4), True, 3.0),
            Gradient("up.bias", (4,), True, 4.0),
            Gradient("down.weight", (4, 4), True, None),
            Gradient("frozen.weight", (4, 4), False, None),
        ),
    )


def many(number: int) -> Trace:
    """Calls in blocks of ten, neighbours of which are not alike, so that nothing folds."""
    calls = [call(0, None, "", "Net")]
    for block in range(number // 10):
        first, width = len(calls), block % 50 + 1
        calls.append(call(first, 0, f"blocks.{block}", "Block", (1, width), (1, width)))
        for n in range(9):
            calls.append(call(len(calls), first, f"blocks.{block}.{n}", "Linear", (1, width), (1, n + 2), depth=2))
    return trace(*calls)
