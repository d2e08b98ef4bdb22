"""What every form says of a trace as a whole: its title, the facts about the run, and its totals."""

from __future__ import annotations

from fwdtrace.render import words
from fwdtrace.render.shapes import short_dtype
from fwdtrace.render.sheet import Sheet
from fwdtrace.render.words import printable
from fwdtrace.trace import Trace
from fwdtrace.trace.text import plural


def title(trace: Trace, encoding: str = "utf-8") -> str:
    """The spec of the model, or its class."""
    return printable(trace.model.spec or trace.model.class_name, encoding)


def facts(trace: Trace, sheet: Sheet) -> list[str]:
    """With what, how and on what the model ran, and its size."""
    model, run = trace.model, trace.run
    device = printable(run.device)
    texts = [
        f"torch {printable(trace.versions.torch)}",
        f"{'train' if model.training else 'eval'}{'' if run.grad else ', no grad'}",
        device if sheet.dtype == "float32" else f"{device}, {short_dtype(sheet.dtype)}",
        f"{model.parameters:,} parameters",
    ]
    if run.rank is not None:
        texts.append(f"rank {run.rank}")
    return texts


def totals(trace: Trace) -> list[tuple[str, str]]:
    """How many calls there were, of them direct, how many raised, and how long it took; each with its style."""
    direct = sum(call.entry == "forward" for call in trace.calls)
    raised = sum(call.error is not None and not call.error.raised_below for call in trace.calls)
    texts = [(plural(len(trace.calls), "call"), "bold")]
    if trace.ops:
        texts.append((plural(len(trace.ops), "op"), ""))
    if direct:
        texts.append((f"{direct:,} direct", "bold red"))
    if raised:
        texts.append((f"{raised:,} raised", "red"))
    return [*texts, (words.duration(trace.run.duration_us), "")]
