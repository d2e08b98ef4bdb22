"""Lines are printed as they are: in colours, without them, and in ASCII where nothing else is taken."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fwdtrace.render.tree import print_tree, tree_text
from tests.helpers.drawings import blocks, failing
from tests.helpers.traces import call, lenet, odd, trace


@pytest.mark.parametrize("width", [40, 80, 160])
def test_printing_without_colours_gives_the_same_text(width: int) -> None:
    for shown in (lenet(direct=True), failing(), blocks(12), *map(odd, range(12))):
        console = Console(file=io.StringIO(), width=width, color_system=None)
        print_tree(shown, console)
        assert isinstance(console.file, io.StringIO)
        assert console.file.getvalue() == tree_text(shown, width=width) + "\n"


def test_a_console_that_takes_no_more_gets_ascii_that_is_still_aligned() -> None:
    taken = io.BytesIO()
    stream = io.TextIOWrapper(taken, encoding="ascii", write_through=True)
    print_tree(trace(call(0, None, "", "Net"), call(1, 0, "größe", "A")), Console(file=stream, width=80))
    assert taken.getvalue().decode("ascii").split("\n")[3:5] == [
        "Net              __call__ > forward  1x16  > 1x16    model.py:10",
        "`-gr\\xf6\\xdfe A  __call__ > forward  1x16  > 1x16    :10",
    ]
