"""What every form says of a trace as a whole: its title, the facts about the run, and its totals."""

from __future__ import annotations

from fwdtrace.render import words
from fwdtrace.render.shapes import short_dtype
from fwdtrace.render.sheet import Sheet
from fwdtrace.render.words import printable
from fwdtrace.trace import Trace
from fwdtrace.trace.text import plural


def title(trace: Trace, encoding: str = "utf-8") -> str:
    """The spec of the model, or its class, with the variable that held it in a program or its path there."""
    model = trace.model
    name = model.path or model.name
    text = f"{model.class_name} ({name})" if name else model.class_name
    return printable(model.spec or text, encoding)


def facts(trace: Trace, sheet: Sheet) -> list[str]:
    """With what, how and on what the model ran, and its size."""
    model, run = trace.model, trace.run
    device = printable(run.device)
    texts = [
        *([f"call {run.call:,}"] if run.call is not None and (run.call > 1 or model.name or model.path) else []),
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
    host = words.duration(trace.run.duration_us)
    if trace.run.repeat:
        warm = sum(call.duration_us or 0.0 for call in trace.calls if call.parent is None)
        runs = "1 warm run" if trace.run.repeat == 1 else f"median of {trace.run.repeat:,} warm runs"
        cold = sum(call.cold_us or 0.0 for call in trace.calls if call.parent is None)
        texts += [(f"{words.duration(warm)}, {runs}", ""), (f"{words.duration(cold)} the first, cold one", "")]
        return [*texts, (device_time, "")] if (device_time := clock(trace)) else texts
    if by := clock(trace):
        return [*texts, (f"{words.duration(_device_time(trace))} {by}", ""), (f"{host} host time", "")]
    return [*texts, (host, "")]


def clock(trace: Trace) -> str:
    """By which clock the times of the calls are, if a device's was read; nothing if all are the host's."""
    timed = [call for call in trace.calls if call.duration_us is not None]
    by_host = sum(call.host_us is None for call in timed)
    if by_host == len(timed):
        return ""
    return f"device time, {plural(by_host, 'call')} by the host's clock" if by_host else "device time"


def _device_time(trace: Trace) -> float:
    """The microseconds of the outermost calls whose time is a device's."""
    within: set[int | None] = set()
    total = 0.0
    for call in trace.calls:
        if call.parent not in within and call.host_us is not None:
            total += call.duration_us or 0.0
        if call.parent in within or call.host_us is not None:
            within.add(call.id)
    return total
