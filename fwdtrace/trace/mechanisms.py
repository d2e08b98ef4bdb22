"""The well-known mechanisms that act through hooks: which hook is whose, and what happens if it does not run."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fwdtrace.trace.values import Hook


@dataclass(frozen=True, slots=True)
class Mechanism:
    """Something that acts through a hook: its name, what happens when the hook does not run, and what to do instead.

    `makes_weights`: the module has its weights from it. `loads_weights`: they have no values until it acts.
    """

    name: str
    when_skipped: str
    remedy: str
    makes_weights: bool = False
    loads_weights: bool = False


_BY_HOOK_NAME = (
    (
        r"torch\.nn\.utils\.weight_norm\.",
        Mechanism(
            "weight_norm",
            "weight was not recomputed from weight_g and weight_v, so it may be stale and a second backward may fail",
            "torch.nn.utils.parametrizations.weight_norm does not depend on __call__",
            makes_weights=True,
        ),
    ),
    (
        r"torch\.nn\.utils\.spectral_norm\.",
        Mechanism(
            "spectral_norm",
            "weight was not recomputed, so weight_orig may get no gradient and the power iteration stands still",
            "torch.nn.utils.parametrizations.spectral_norm does not depend on __call__",
            makes_weights=True,
        ),
    ),
    (
        r"torch\.nn\.utils\.prune\.",
        Mechanism(
            "prune",
            "the mask was not applied again, so the weight may be stale and a second backward may fail",
            "torch.nn.utils.prune.remove makes the pruning permanent",
            makes_weights=True,
        ),
    ),
    (
        r"^accelerate\.hooks\.",
        Mechanism(
            "accelerate's hook",
            "it loads the weights when the module is called, so this was computed from memory that was never filled",
            "call the module itself",
            loads_weights=True,
        ),
    ),
    (
        r"LazyModuleMixin\._infer_parameters",
        Mechanism(
            "lazy initialisation", "the parameters were not initialised", "run model(x) once before anything else"
        ),
    ),
    (
        r"torch\.ao\.quantization\.|torch\.quantization\.",
        Mechanism(
            "quantization observer",
            "no range was observed, so the quantization parameters are wrong",
            "calibrate with calls",
        ),
    ),
    (
        r"FSDPState\.|fully_shard|\.fsdp\.",
        Mechanism(
            "FSDP",
            "the parameters were not gathered before forward, or their gradients not reduced",
            "torch.distributed.fsdp.register_fsdp_forward_method adds other entry points",
        ),
    ),
    (
        r"_ReplicateState\.|\.replicate\b",
        Mechanism("replicate (DDP)", "the gradients are not synchronised between ranks", "call the module itself"),
    ),
    (
        r"DistributedDataParallel$",
        Mechanism(
            "DistributedDataParallel",
            "the gradients are not synchronised between ranks",
            "let other methods go through the wrapper too, by an argument of its forward",
        ),
    ),
    (
        r"DataParallel$",
        Mechanism(
            "the wrapper", "the parameters were neither gathered nor spread", "let all methods go through the wrapper"
        ),
    ),
    (
        r"distribute_module|torch\.distributed\.tensor\.",
        Mechanism("tensor parallel", "inputs and outputs were not redistributed", "call the module itself"),
    ),
    (
        r"checkpoint_activation\.|_composable.*checkpoint",
        Mechanism(
            "activation checkpointing",
            "all activations were kept in memory",
            "checkpoint_wrapper acts in forward and does not depend on __call__",
        ),
    ),
    (
        r"^opacus\.",
        Mechanism("opacus", "no per-sample gradients were captured", "call the module itself"),
    ),
    (
        r"output_captur",
        Mechanism(
            "transformers' output capture",
            "its hidden states or attentions are missing from the outputs",
            "call the module itself",
        ),
    ),
    (
        r"make_inputs_require_grads?",
        Mechanism("enable_input_require_grads", "the output does not require a gradient", "call the module itself"),
    ),
    (
        r"neftune",
        Mechanism("NEFTune", "no noise was added to the embeddings", "call the module itself"),
    ),
    (
        r"ActivationSparsifier|torch\.ao\.pruning\.",
        Mechanism("activation sparsifier", "the activations were neither seen nor masked", "call the module itself"),
    ),
    (
        r"module_tracker|flop_counter|_debug_mode|mem_tracker|comm_mode",
        Mechanism("a module tracker", "its operations were counted for the module around it", "call the module itself"),
    ),
    (
        r"^(torchinfo|thop|torchsummary|fvcore|captum|transformer_lens)\.",
        Mechanism("a library that watches through hooks", "it did not see this module", "call the module itself"),
    ),
    (
        r"^peft\.",
        Mechanism("PEFT", "the rows of a mixed batch took the active adapter", "call the module itself"),
    ),
    (
        r"ScriptModule",
        Mechanism("a scripted hook", "what it changes was not changed", "call the module itself"),
    ),
    (
        r"_dynamo\.eval_frame\.OptimizedModule\.__call__",
        Mechanism(
            "torch.compile", "only hooks on the wrapper; its forward is the compiled one", "call the wrapper itself"
        ),
    ),
    (
        r"GraphModule.*\.(__call__|call_wrapped)",
        Mechanism("fx.GraphModule", "its report on errors in generated code is missing", "call the module itself"),
    ),
)
_COMPILED = Mechanism(
    "module.compile()",
    "forward ran eagerly instead of compiled",
    "torch.compile(module), or module.forward = torch.compile(module.forward), also holds for forward",
)


def mechanism_of(hook: Hook) -> Mechanism | None:
    """The well-known mechanism behind a hook; None for a hook of the user's own."""
    if hook.kind == "compiled":
        return _COMPILED
    return next((mechanism for pattern, mechanism in _BY_HOOK_NAME if re.search(pattern, hook.name)), None)


def mechanism_name(kind: str, name: str) -> str | None:
    """The name of the well-known mechanism behind a hook of this kind and name; None for a hook of the user's own."""
    mechanism = mechanism_of(Hook(kind, name, fired=False))
    return mechanism.name if mechanism else None


def short_name(name: str) -> str:
    """The last part of a qualified name, `keep` of `a.b.keep`; the last two if the last is `__call__`."""
    parts = name.replace(".<locals>", "").split(".")
    return ".".join(parts[-2:]) if parts[-1] == "__call__" else parts[-1]


def kind_in_words(kind: str) -> str:
    """The kind of a hook as people say it: `full_backward_pre` is a full backward pre-hook."""
    if kind in _WORDS:
        return _WORDS[kind]
    words = kind.replace("_", " ")
    return f"{words}-hook" if kind.endswith("_pre") else f"{words} hook"


_WORDS = {
    "call_override": "__call__ of its own",
    "compiled": "compiled call",
    "wrapper": "wrapper around it",
    "parametrization": "parametrization",
    "instance_forward": "forward of its own",
    "forward_always_call": "always-called forward hook",
    "global_forward_always_call": "always-called global forward hook",
}
