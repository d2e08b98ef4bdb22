"""What is said of all ranks, letter for letter."""

from __future__ import annotations

import io
import json

from fwdtrace.compare.ranks.ranks import CallOnRanks, Kind, RankFinding, RanksView, Slow
from fwdtrace.render.ranks import ranks_in_words, ranks_text, write_ranks

PART = CallOnRanks(
    "t.json",
    "model.Net",
    (0, 1, 2, 4),
    (3,),
    (Kind((0, 1)), Kind((2, 4), tuple(f"a #{n} output 2×16, on rank 0 1×16" for n in range(1, 8)))),
    (RankFinding((4,), "FT005", "a made NaN"),),
    (0, 100.0),
    110.0,
    (4, 330.0),
    (Slow(4, 330.0, 3.0, "b", 200.0),),
)
VIEW = RanksView((PART,), ("t.rank5.json is cut short",))

TEXT = """\
4 ranks of Net
  no file of rank 3
  2 of them made the same calls with the same shapes
  ✗ ranks 2, 4:
    a #1 output 2×16, on rank 0 1×16
    a #2 output 2×16, on rank 0 1×16
    a #3 output 2×16, on rank 0 1×16
    a #4 output 2×16, on rank 0 1×16
    a #5 output 2×16, on rank 0 1×16
    and 2 more differences
  ✗ rank 4 alone: FT005 a made NaN
  time: 100 µs on rank 0 … 330 µs on rank 4, median 110 µs
  ✗ rank 4 is slow: 330 µs, 3.0 × the median; of its calls b takes most of it,
    200 µs more than the median
  t.rank5.json is cut short"""


def test_the_text_says_who_does_otherwise_and_who_is_slow() -> None:
    assert ranks_text(VIEW) == TEXT


def test_ranks_are_named_in_spans() -> None:
    assert ranks_in_words((3,)) == "rank 3"
    assert ranks_in_words((*range(8), 9)) == "ranks 0 to 7, 9"
    assert ranks_in_words(range(0, 40, 2)) == "ranks 0, 2, 4, 6, 8, 10, 12, …13 more"


def test_the_document_has_what_the_text_has() -> None:
    stream = io.StringIO()
    write_ranks(VIEW, stream)
    document = json.loads(stream.getvalue())
    assert document["format"] == "fwdtrace.ranks/1" and document["problems"] == list(VIEW.problems)
    assert document["parts"][0]["kinds"][0] == {"ranks": [0, 1], "differences": []}
    assert document["parts"][0]["slow"] == [
        {"rank": 4, "duration_us": 330.0, "times": 3.0, "path": "b", "excess_us": 200.0}
    ]
