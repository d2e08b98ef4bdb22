"""A model that works on time steps or on chunks is compared with one that works on all at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fwdtrace.compare.parting.in_parts import Cut, cut_by, cuts_into_rows
from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.two_models.watched import watch
from fwdtrace.run.two import TwoRunsPlan, compare_two


class Whole(nn.Module):
    """An LSTM of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]  # type: ignore[no-any-return]


class Stepwise(nn.Module):
    """The same, one time step after the other."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.wx, self.wh = nn.Parameter(torch.randn(20, 6)), nn.Parameter(torch.randn(20, 5))
        self.bx, self.bh = nn.Parameter(torch.zeros(20)), nn.Parameter(torch.zeros(20))

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), 5)
        found = []
        for step in range(x.shape[1]):
            z = x[:, step] @ self.wx.T + self.bx + h @ self.wh.T + self.bh
            i, f, g, o = z.chunk(4, -1)
            f = f + 1 if self.bug == "forget" else f  # forget
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            found.append(h)
        return torch.stack(found, 1)


class Causal(nn.Module):
    """Causal attention: over all at once, or over chunks with a cache."""

    def __init__(self, chunk: int = 6, bug: str = "") -> None:
        super().__init__()
        self.chunk, self.bug = chunk, bug
        self.q, self.kv, self.out = nn.Linear(8, 8), nn.Linear(8, 16), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        keys, values, found = x[:, :0], x[:, :0], []
        for part in x.split(self.chunk, 1):
            k, v = self.kv(part).chunk(2, -1)
            keys = torch.cat([k, keys] if self.bug == "order" else [keys, k], 1)  # order
            values = torch.cat([values, v], 1)
            seen, count = keys.shape[1], part.shape[1]
            mask = torch.ones(count, seen, dtype=torch.bool).tril(0 if self.bug == "mask" else seen - count)
            scores = (self.q(part) @ keys.mT).masked_fill(~mask, -torch.inf)  # mask
            y = scores.softmax(-1) @ values
            y = y.relu() if self.bug == "relu" else y  # relu
            found.append(self.out(y))
        return torch.cat(found, 1)


def _specs(second: str, bug: str) -> tuple[str, str]:
    if second == "Stepwise":
        return f"{__name__}:Whole", f"{__name__}:Stepwise(bug={bug!r})"
    return f"{__name__}:Causal", f"{__name__}:Causal(chunk=2, bug={bug!r})"


@pytest.mark.parametrize(("second", "shape"), [("Stepwise", "2x2x6"), ("Causal", "2x6x8")])
def test_a_port_that_works_on_parts_is_equal_with_every_weight_moved(second: str, shape: str) -> None:
    found = compare_two(TwoRunsPlan(*_specs(second, ""), inputs=(shape,), same_init=True)).comparison
    assert found.equal, found.verdict
    assert found.weights is not None and len(found.weights.moves) == found.weights.of


@pytest.mark.parametrize(
    ("second", "bug"),
    [("Stepwise", "forget"), ("Causal", "order"), ("Causal", "mask"), ("Causal", "relu")],
)
def test_the_line_of_a_bug_in_parts_is_named(second: str, bug: str) -> None:
    shape = "2x2x6" if second == "Stepwise" else "2x6x8"
    verdict = compare_two(TwoRunsPlan(*_specs(second, bug), inputs=(shape,), same_init=True)).comparison.verdict
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    marked = next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {bug}"))
    assert re.search(rf"test_in_parts\.py:{marked}\b", verdict), verdict


def test_a_cut_counts_only_where_its_pieces_are_all_rows() -> None:
    class Cuts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first, last = x.split([2, 1], 1)
            return first.sum(1) + last[:, 0] + x[0, 0] + x[1, 0]

    steps = watch(Runnable(Cuts(), (torch.randn(2, 3, 4),), {}), 0, {}).steps
    number = next(number for number, step in enumerate(steps.steps) if step.name == "split_with_sizes")
    assert cut_by(steps, number) == Cut(3, (2, 3))
    assert cut_by(steps, len(steps.steps) - 1) is None
    assert cuts_into_rows(steps) == [Cut(2, (1, 2))]


def test_the_parts_of_a_tensor_are_cut_in_every_dimension_of_the_size() -> None:
    x = torch.arange(12.0).view(3, 4)
    ways = [[part.count for part in parts] for parts in Cut(3, (1, 2, 3)).parts_of(x)]
    assert ways == [[4, 4, 4], [8, 4]]
    assert not list(Cut(5, (2, 5)).parts_of(x))
    square = [[part.count for part in parts] for parts in Cut(3, (2, 3)).parts_of(x[:, :3])]
    assert square == [[6, 3], [4, 3], [6, 3]]
