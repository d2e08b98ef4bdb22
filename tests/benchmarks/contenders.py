"""Ways of watching a forward call, one function each: bare, two hooks that do nothing, fwdtrace, and its peers.

A contender runs the model once and says how long each phase took. Missing here are peers that leave torch's functions
wrapped, as torchlens does: whoever comes after them in the same process would be measured through their wrappers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import fwdtrace


@dataclass(frozen=True)
class Pass:
    """One observed forward call, in seconds: getting ready, the call itself, and all until the result can be read."""

    prepare: float
    forward: float
    finish: float = 0.0


_clock: Callable[[], float] = perf_counter


def count_time_of_cpu() -> None:
    """From now on, count the time that the CPU worked for us: the clock's says little while others use the machine."""
    global _clock
    _clock = thread_time


def now() -> float:
    """The time in seconds, once a GPU has done all that it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return _clock()


Contender = Callable[[nn.Module, Tensor], Pass]


def bare(model: nn.Module, x: Tensor) -> Pass:
    """Nobody watches."""
    start = now()
    model(x)
    return Pass(0.0, now() - start)


def two_empty_hooks(model: nn.Module, x: Tensor) -> Pass:
    """A pre-hook and a forward hook that do nothing, on every module."""
    start = now()
    handles: list[Any] = []
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(lambda module, args: None))
        handles.append(module.register_forward_hook(lambda module, args, result: None))
    called = now()
    model(x)
    returned = now()
    for handle in handles:
        handle.remove()
    return Pass(called - start, returned - called, now() - returned)


class _Nothing(TorchFunctionMode):
    """A mode that runs each function as it is."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args) if kwargs is None else function(*args, **kwargs)


def empty_function_mode(model: nn.Module, x: Tensor) -> Pass:
    """A torch function mode that does nothing: no record of ops in Python can cost less."""
    start = now()
    with _Nothing():
        model(x)
    return Pass(0.0, now() - start)


def fwdtrace_calls(model: nn.Module, x: Tensor) -> Pass:
    """fwdtrace, every call of every module."""
    return _recorded(model, x)


def fwdtrace_calls_and_ops(model: nn.Module, x: Tensor) -> Pass:
    """fwdtrace, every call of every module and the functional ops between them, as the commands record by default."""
    return _recorded(model, x, ops=True)


def fwdtrace_everything(model: nn.Module, x: Tensor) -> Pass:
    """fwdtrace with all that it can record of a forward call, statistics and operation counts too."""
    return _recorded(model, x, ops=True, check_finite=True, stats=True, costs=True)


def _recorded(model: nn.Module, x: Tensor, **options: bool) -> Pass:
    start = now()
    with fwdtrace.record(model, **options) as recording:
        called = now()
        model(x)
        returned = now()
    calls = recording.trace.calls
    finished = now()
    assert calls, "nothing was recorded"
    return Pass(called - start, returned - called, finished - returned)


def torchinfo_summary(model: nn.Module, x: Tensor) -> Pass:
    """torchinfo's table, not printed."""
    from torchinfo import summary

    start = now()
    summary(model, input_data=x, verbose=0)
    return Pass(0.0, now() - start)


def torchview_graph(model: nn.Module, x: Tensor) -> Pass:
    """torchview's graph, not drawn."""
    from torchview import draw_graph

    start = now()
    draw_graph(model, input_data=x)
    return Pass(0.0, now() - start)


def debug_mode(model: nn.Module, x: Tensor) -> Pass:
    """torch's own DebugMode, modules only as far as it can, and its text."""
    from torch.utils._debug_mode import DebugMode

    start = now()
    mode = DebugMode(record_nn_module=True)
    with mode:
        called = now()
        model(x)
        returned = now()
    mode.debug_string()
    return Pass(called - start, returned - called, now() - returned)


ESSENTIAL: tuple[Contender, ...] = (bare, two_empty_hooks, fwdtrace_calls)
MORE: tuple[Contender, ...] = (empty_function_mode, fwdtrace_calls_and_ops, fwdtrace_everything)
PEERS: tuple[Contender, ...] = (torchinfo_summary, torchview_graph, debug_mode)


def identities(count: int) -> tuple[nn.Module, Tensor]:
    """Modules that do nothing, one after the other."""
    return nn.Sequential(*(nn.Identity() for _ in range(count))).eval(), torch.ones(1, 16)


def linears(count: int) -> tuple[nn.Module, Tensor]:
    """Linear layers of 16 to 16, one after the other."""
    return nn.Sequential(*(nn.Linear(16, 16) for _ in range(count))).eval(), torch.ones(1, 16)


class Repeated(nn.Module):
    """Calls a module that does nothing again and again."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.inner = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.number):
            x = self.inner(x)
        return x


class Around(nn.Module):
    """A module that does nothing but call the one in it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)  # type: ignore[no-any-return]


def nested(depth: int) -> tuple[nn.Module, Tensor]:
    """A linear layer in so many modules, each inside the next."""
    model: nn.Module = nn.Linear(16, 16)
    for _ in range(depth):
        model = Around(model)
    return model.eval(), torch.ones(1, 16)


def resnet50() -> tuple[nn.Module, Tensor]:
    """torchvision's ResNet-50 and one image."""
    from torchvision.models import resnet50

    return resnet50().eval(), torch.rand(1, 3, 224, 224)


def vit_b_16() -> tuple[nn.Module, Tensor]:
    """torchvision's ViT-B/16 and one image."""
    from torchvision.models import vit_b_16

    return vit_b_16().eval(), torch.rand(1, 3, 224, 224)


def small_llama() -> tuple[nn.Module, Tensor]:
    """A Llama of 8 layers and 512 channels, and 128 tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=1000, hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8
    )
    return LlamaForCausalLM(config).eval(), torch.randint(0, 1000, (1, 128))


class Stepped(nn.Module):
    """An LSTM cell that is called for each of many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.cell = nn.LSTMCell(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        for _ in range(self.steps):
            state = self.cell(x, state)
        return state[0]  # type: ignore[no-any-return]


def lstm_of_10_000_steps() -> tuple[nn.Module, Tensor]:
    """An LSTM cell called 10,000 times."""
    return Stepped(10_000).eval(), torch.rand(1, 32)


class Generates(nn.Module):
    """A language model whose call generates tokens one after the other."""

    def __init__(self, model: nn.Module, tokens: int) -> None:
        super().__init__()
        self.model, self.tokens = model, tokens

    def forward(self, x: Tensor) -> Tensor:
        return self.model.generate(x, max_new_tokens=self.tokens, do_sample=False, pad_token_id=0)  # type: ignore[no-any-return, operator]


def llama_generating_32_tokens() -> tuple[nn.Module, Tensor]:
    """The small Llama, 16 tokens, and 32 generated after them."""
    model, tokens = small_llama()
    return Generates(model, 32).eval(), tokens[:, :16]


def llama_405b_on_meta() -> tuple[nn.Module, Tensor]:
    """Llama-3.1-405B from its configuration, without weights, and 16 tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **{"vocab_size": 128256, "hidden_size": 16384, "intermediate_size": 53248, "num_hidden_layers": 126},
        **{"num_attention_heads": 128, "num_key_value_heads": 8},
    )
    with torch.device("meta"):
        return LlamaForCausalLM(config).eval(), torch.zeros(1, 16, dtype=torch.int64)
