"""The texts of `fwdtrace rule CODE`: what a finding means, a minimal model that has it, and the fix. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """The explanation of a finding; a run of `Net` in the file `example` with the `options` has the finding."""

    code: str
    name: str
    meaning: str
    example: str
    fix: str
    options: str = "--input 2x4"


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
        self.layer.register_forward_hook(look)

    def forward(self, x):
        return self.layer.forward(x)

def look(module, args, output):
    print("never")
""",
        "Write self.layer(x). `fwdtrace compare model.py:Net --direct-forward --at layer` says what it costs.",
    ),
    Rule(
        "FT002",
        "stale-or-skipped",
        "A mechanism that is built on hooks did not act, because the forward of its module ran directly, or its "
        "weights were read without calling it. The old weight_norm, spectral_norm and prune then compute with a weight "
        "from before the last update, or train nothing; observers observe nothing; FSDP gathers and replicate "
        "synchronises nothing; offloaded weights are not loaded, and what is computed with them is memory that was "
        "never filled.",
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
        "FT003",
        "never-called",
        "A module with parameters did not run. Either its weights were used all the same, read by the module around "
        "it, and then hooks on it never fire; or they were not used, and then they get no gradient and are dead "
        "weight in the checkpoint.",
        """\
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Linear(4, 4)
        self.forgotten = nn.Linear(4, 4)

    def forward(self, x):
        return self.used(x)
""",
        "Call the module, or remove it. Where the module around it reads its weights, hook that one.",
    ),
    Rule(
        "FT004",
        "shared-module",
        "One module object is called from several places, or registered under several names. Its weights are shared, "
        "its gradients add up, and its buffers, such as the statistics of a batch norm, mix the data of all places. "
        "That may be intended; it is a mistake where a list was multiplied or a default argument was reused.",
        """\
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4)] * 2)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x
""",
        "Make one module for each place, nn.ModuleList(nn.Linear(4, 4) for _ in range(2)), unless sharing is meant.",
    ),
    Rule(
        "FT005",
        "non-finite",
        "The first call or operation that made NaN or infinities out of finite numbers, in forward (with "
        "--check-finite) or in backward (with --backward), and why, as far as the numbers tell: a logarithm of 0, a "
        "divisor of 0, a deviation of a single value, a mask that hides every key, a number beyond the end of "
        "float16. All that comes after it only passes them on, so this is the line to look at, and not the loss. In "
        "backward the forward may be finite everywhere: the slope of a square root at 0 is infinite, and where "
        "torch.where has not taken an element, backward multiplies that slope by 0, which is NaN. A hook may spoil a "
        "gradient, too: one on a tensor, a parameter or a module that was given finite numbers and returned others is "
        "named with its line.",
        """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(torch.log(x))
""",
        "Keep the numbers in the domain of the operation before it runs, here torch.log(x.clamp(min=1e-6)), as "
        "torch.where around it comes too late for backward; add an epsilon to what is divided by; let a mask leave "
        "one key in each row; compute in float32 what overflows in float16.",
        "--input 2x4 --check-finite",
    ),
    Rule(
        "FT006",
        "forward-error",
        "A module raised, and nothing caught it. The finding is about the innermost one; all above it only pass the "
        "error on. It names each operand with what gave it, and both sizes that do not fit. Its advice was tried: a "
        "copy of the model was changed so and ran to its end, and each example kept its own row. Of what works, the "
        "two changes that are the smallest are told; where nothing works, none is.",
        """\
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x):
        return self.layer(x)
""",
        "Follow an advice that was tried, here in_features=4 or an input of 2×8; 'not tried' marks what only you can.",
        "--input 2x4",
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
        "FT008",
        "no-gradient",
        "Backward left a parameter without a gradient, with one that is all zero, or with NaN in it, so that no "
        "optimizer trains it. The finding names the line where the path from the parameter to the loss breaks, found "
        "by following the data: at a comparison, argmax or a cast to integers, which have no gradient; at detach(), "
        ".data, .item() or torch.tensor(), which copy numbers alone; under torch.no_grad(), or in a reentrant "
        "checkpoint none of whose inputs requires a gradient. Of a gradient that is all zero it names the step of "
        "backward that made it so: a ReLU that never fires, a derivative that is zero everywhere, a weight of zeros.",
        """\
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lost = nn.Linear(4, 4)
        self.trained = nn.Linear(4, 4)

    def forward(self, x):
        gate = (self.lost(x) > 0).float()
        return self.trained(x * gate)
""",
        "Let the path go through functions that have a gradient, here torch.sigmoid(self.lost(x)), and torch.stack in "
        "place of torch.tensor; take detach(), .data, .item() and torch.no_grad() out of it; give checkpoint "
        "use_reentrant=False; or freeze the parameter openly with requires_grad_(False).",
        "--input 2x4 --backward",
    ),
    Rule(
        "FT009",
        "hook-changed-value",
        "A hook replaced an input or the output of a module, so that what the code of the model says is not what was "
        "computed. Some libraries work in this way; a hook that was left over from an experiment does, too.",
        """\
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.layer.register_forward_hook(positive)

    def forward(self, x):
        return self.layer(x)

def positive(module, args, output):
    return output.clamp(min=0)
""",
        "Return nothing from a hook that should only look, and remove a hook that has served: handle.remove().",
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
    Rule(
        "FT011",
        "backward-error",
        "Backward raised. Either it needed a tensor as it was when forward used it, and an operation in place has "
        "written into that tensor since, or into a view of its memory: the finding names the line that wrote, and the "
        "operation whose backward needs the tensor. Or backward came a second time to a part of the graph that an "
        "earlier backward had freed: the finding names where, and the argument through which a later call of the model "
        "got what an earlier one had given with its graph, such as a hidden state. If backward ends a program under "
        "fwdtrace exec without --backward, what led to it is run once more: the statements of the function or loop "
        "around it that only compute, on copies, and if that does not raise the same error, a call with other "
        "arguments of the same shapes. It is shown only if the same error comes up.",
        """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        gate = torch.sigmoid(self.layer(x))
        gate += 0.1
        return x * gate
""",
        "Write gate = gate + 0.1, or give the module inplace=False, so that a new tensor is made. Of a state that is "
        "carried to the next step, carry state.detach(); of several losses, call backward once, on their sum.",
        "--input 2x4 --backward",
    ),
)
