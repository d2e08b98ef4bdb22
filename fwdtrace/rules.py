"""What each finding means, a minimal model that has it, and the fix: the text behind `fwdtrace rule CODE`. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A finding explained: `example` is a file that defines `Net`, which has the finding when it is given `input`."""

    code: str
    name: str
    meaning: str
    example: str
    fix: str
    input: str = "2x4"


RULES = (
    Rule(
        "FT001",
        "direct-forward",
        "A submodule's forward ran without its __call__. The numbers are usually right, but what __call__ runs around "
        "forward did not run for that module: its hooks, a compiled call, a __call__ of its own class. Profilers, "
        "summaries and anything else that watches through hooks do not see it. Autograd and train or eval mode do not "
        "depend on __call__ and are as usual.",
        """\
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.layer.register_forward_hook(lambda module, args, out: print("never"))

    def forward(self, x):
        return self.layer.forward(x)
""",
        "Write self.layer(x). `fwdtrace compare model.py:Net --direct-forward --at layer` says what it costs.",
    ),
    Rule(
        "FT002",
        "stale-or-skipped",
        "A mechanism that is built on hooks did not act, because the forward of its module ran directly. The old "
        "weight_norm, spectral_norm and prune then compute with a weight from before the last update, or train "
        "nothing; observers observe nothing; FSDP gathers and replicate synchronises nothing.",
        """\
from torch import nn
from torch.nn.utils import spectral_norm

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = spectral_norm(nn.Linear(4, 4))

    def forward(self, x):
        return self.layer.forward(x)
""",
        "Write self.layer(x), or use what acts in forward: torch.nn.utils.parametrizations in place of the old norms, "
        "checkpoint_wrapper in place of checkpoint, torch.compile(module) in place of module.compile().",
    ),
    Rule(
        "FT006",
        "forward-error",
        "A module raised, and nothing caught it. The finding is about the innermost one, whose inputs and parameters "
        "do not go together; all above it only pass the error on.",
        """\
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x):
        return self.layer(x)
""",
        "Give the layer the size that comes in, here nn.Linear(4, 4), or the model another input.",
    ),
    Rule(
        "FT007",
        "not-observed",
        "Something ran that does not run in Python: a compiled region, or TorchScript. It is one row, and the calls "
        "inside it are not shown, which does not mean that there were none.",
        """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.jit.trace(nn.Linear(4, 4), torch.zeros(1, 4))

    def forward(self, x):
        return self.layer(x)
""",
        "Trace the model before it is scripted; set TORCHDYNAMO_DISABLE=1 to run a compiled one eagerly.",
    ),
    Rule(
        "FT010",
        "unregistered-module",
        "A module with parameters ran that is not in the model's tree: it is held by a plain list or dict, or made "
        "anew in forward. parameters(), state_dict() and .to() do not see it, so no optimizer trains it, no checkpoint "
        "saves it, and it stays on its device.",
        """\
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(4, 4)]

    def forward(self, x):
        return self.layers[0](x)
""",
        "Hold it in an attribute of its own, an nn.ModuleList or an nn.ModuleDict.",
    ),
)
