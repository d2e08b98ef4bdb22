"""A small GPT, trained here as a script would train it, with what two runs may do otherwise; and its runs as saved."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fwdtrace.compare.programs.saved_numbers import save_values
from fwdtrace.program.kept import KeptCall
from fwdtrace.program.traces import ProgramTraces
from fwdtrace.program.wanted import Wanted
from fwdtrace.program.watch import Watch
from fwdtrace.recorder.recorded import Options
from fwdtrace.trace import Trace

WIDTH, WORDS, LENGTH = 32, 64, 16


@dataclass(frozen=True)
class Way:
    """How a run goes; `fault` names what is wrong with it."""

    attention: str = "eager"
    dtype: torch.dtype = torch.float32
    compile: bool = False
    fused: bool = False
    seed: int = 0
    dropout: float = 0.0
    dropout_seed: int = 0
    data_seed: int = 0
    accumulate: int = 1
    steps: int = 3
    smoothing: float = 0.0
    fault: str = ""


class Attention(nn.Module):
    def __init__(self, way: Way) -> None:
        super().__init__()
        self.way = way
        self.q_proj, self.k_proj, self.v_proj, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        q, k, v = (
            layer(x).view(rows, length, 4, width // 4).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.way.fault == "no gradient of values":
            v = v.detach() + 0 * v
        if self.way.attention == "sdpa":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = (q @ k.transpose(-2, -1)) * (width // 4) ** -0.5
            hidden = torch.ones(length, length, dtype=torch.bool).tril().logical_not()
            y = scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v
        output: Tensor = self.out(y.transpose(1, 2).reshape(rows, length, width))
        return output


class Block(nn.Module):
    def __init__(self, way: Way) -> None:
        super().__init__()
        self.fault = way.fault
        self.ln_1, self.attn, self.ln_2 = nn.LayerNorm(WIDTH), Attention(way), nn.LayerNorm(WIDTH)
        layers = nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH), nn.Dropout(way.dropout)
        self.mlp = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        attended = self.attn(self.ln_1(x))
        x = x + (attended * 1.01 if self.fault == "more attention" else attended)
        output: Tensor = x + self.mlp(self.ln_2(x))
        return output


class GPT(nn.Module):
    def __init__(self, way: Way) -> None:
        super().__init__()
        self.way = way
        self.wte, self.wpe = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.h = nn.ModuleList(Block(way) for _ in range(2))
        self.ln_f, self.lm_head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS, bias=False)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        h = self.wte(x) + self.wpe(torch.arange(x.shape[1]))
        for block in self.h:
            h = block(h)
        logits = self.lm_head(self.ln_f(h))
        return logits, F.cross_entropy(logits.flatten(0, 1), y.flatten(), label_smoothing=self.way.smoothing)


def train(way: Way) -> None:
    """Train as the way says."""
    torch.manual_seed(way.seed)
    model = GPT(way).to(torch.float64 if way.fault == "float64" else torch.float32)
    if way.fault == "one element":
        model.h[1].mlp[0].weight.data[5, 7] += 0.01
    decay = 0.0 if way.fault == "no decay" else 1e-2
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=decay, fused=way.fused)
    if way.fault == "evaluation":
        model.eval()
    if way.fault == "tied":
        model.lm_head.weight = model.wte.weight
    data = torch.randint(WORDS, (way.steps, 8, LENGTH + 1), generator=torch.Generator().manual_seed(way.data_seed))
    run: Any = torch.compile(model, backend="aot_eager") if way.compile else model
    precision = torch.autocast("cpu", way.dtype) if way.dtype != torch.float32 else contextlib.nullcontext()
    torch.manual_seed(way.dropout_seed)
    scale = 1024.0 if way.fault == "scaled back" else 1.0
    for step in range(way.steps):
        for part in data[step].chunk(way.accumulate):
            with precision:
                _, loss = run(part[:, :-1], part[:, 1:])
            loss = loss * 1.01 if way.fault == "more loss" else loss
            (loss * scale if way.fault == "loss not divided" else loss * scale / way.accumulate).backward()
        for parameter in model.parameters() if scale != 1 else ():
            if parameter.grad is not None:
                parameter.grad /= scale
        if way.fault == "clipped":
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        if way.fault != "not set to zero":
            optimizer.zero_grad()


def saved(folder: Path, name: str, way: Way, first: int = 3) -> str:
    """Train, and save the first calls with all their numbers; the file of the first one."""

    def save(trace: Trace, file: Path) -> bool:
        trace.save(file)
        return True

    program = uuid.uuid4().hex
    files = [folder / f"{name}.json"]
    traces = ProgramTraces(
        files, save, folder / f"{name}.safetensors", lambda values, file: save_values(values.sides, file, values)
    )

    def keep(kept: KeptCall) -> bool:
        traces.add(
            kept.root, kept.round, replace(kept.trace, run=replace(kept.trace.run, program=program)), kept.values
        )
        return False

    watch = Watch(Wanted(first=first), Options(ops=True, gradients=True), keep, max_bytes=2**30)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with several, sums are not added up in the same order each time
    watch.begin()
    try:
        train(way)
    finally:
        watch.end()
        torch.set_num_threads(threads)
    traces.end()
    return str(files[0])
