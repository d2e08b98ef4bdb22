"""The built-in models: a torch-free table of their names. `lenet` first; each of the others shows one phenomenon."""

from __future__ import annotations

from dataclasses import dataclass

IMAGE = ("1x3x32x32",)
ROW = ("1x16",)
ROWS = ("8x16",)


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A model that can be named without a file: where its class is, what it shows, and the `--input` it wants."""

    name: str
    target: str
    summary: str
    inputs: tuple[str, ...]


BUILT_INS = (
    BuiltIn("lenet", "fwdtrace.zoo.lenet:LeNet", "convolutions, pooling and linear layers, one after the other", IMAGE),
    BuiltIn(
        "lenet-direct", "fwdtrace.zoo.lenets:LeNetDirect", "f5 is run with .forward(x), so its hook never fires", IMAGE
    ),
    BuiltIn("lenet-functional", "fwdtrace.zoo.lenets:LeNetFunctional", "pooling and flattening are functions", IMAGE),
    BuiltIn("lenet-broken", "fwdtrace.zoo.lenets:LeNetBroken", "f5 wants 256 features and gets 400", IMAGE),
    BuiltIn("shared", "fwdtrace.zoo.calls:Shared", "one layer called three times, and under a second name", ROW),
    BuiltIn("unregistered", "fwdtrace.zoo.calls:Unregistered", "layers in a plain list, unknown to the model", ROW),
    BuiltIn("super-forward", "fwdtrace.zoo.calls:SuperForward", "super().forward(x), which is no direct call", ROW),
    BuiltIn(
        "call-override", "fwdtrace.zoo.calls:CallOverride", "a layer that overrides __call__, called both ways", ROW
    ),
    BuiltIn("caught", "fwdtrace.zoo.calls:Caught", "a layer that raises, and a model that catches it", ROW),
    BuiltIn("blocks", "fwdtrace.zoo.structure:Blocks", "twelve equal blocks, which the tree folds", ROW),
    BuiltIn(
        "nested",
        "fwdtrace.zoo.structure:Nested",
        "keyword inputs; a dict of tuples comes back",
        ("image=1x3x8x8", "mask=1x8x8:bool"),
    ),
    BuiltIn("hooks", "fwdtrace.zoo.hooks:Hooked", "hooks on a model and its layers; one changes an output", ROW),
    BuiltIn(
        "stale-weight", "fwdtrace.zoo.hooks:StaleWeight", "weight_norm run directly computes with an old weight", ROW
    ),
    BuiltIn("every-hook", "fwdtrace.zoo.mechanisms:EveryHook", "a hook of each kind on the model", ROWS),
    BuiltIn("gradient-hook", "fwdtrace.zoo.mechanisms:GradientHook", "a hook that scales a gradient", ROWS),
    BuiltIn("weight-norm", "fwdtrace.zoo.mechanisms:weight_norm", "the old weight_norm, which is a hook", ROWS),
    BuiltIn("spectral-norm", "fwdtrace.zoo.mechanisms:spectral_norm", "the old spectral_norm, which is a hook", ROWS),
    BuiltIn("pruned", "fwdtrace.zoo.mechanisms:pruned", "a pruned layer, whose mask is applied by a hook", ROWS),
    BuiltIn("lazy", "fwdtrace.zoo.mechanisms:lazy", "a lazy layer, which a hook initialises", ROWS),
    BuiltIn("checkpointed", "fwdtrace.zoo.mechanisms:checkpointed", "activation checkpointing by hooks", ROWS),
    BuiltIn("observed", "fwdtrace.zoo.mechanisms:observed", "layers with quantization observers, for --at first", ROWS),
    BuiltIn("fake-quantized", "fwdtrace.zoo.mechanisms:fake_quantized", "layers in QAT, for --at first", ROWS),
    BuiltIn("compiled", "fwdtrace.zoo.mechanisms:compiled", "compiled in place by module.compile()", ROWS),
    BuiltIn("half-precision", "fwdtrace.zoo.calls:HalfPrecision", "a __call__ of its own, which autocasts", ROWS),
    BuiltIn("parametrized", "fwdtrace.zoo.mechanisms:Parametrized", "the new norms, which need no __call__", ROWS),
)
