"""What is wrong between the ranks of one program: other examples, weights, modes or results than each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fwdtrace.compare.around import OPTIMIZER
from fwdtrace.compare.comparison import Origin
from fwdtrace.compare.difference import Difference
from fwdtrace.compare.programs.saved_backward import SavedRun
from fwdtrace.compare.ranks.assembled import Assembly
from fwdtrace.compare.ranks.replicas import Apart
from fwdtrace.trace import Trace
from fwdtrace.trace.text import path_text

_OF_ITS_OWN = ("torch.initial_seed()", "torch.get_num_threads()", "torch.get_num_interop_threads()")
"""What each rank may have otherwise than the others."""

Wrong = tuple[Origin, str, list[Difference]]
"""Where something is wrong, in a sentence, and as differences."""


def wrong_before(reference: SavedRun, assembly: Assembly, before: Assembly | None) -> Wrong | None:
    """What ranks have otherwise than each other or than they should before the call; None if nothing.

    `before` is the call before, after which their optimizers may have done otherwise.
    """
    number = reference.trace.run.call or 1
    examples = assembly.examples
    if examples.rows is not None and examples.missing:
        who = f", while {ranks_text(examples.spare)} {have(examples.spare)} others or the same twice"
        text = (
            f"The ranks were given other examples at call {number}: {examples.missing} of {len(examples.rows)} are "
            f"missing{who if examples.spare else ''}."
        )
        return Origin("", 1, why=(text,)), text, [Difference("examples", "numbers", "", "", "", text.rstrip("."))]
    if assembly.state_apart:
        origin, verdict, differences = replicas(reference, assembly.state_apart, f"before call {number}", "")
        return origin, verdict[0].upper() + verdict[1:] + optimizers_apart(before), differences
    return None


def wrong_copies(reference: SavedRun, assembly: Assembly) -> Wrong | None:
    """The first call in which ranks compute something else than others of the same examples; None if there is none."""
    ended = sorted(assembly.copies_apart, key=lambda id: (reference.trace.end(reference.trace.call(id)), -id))
    if not ended:
        return None
    call, ranks = reference.trace.call(ended[0]), assembly.copies_apart[ended[0]]
    what = f"{path_text(call.path)} ({call.class_name})"
    text = f"{ranks_text(ranks)} {have(ranks, 'gets', 'get')} another result of {what} than the other ranks"
    difference = Difference("replica", "numbers", call.path or "", "", "", text, call.nth)
    verdict = f"{text[0].upper()}{text[1:]}, though they are given the same."
    return Origin(call.path, call.nth, call.class_name, why=(text,)), verdict, [difference]


def replicas(reference: SavedRun, apart: Mapping[str, Apart], when: str, what: str) -> Wrong:
    """That ranks hold otherwise what should be the same on all."""
    name, first = next(iter(apart.items()))
    differences = [
        Difference("replica", "numbers", each, "", "", _held_otherwise(who, f"{what}{each}"))
        for each, who in apart.items()
    ]
    path = owner_of(reference, name)
    others = len(apart) - 1
    more = f" ({others} more parameters or buffers likewise)" if others else ""
    verdict = f"{_held_otherwise(first, f'{what}{name}')} {when}{more}."
    class_name = next((call.class_name for call in reference.trace.at(path)), "")
    why = (differences[0].message,)
    return Origin(path, 1, class_name, why=why, which="backward" if what else "weights"), verdict, differences


def optimizers_apart(before: Assembly | None) -> str:
    """A sentence on what the optimizers of ranks were set to otherwise that stepped after a call, if they were."""
    apart = list(settings_apart([side.trace for side in before.sides], (OPTIMIZER,))) if before is not None else []
    return f" After the call before, {'; '.join(apart)}." if apart else ""


def settings_apart(traces: Sequence[Trace], beginnings: tuple[str, ...]) -> Iterator[str]:
    """What was set otherwise around some ranks than around most, or than around the first, by how the names begin."""
    around = [{value.name: value.value for value in trace.run.around} for trace in traces]
    for name in around[0]:
        values = {rank: each[name] for rank, each in enumerate(around) if name in each}
        known = list(values.values())
        if name.startswith(beginnings) and name not in _OF_ITS_OWN and len(set(known)) > 1:
            most = max(known, key=known.count)
            for value in dict.fromkeys(value for value in known if value != most):
                ranks = [rank for rank, each in values.items() if each == value]
                yield f"{name} is {value} on {ranks_text(ranks)}, {most} on the others"


def modes_apart(traces: Sequence[Trace], ranks: Sequence[int] = ()) -> Iterator[str]:
    """That the model is on some ranks in another mode than on most, or than on the first; `ranks` are there."""
    modes = [trace.model.training for trace in traces]
    most = max(modes, key=modes.count)
    others = [rank for rank, mode in enumerate(modes) if mode != most]
    if others:
        where = "there" if others == list(ranks) else f"on {ranks_text(others)}"
        yield f"the model is in {'evaluation' if most else 'training'} mode {where}"


def owner_of(reference: SavedRun, name: str) -> str:
    """The path of the innermost module that was called and holds a parameter."""
    path = name.rpartition(".")[0]
    while path and not reference.trace.at(path):
        path = path.rpartition(".")[0]
    return path


def ranks_text(ranks: Sequence[int]) -> str:
    """The ranks in words, the first eight if they are many."""
    more = f" and {len(ranks) - 8} more" if len(ranks) > 8 else ""
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks[:8]))}{more}"


def have(ranks: Sequence[int], one: str = "has", many: str = "have") -> str:
    """The verb after the ranks."""
    return one if len(ranks) == 1 else many


def _held_otherwise(apart: Apart, what: str) -> str:
    if apart.ranks == apart.of:
        which = "the ranks" if apart.of[-1] - apart.of[0] + 1 == len(apart.of) else ranks_text(apart.of)
        return f"{which} do not have the same {what}"
    who = ranks_text(apart.ranks)
    if apart.lacking:
        return f"{who} {have(apart.ranks)} no {what}, which the other ranks have"
    return f"{who} {have(apart.ranks)} another {what} than the other ranks"
