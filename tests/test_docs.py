"""The documents are judged against the tool: what README shows is what is printed, what they name exists."""

from __future__ import annotations

import ast
import os
import re
import sys
from pathlib import Path

import pytest

from fwdtrace.cli.commands import app
from tests.helpers import documents
from tests.helpers.commands import REPOSITORY, Command

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")

PAGES = {page.name: page.read_text(encoding="utf-8") for page in documents.PAGES[1:]}
BLOCKS = documents.blocks("\n".join((README, *PAGES.values())))
SHOWN = documents.commands_shown()
COMMANDS = [info.callback.__name__ for info in app.registered_commands if info.callback]


@pytest.mark.parametrize("text", SHOWN, ids=lambda text: text.splitlines()[0][2:])
def test_the_output_in_the_documents_is_what_the_tool_prints(command: Command, folder: Path, text: str) -> None:
    for kind, source in BLOCKS:
        if kind == "python" and source.startswith("# "):
            (folder / source.split()[1]).write_text(source, encoding="utf-8")
    arguments = documents.arguments_of(text)
    if "--source" in arguments and sys.version_info < (3, 11):
        pytest.skip("code objects have no qualified names")
    ran = command(*arguments)
    assert documents.is_printed(text, ran.out), ran.out


def test_the_readme_shows_a_plain_run_a_direct_call_and_a_failure() -> None:
    lines = [text.splitlines()[0] for text in SHOWN]
    assert lines[0] == "$ fwdtrace run lenet"
    assert any("direct" in line for line in lines)
    assert any("broken" in line for line in lines)


def test_the_picture_in_the_readme_is_what_the_tool_draws(command: Command, folder: Path) -> None:
    command(*documents.PICTURE_OF.split(), "-o", "tree.svg")
    assert documents.text_of_picture(folder / "tree.svg") == documents.text_of_picture(documents.PICTURE)


def test_every_page_is_reached_from_the_readme() -> None:
    assert all(f"](docs/{name})" in README for name in PAGES)


def test_the_first_two_commands_need_nothing_but_python() -> None:
    install, tests = (text for kind, text in BLOCKS if kind == "sh")
    for text in (install, tests):
        assert text.startswith("python3 -m venv .venv && .venv/bin/pip install -c constraints.txt ")
    assert install.endswith(" && .venv/bin/fwdtrace run lenet\n")
    assert tests.endswith(" && .venv/bin/python -m pytest -n auto\n")
    assert f"<!-- tests -->\n```sh\n{tests}" in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_a_row_in_the_page_of_commands(command: Command, name: str) -> None:
    assert f"| `fwdtrace {name}" in PAGES["commands.md"]
    assert len(command(name, "--help").out.splitlines()[2].strip()) > 20


def test_every_option_that_documents_name_exists(command: Command) -> None:
    helps = "".join(command(name, "--help").out for name in COMMANDS)
    named = set(re.findall(r"`(--[a-z-]+)", "".join((README, CHANGELOG, *PAGES.values()))))
    assert named and all(option in helps for option in named)


ENTRIES = [path for path in (REPOSITORY / "fwdtrace").iterdir() if path.name != "__pycache__"]
ROOMS = [path for path in ENTRIES if path.is_dir()]


def test_the_package_reads_as_at_most_ten_rooms_and_six_files() -> None:
    assert len(ROOMS) <= 10 and len(ENTRIES) - len(ROOMS) <= 6


def test_the_table_of_rooms_is_what_is_there() -> None:
    listed = re.findall(r"^\| `([\w./]+)` \|", CONTRIBUTING.partition("## Where things are")[2], re.MULTILINE)
    there = [path.name + "/" * path.is_dir() for path in ENTRIES]
    assert sorted(listed) == sorted(name for name in there if name != "py.typed")


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_opens_with_its_job_in_a_sentence_of_one_line(room: Path) -> None:
    for file in room.rglob("__init__.py"):
        first_line = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        assert re.fullmatch(r"[A-Z`].{20,}\.", first_line), file


def test_every_link_and_file_that_documents_name_exists() -> None:
    pages = [
        (REPOSITORY, README),
        (REPOSITORY, CONTRIBUTING),
        *((REPOSITORY / "docs", text) for text in PAGES.values()),
    ]
    for folder, text in pages:
        for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", text):
            assert (folder / target).exists(), target
    rooms = "|".join(room.name for room in ROOMS)
    for path in re.findall(rf"`((?:tests|fwdtrace|{rooms})/[\w/.]*)`", "".join(text for _, text in pages)):
        assert (REPOSITORY / path).exists() or (REPOSITORY / "fwdtrace" / path).exists(), path


def test_the_commands_of_contributing_come_with_the_extras() -> None:
    pyproject = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    tools = set(re.findall(r"\.venv/bin/([\w-]+)", CONTRIBUTING)) - {"pip", "python"}
    assert tools == {"pre-commit", "ruff", "mypy"}
    assert all(f'"{tool}"' in pyproject for tool in tools)
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)


def test_every_requirement_of_the_extras_is_pinned() -> None:
    pyproject = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^test = \[(.*?)\]\ndev = \[(.*?)\]", pyproject, re.MULTILINE | re.DOTALL)
    assert listed
    pinned = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").replace("_", "-").lower()
    for name in re.findall(r'"([\w-]+)', "".join(listed.groups())):
        assert f"\n{name}==" in pinned, name


def test_the_changelog_knows_the_version() -> None:
    from fwdtrace.version import __version__

    assert f"\n## {__version__}" in CHANGELOG
