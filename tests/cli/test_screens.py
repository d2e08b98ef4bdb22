"""Ten real models on screens of three widths: every number that was asked for is there, and no two rows look alike."""

from __future__ import annotations

import re

import pytest

from tests.helpers.screens import FOLDER, MODELS

pytest.importorskip("transformers", reason="the real models come from three libraries")

ASKED = ("FLOPs", "mean", "min", "grad")


def parts_of(text: str) -> list[tuple[str, int, list[str]]]:
    """For each screen of a file: how it was run, its width and its lines."""
    parts = re.split(r"^=== (.*), (\d+) columns ===\n\n", text, flags=re.MULTILINE)[1:]
    ways, widths, screens = parts[::3], parts[1::3], parts[2::3]
    return [
        (way, int(width), screen.strip("\n").splitlines())
        for way, width, screen in zip(ways, widths, screens, strict=True)
    ]


@pytest.mark.parametrize("name", MODELS)
def test_every_screen_has_the_numbers_that_were_asked_for_and_fits(name: str) -> None:
    screens = parts_of(FOLDER.joinpath(f"{name}.txt").read_text(encoding="utf-8"))
    assert [width for _, width, _ in screens] == [80, 120, 200] * 2
    for way, width, lines in screens:
        assert max(map(len, lines)) <= width
        titles = next(line for line in lines if line.startswith("module"))
        assert all((title in titles) == (way != "plain") for title in ASKED), titles


def rows_of(lines: list[str]) -> list[tuple[str, str]]:
    """The guides and the name of each row, which begins behind them."""
    found = (re.match(r"([│ ]*[├└]╴)(\S+(?: #\d+)?)", line) for line in lines)
    return [(row[1], row[2]) for row in found if row is not None]


@pytest.mark.parametrize("name", MODELS)
def test_no_two_rows_of_a_block_that_have_other_names_look_alike(name: str) -> None:
    screens = parts_of(FOLDER.joinpath(f"{name}.txt").read_text(encoding="utf-8"))
    for first in (0, 3):
        whole = rows_of(screens[first + 2][2])
        for _, _, lines in screens[first : first + 2]:
            rows = rows_of(lines)
            assert len(rows) == len(whole)
            block: dict[tuple[int, str], str] = {}
            for (guides, label), (_, full) in zip(rows, whole, strict=True):
                block = {key: named for key, named in block.items() if key[0] <= len(guides)}
                assert block.setdefault((len(guides), label), full) == full, label


@pytest.mark.sweep
@pytest.mark.parametrize("name", MODELS)
def test_the_screens_of_a_real_model_are_as_they_were_read(name: str) -> None:
    from tests.helpers.screens import screens_of, traces_of

    found, held = screens_of(traces_of(name, "plain")), FOLDER.joinpath(f"{name}.txt").read_text(encoding="utf-8")
    # the numbers, and so the room that they leave for names, may be others on another processor
    plain = [[lines for way, _, lines in parts_of(text) if way == "plain"] for text in (found, held)]
    assert plain[0] == plain[1]
