"""Why no call of a program was kept, in a sentence for the person who asked for one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches

from fwdtrace.program.children import processes_started
from fwdtrace.program.wanted import Wanted
from fwdtrace.trace.called import Called
from fwdtrace.trace.text import how_often, listed, plural

_LIKENESS = 0.6
"""How like a name must be to one that was asked for, from 0 to 1, to be offered in its place."""


def why_nothing_was_kept(
    wanted: Wanted, called: Sequence[Called], names: Sequence[str], left: bool = False, script: bool = False
) -> str:
    """The reason, after these models were called, none as asked, and modules of these classes and paths.

    `left`: gradients were left that no optimizer used, before which they would have been looked at. `script`:
    the program made a module of TorchScript.
    """
    if called and wanted.alone:
        calls = listed([f"{name} was called {how_often(count)}" for name, count in _counts(called).items()])
        return (
            f"{calls}; the last backward left gradients that were not looked at, as no optimizer of theirs stepped"
            if left
            else calls
        )
    if called:
        return _not_as_asked(wanted, called)
    if wanted.model is not None and names:
        near = get_close_matches(wanted.model, names, 3, _LIKENESS)
        others = f"near it: {listed(near)}" if near else f"called were {listed(names)}"
        return f"no module that was called has the class or path {wanted.model}; {others}"
    if children := processes_started():
        return (
            f"the program itself called no model; it started {plural(children, 'process', 'processes')}, whose calls "
            f"are not traced; --children follows them"
        )
    if "torch" not in sys.modules:
        return "the program ended and had not imported torch"
    if names:
        return f"what was called has no parameters: {listed(names)}; --model CLASS keeps such calls"
    if script:
        return (
            "the program made a TorchScript module, which runs without Python: its calls are not seen; "
            "without torch.jit.script they are"
        )
    return "the program ended before it called a model"


def _not_as_asked(wanted: Wanted, called: Sequence[Called]) -> str:
    """Of the model that was called most: how often, and what was asked for."""
    counts = _counts(called)
    name, count = max(counts.items(), key=lambda item: item[1])
    if wanted.call is not None:
        return f"call {wanted.call:,} was asked for, and {name} was called {how_often(count)}"
    if wanted.train:
        return f"{name} was called {how_often(count)}, never in training with gradients"
    return f"{name} was called {how_often(count)}"


def _counts(called: Sequence[Called]) -> dict[str, int]:
    """How often each model was called, by its class and name."""
    return {
        f"{each.class_name.rpartition('.')[2]}{f' ({each.name})' if each.name else ''}": max(
            sum(modes.values()) for modes in each.ways.values()
        )
        for each in called
        if each.ways
    }
