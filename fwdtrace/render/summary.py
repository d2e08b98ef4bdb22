"""What every form of a trace says in the same words: its title, the facts about it, its totals, the names of rows."""

from __future__ import annotations

from fwdtrace.render import shapes, words
from fwdtrace.render.fold import Amount, Node, Repeat
from fwdtrace.render.shapes import Usual
from fwdtrace.render.words import plural, printable
from fwdtrace.trace import Call, Trace


def in_order(trace: Trace) -> list[Node]:
    """Calls and ops together, in order of beginning."""
    nodes: list[Node] = [*trace.calls, *(trace.ops or ())]
    return sorted(nodes, key=lambda node: node.id)


def title(trace: Trace, encoding: str = "utf-8") -> str:
    """The spec of the model, or its class."""
    return printable(trace.model.spec or trace.model.class_name, encoding)


def facts(trace: Trace, known: Usual) -> list[str]:
    """With what, how and on what the model ran, and its size."""
    model, run = trace.model, trace.run
    device = printable(run.device)
    found = [
        f"torch {printable(trace.versions.torch)}",
        f"{'train' if model.training else 'eval'}{'' if run.grad else ', no grad'}",
        device if known.dtype == "float32" else f"{device}, {shapes.short_dtype(known.dtype)}",
        f"{model.parameters:,} parameters",
    ]
    if run.rank is not None:
        found.append(f"rank {run.rank}")
    return found


def totals(trace: Trace) -> list[tuple[str, str]]:
    """How many calls there were, of them direct, how many raised, and how long it took; each with its style."""
    direct = sum(call.entry == "forward" for call in trace.calls)
    raised = sum(call.error is not None and not call.error.raised_below for call in trace.calls)
    found = [(plural(len(trace.calls), "call"), "bold")]
    if trace.ops:
        found.append((plural(len(trace.ops), "op"), ""))
    if direct:
        found.append((f"{direct:,} direct", "bold red"))
    if raised:
        found.append((f"{raised:,} raised", "red"))
    return [*found, (words.duration(trace.run.duration_us), "")]


def label(node: Node, parent: Call | None, encoding: str = "utf-8") -> str:
    """The name of a row, and which call of its module it is if not the first: `sig #2`."""
    nth = f" #{node.nth}" if isinstance(node, Call) and node.nth > 1 else ""
    return words.name(node, parent, encoding) + nth


def repeat_label(repeat: Repeat, parent: Call | None, encoding: str = "utf-8") -> str:
    """The first and the last of a row of equal blocks: `layers.0 … layers.11`."""
    first, last = ([words.name(node, parent, encoding) for node in nodes] for nodes in (repeat.first, repeat.last))
    if first[0] == last[0]:  # one module called again and again
        first, last = (
            [f"{name} #{node.nth}" if isinstance(node, Call) else name for name, node in zip(names, nodes, strict=True)]
            for names, nodes in ((first, repeat.first), (last, repeat.last))
        )
    return ", ".join(first) if first == last else f"{', '.join(first)} … {', '.join(last)}"


def repeat_count(repeat: Repeat, encoding: str = "utf-8") -> str:
    """How often they come, and what differs: `×12, same shapes`."""
    but = f" but in {printable(', '.join(repeat.but), encoding)}" if repeat.but else ""
    return f"×{repeat.times:,}, same shapes{but}"


def amount_text(amount: Amount) -> str:
    """`12 calls`, `12 calls and 1 op`."""
    return " and ".join(plural(number, noun) for number, noun in zip(amount, ("call", "op"), strict=True) if number)
