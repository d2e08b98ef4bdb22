"""Advice put to the test: it is followed on the real model, which has to run and to keep its examples apart."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from fwdtrace.findings.forward_error.changes import Given, Proposal
from fwdtrace.findings.forward_error.rule import failed_call, proposals_for
from fwdtrace.models.inputs import build_inputs
from fwdtrace.models.randomness import random_state
from fwdtrace.models.spec import Inputs
from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.trace import Finding, Trace, tensors_in
from fwdtrace.trials import search
from fwdtrace.trials.apply import after_steps, applied, dtype_named
from fwdtrace.trials.same_crash import Failing, failing_copy
from fwdtrace.trials.search import Working, with_tried_fixes, working_proposals
from fwdtrace.trials.time_left import TimeLeft


@dataclass(frozen=True)
class Broken:
    """A model, the arguments with which it raised, and the trace of that."""

    model: nn.Module
    inputs: Inputs
    trace: Trace

    @property
    def advised(self) -> Trace:
        """The trace with the fixes that were tried."""
        return with_tried_fixes(self.trace, self.model, self.inputs)

    @property
    def finding(self) -> Finding:
        """The crash, with the fixes that were tried."""
        (finding,) = (finding for finding in self.advised.findings if finding.code == "FT006")
        return finding

    @property
    def working(self) -> tuple[Working, ...]:
        """The proposals that are printed."""
        found = proposals_for(self.trace)
        return () if found is None else working(self, found[1])


def working(case: Broken, proposals: Sequence[Proposal]) -> tuple[Working, ...]:
    """Those of the proposals that work."""
    failing = failing_copy(case.trace, case.model, case.inputs, has_no_values=False)
    return () if failing is None else working_proposals(failing, proposals, TimeLeft(search.SECONDS))


def broken(model: nn.Module, *texts: str, train: bool = False, grad: bool = False) -> Broken:
    """What happens when a model is given these inputs, in the words of `--input`."""
    model.train(train)
    inputs = build_inputs(texts, model, 0)
    recording = Recording(model, Options(ops=True))
    try:
        with torch.set_grad_enabled(grad), recording:
            model(*copy.deepcopy(inputs.args), **copy.deepcopy(inputs.kwargs))
    except Exception:
        return Broken(model, inputs, recording.trace)
    raise AssertionError("the model runs")


def follow(case: Broken, working: Working, batch: int = 0) -> None:
    """Follow one piece of advice on the real model, with its weights: it runs, and each example has its own row.

    `batch` is the dimension of the examples.
    """
    model = copy.deepcopy(case.model)
    args, kwargs = _arguments(case, working)
    with torch.no_grad(), applied(model, working.proposal.changes) as changed:
        first = tensors_of(changed(*copy.deepcopy(args), **copy.deepcopy(kwargs)))
        assert tuple(tuple(tensor.shape) for tensor in first) == working.outputs
        examples = next(each.shape[batch] for each in (*args, *kwargs.values()) if isinstance(each, Tensor))
        place = next(at for at, tensor in enumerate(first) if tensor.shape[batch : batch + 1] == (examples,))
        if changed.training:  # a norm mixes the examples then, as it is meant to
            return
        turned = tree_map_only(Tensor, lambda each: each.flip(batch), (args, kwargs))
        second = tensors_of(changed(*turned[0], **turned[1]))
        torch.testing.assert_close(second[place].flip(batch), first[place], rtol=1e-2, atol=1e-3)


def must_work(trace: Trace, model: nn.Module, inputs: Inputs, working: Working) -> None:
    """Follow one piece of advice on the real model, with its weights: it runs, and the number of examples is kept."""
    call = failed_call(trace)
    assert call is not None
    copied, (args, kwargs) = copy.deepcopy(model), _arguments(Broken(model, inputs, trace), working)
    before = random_state()
    with _silence(), torch.set_grad_enabled(trace.run.grad), applied(copied, working.proposal.changes) as changed:
        given = copy.deepcopy((args, kwargs))
        outputs = tensors_of(changed.get_submodule(call.path or "")(*given[0], **given[1]))
    before.restore()
    assert tuple(tuple(tensor.shape) for tensor in outputs) == working.outputs
    examples = next(leaf.shape[0] for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dim())
    assert any(examples in tensor.shape for tensor in outputs) or all(not tensor.shape for tensor in outputs)


def follow_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every fix that is about to be printed followed on the real model first, unless that has no values."""
    crashes: list[tuple[Trace, nn.Module, Inputs, bool]] = []

    def remember(trace: Trace, model: nn.Module, inputs: Inputs, *, has_no_values: bool) -> Failing | None:
        crashes.append((trace, model, inputs, has_no_values))
        return failing_copy(trace, model, inputs, has_no_values=has_no_values)

    def find_and_follow(failing: Failing, proposals: Sequence[Proposal], time: TimeLeft) -> tuple[Working, ...]:
        found = working_proposals(failing, proposals, time)
        trace, model, inputs, has_no_values = crashes[-1]
        has_values = not has_no_values and not any(each.is_meta for each in model.parameters())
        for working in found if has_values else ():
            must_work(trace, model, inputs, working)
        return found

    monkeypatch.setattr(search, "failing_copy", remember)
    monkeypatch.setattr(search, "working_proposals", find_and_follow)


@contextmanager
def _silence() -> Iterator[None]:
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _arguments(case: Broken, working: Working) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the call, those of the advice in their place."""
    call = failed_call(case.trace)
    assert call is not None
    leaves, form = tree_flatten((case.inputs.args, case.inputs.kwargs))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    place_of = {leaf.name: place for leaf, place in zip(tensors_in(call.inputs), places, strict=True)}
    for change in working.proposal.changes:
        if not isinstance(change, Given):
            continue
        place = place_of[change.argument]
        before = leaves[place]
        dtype = dtype_named(change.dtype) if change.dtype else before.dtype
        if change.shape is None:
            leaves[place] = after_steps(before.to(dtype), change.steps)
        elif dtype.is_floating_point:
            leaves[place] = torch.randn(change.shape, dtype=dtype)
        else:
            high = 2 if before.is_floating_point() else int(before.max()) + 1
            leaves[place] = torch.randint(0, max(1, high), change.shape, dtype=dtype)
    args, kwargs = tree_unflatten(leaves, form)
    return args, kwargs
