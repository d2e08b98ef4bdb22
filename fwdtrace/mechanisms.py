"""The well-known mechanisms that live in hooks, told by the name of the hook, and what skipping one does."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fwdtrace.trace import Hook


@dataclass(frozen=True, slots=True)
class Mechanism:
    """Something that acts through a hook: its name, what happens when the hook does not run, and a way out."""

    name: str
    when_skipped: str
    remedy: str


_BY_HOOK_NAME = (
    (
        r"torch\.nn\.utils\.weight_norm\.",
        Mechanism(
            "weight_norm",
            "weight was not recomputed from weight_g and weight_v, so it may be stale and a second backward may fail",
            "torch.nn.utils.parametrizations.weight_norm does not depend on __call__",
        ),
    ),
    (
        r"torch\.nn\.utils\.spectral_norm\.",
        Mechanism(
            "spectral_norm",
            "weight was not recomputed, so weight_orig may get no gradient and the power iteration stands still",
            "torch.nn.utils.parametrizations.spectral_norm does not depend on __call__",
        ),
    ),
    (
        r"torch\.nn\.utils\.prune\.",
        Mechanism(
            "prune",
            "the mask was not applied again, so the weight may be stale and a second backward may fail",
            "torch.nn.utils.prune.remove makes the pruning permanent",
        ),
    ),
    (
        r"LazyModuleMixin\._infer_parameters",
        Mechanism(
            "lazy parameters", "the parameters were not initialised", "run the model once through __call__ first"
        ),
    ),
    (
        r"torch\.ao\.quantization\.|torch\.quantization\.",
        Mechanism(
            "quantization observer",
            "no range was observed, so the quantization parameters are wrong",
            "calibrate through __call__",
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
