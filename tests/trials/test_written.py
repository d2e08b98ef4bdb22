"""What writes into a parameter, and what packs sequences in any order, is tried in the form that torch takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from tests.helpers.advice import broken, follow, must_work


class Writes(nn.Module):
    """Scales its input by a parameter that something is done to first."""

    def __init__(self, prepared: Callable[[Writes], Any]) -> None:
        super().__init__()
        self.scale, self.act, self.fc = nn.Parameter(torch.ones(4)), nn.ReLU(inplace=True), nn.Linear(4, 2)
        self.prepared = prepared

    def forward(self, x: Tensor) -> Any:
        return self.fc(x * self.prepared(self))


def limited(model: Writes) -> Tensor:
    model.scale.clamp_(0.1, 2)
    return model.scale


def set_in_part(model: Writes) -> Tensor:
    model.scale[0] = 1
    return model.scale


def of_another_name(model: Writes) -> Tensor:
    scale: Tensor = model.scale
    scale += 1
    return scale


def activated(model: Writes) -> Any:
    return model.act(model.scale)


def shrunk_for_good(model: Writes) -> Tensor:
    model.scale.mul_(0.9)
    return model.scale


@pytest.mark.parametrize(
    ("prepared", "advice"),
    [
        (limited, ["run Tensor.clamp_ in line N under torch.no_grad()"]),
        (set_in_part, ["run []= in line N under torch.no_grad()"]),
        (of_another_name, ["apply .clone() to the operand of += in line N"]),
        (activated, ["set inplace=False in act"]),
        (shrunk_for_good, []),  # each call would go on from the one before, and a copy would be lost
    ],
)
def test_a_write_into_a_parameter_is_tried_where_it_stays_what_it_is(
    prepared: Callable[[Writes], Any], advice: list[str]
) -> None:
    case = broken(Writes(prepared), "3x4", grad=True)
    texts = [fix.text for fix in case.finding.fixes if fix.tried]
    assert [re.sub(r"line \d+", "line N", text) for text in texts] == advice
    for working in case.working:
        must_work(case.trace, case.model, case.inputs, working)


class Packs(nn.Module):
    """Reads sequences of several lengths, the longest of which need not be first."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.rnn, self.fc, self.whole = nn.GRU(4, 3, batch_first=True), nn.Linear(3, 2), whole

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        if self.whole:
            packed = pack_padded_sequence(x, lengths, batch_first=True)
        else:
            packed = pack_sequence([one[:length] for one, length in zip(x, lengths.tolist(), strict=True)])
        return self.fc(pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0][:, 0])


@pytest.mark.parametrize(("whole", "name"), [(True, "pack_padded_sequence"), (False, "pack_sequence")])
def test_sequences_in_any_order_are_packed_with_an_argument_for_that(whole: bool, name: str, tmp_path: Path) -> None:
    code = pack_padded_sequence.__code__  # type: ignore[attr-defined]
    torch.save(torch.tensor([3, 5, 2]), tmp_path / "lengths.pt")
    case = broken(Packs(whole), "3x5x4", str(tmp_path / "lengths.pt"))
    (fix,) = case.finding.fixes
    assert re.sub(r"line \d+", "line N", fix.text) == f"call {name} in line N with enforce_sorted=False"
    assert fix.outputs == ((3, 2),)
    for working in case.working:
        follow(case, working)
    assert pack_padded_sequence.__code__ is code  # type: ignore[attr-defined]
