"""The built-in models in a table that needs no torch: `lenet` first, then a model for each thing worth showing."""

from __future__ import annotations

from dataclasses import dataclass

IMAGE = ("1x3x32x32",)
ROW = ("1x16",)
ROWS = ("8x16",)


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A model with a short name: its class in this folder, what it shows, and the `--input` texts that suit it."""

    name: str
    target: str
    summary: str
    inputs: tuple[str, ...]


BUILT_INS = (
    BuiltIn("lenet", "lenet:LeNet", "convolutions, pooling and linear layers, one after the other", IMAGE),
    BuiltIn("lenet-direct", "lenets:LeNetDirect", "f5 is run with .forward(x), so its hook never fires", IMAGE),
    BuiltIn("lenet-functional", "lenets:LeNetFunctional", "pooling and flattening are functions", IMAGE),
    BuiltIn("lenet-broken", "lenets:LeNetBroken", "f5 wants 256 features and gets 400", IMAGE),
    BuiltIn("shared", "calls:Shared", "one layer called three times, and under a second name", ROW),
    BuiltIn("unregistered", "calls:Unregistered", "layers in a plain list, unknown to the model", ROW),
    BuiltIn("super-forward", "calls:SuperForward", "super().forward(x), which is no direct call", ROW),
    BuiltIn("call-override", "calls:CallOverride", "a layer that overrides __call__, called both ways", ROW),
    BuiltIn("caught", "calls:Caught", "a layer that raises, and a model that catches it", ROW),
    BuiltIn("blocks", "structure:Blocks", "twelve equal blocks, which the tree folds", ROW),
    BuiltIn(
        "nested",
        "structure:Nested",
        "keyword inputs; a dict of tuples comes back",
        ("image=1x3x8x8", "mask=1x8x8:bool"),
    ),
    BuiltIn("hooks", "hooks:Hooked", "hooks on a model and its layers; one changes an output", ROW),
    BuiltIn("stale-weight", "hooks:StaleWeight", "weight_norm run directly computes with an old weight", ROW),
    BuiltIn("every-hook", "mechanisms:EveryHook", "a hook of each kind on the model", ROWS),
    BuiltIn("gradient-hook", "mechanisms:GradientHook", "a hook that scales a gradient", ROWS),
    BuiltIn("weight-norm", "mechanisms:weight_norm", "the old weight_norm, which is a hook", ROWS),
    BuiltIn("spectral-norm", "mechanisms:spectral_norm", "the old spectral_norm, which is a hook", ROWS),
    BuiltIn("pruned", "mechanisms:pruned", "a pruned layer, whose mask is applied by a hook", ROWS),
    BuiltIn("lazy", "mechanisms:lazy", "a lazy layer, which a hook initialises", ROWS),
    BuiltIn("checkpointed", "mechanisms:checkpointed", "activation checkpointing by hooks", ROWS),
    BuiltIn("observed", "mechanisms:observed", "layers with quantization observers, for --at first", ROWS),
    BuiltIn("fake-quantized", "mechanisms:fake_quantized", "layers in QAT, for --at first", ROWS),
    BuiltIn("compiled", "mechanisms:compiled", "compiled in place by module.compile()", ROWS),
    BuiltIn("half-precision", "calls:HalfPrecision", "a __call__ of its own, which autocasts", ROWS),
    BuiltIn("parametrized", "mechanisms:Parametrized", "the new norms, which need no __call__", ROWS),
)
