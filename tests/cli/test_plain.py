"""What reads a plain command line reads it as typer does, and leaves to typer all that is not plain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import typer.main

from fwdtrace.cli.commands import app
from fwdtrace.cli.declared import Parameter, parameters_of
from fwdtrace.cli.ending import COMMANDS, command_of
from fwdtrace.cli.plain import plain_values
from tests.helpers.commands import Command
from tests.helpers.imports import PACKAGE
from tests.test_cold_imports import imported_by

PLAIN = """
exec s.py
exec s.py --lr 1e-3 -o their.json -- --help
exec -
exec -m package.module --depth 3
exec -o a.json --output b.txt --first 3 s.py
exec --no-ops --ops --no-ops s.py
exec --on nonfinite --on slow=2 --keep 3 --save-step=here s.py
exec --model=a=b --fail-on FT001,any s.py x
exec --columns params,time --sort flops --top=007 --color never s.py
run
run lenet
run lenet -i 1x1x28x28 --input x=3:int64:0..9 --seed 4294967295
run --backward model.py:Net(depth=3) --loss loss.py:f
run ./a//b/../model.py:Net --weights ./a//b/../w.pt --save-values /tmp/v.safetensors
show t.json --depth 0
show a.json --json b.json --only *.conv --only f7
compare lenet
compare a.py:A b.py:B --map a=b --map c=d --no-fused --batch 2
convert a.pt --map map.json -o b.pt
now 4711
models
models vit* --source timm
rule
rule FT001
"""
NOT_PLAIN = """
exec
exec --help
exec -h
exec --no-such s.py
exec --first 0 s.py
exec --first one s.py
exec --first -1 s.py
exec --first ٣ s.py
exec --first
exec --first= s.py
exec --ops=1 s.py
exec -- s.py
exec -oa.json s.py
exec -mo a.json module
exec --on never s.py
exec --sort FLOPS s.py
run lenet more
run --columns params,tme
run --seed 4294967296
run --seed 1_000
show
convert a.pt
now 0
now x
models --source
rule FT001 FT002
"""


GROUP: Any = typer.main.get_command(app)


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


def values_by_typer(words: list[str]) -> dict[str, Any]:
    """The values that a command is called with when typer has read the command line."""
    given: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fwdtrace.cli.sets.call", lambda command, values: given.append(values))
        GROUP(words, standalone_mode=False)
    (values,) = given
    return values


@pytest.mark.parametrize("line", lines(PLAIN))
def test_a_plain_command_line_is_read_as_typer_reads_it(line: str) -> None:
    name, *words = line.split()
    values = plain_values(command_of(name), words)
    assert values is not None
    assert {name: (type(value), value) for name, value in values.items()} == {
        name: (type(value), value) for name, value in values_by_typer(line.split()).items()
    }


@pytest.mark.parametrize("line", lines(NOT_PLAIN))
def test_what_is_not_plain_is_left_to_typer(line: str) -> None:
    name, *words = line.split()
    assert plain_values(command_of(name), words) is None


EVERY = [(name, parameter) for name in COMMANDS for parameter in parameters_of(command_of(name)) if parameter.names]
TEXTS = ("3", "lenet", "time", "self-time", "auto", "nonfinite", "dir/file.json", "FT001", "1x3", "a=b", "0", "1")


@pytest.mark.parametrize(("name", "parameter"), EVERY, ids=lambda each: each if isinstance(each, str) else each.name)
def test_every_option_is_read_as_typer_reads_it_or_left_to_typer(name: str, parameter: Parameter) -> None:
    arguments = {"exec": ["s.py"], "show": ["t.json"], "convert": ["a.pt", "--map", "m", "-o", "b.pt"], "now": ["1"]}
    read = 0
    for written in parameter.names:
        for option in written.split("/"):
            for text in TEXTS if parameter.kind is not bool else ("",):
                words = [option, *([text] if text else []), *arguments.get(name, [])]
                values = plain_values(command_of(name), words)
                read += values is not None
                assert values is None or values == values_by_typer([name, *words])
    assert read, "no text is plain for it"


def test_every_flag_is_named_so_that_typer_makes_no_second_name() -> None:
    assert [parameter.name for _, parameter in EVERY if parameter.kind is bool and not parameter.declared.names] == []


def test_the_commands_are_those_of_typer() -> None:
    assert list(COMMANDS) == [info.callback.__name__ for info in app.registered_commands if info.callback]


@pytest.mark.parametrize("line", ["exec s.py", "show t.json", "models", "rule FT001"])
def test_a_plain_command_does_without_typer(line: str) -> None:
    become = "fwdtrace.program.python.os.execve = sys.exit"
    ran = f"import fwdtrace.cli, fwdtrace.program.python; {become}; fwdtrace.cli.main({line.split()})"
    loaded = imported_by(ran.replace("s.py", f"{PACKAGE / '__init__.py'}"))
    assert not loaded & {"typer", "pydantic", "click", "torch"} and "fwdtrace.cli.plain" in loaded


def test_who_reads_no_more_ends_a_command_without_a_word(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    duplicated: list[int] = []
    monkeypatch.setattr("fwdtrace.cli.ending.os.dup2", lambda _, to: duplicated.append(to))
    monkeypatch.setattr("fwdtrace.cli.ending.call", gone)
    ran = command("models")
    assert (ran.status, ran.out, ran.err, duplicated) == (1, "", "", [1])


def test_the_shell_is_answered_by_typer(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Callable[..., None]] = []
    monkeypatch.setattr("fwdtrace.cli.ending.call", lambda command, values: called.append(command))
    monkeypatch.setenv("_FWDTRACE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "fwdtrace rule FT001")
    monkeypatch.setenv("COMP_CWORD", "1")
    command("rule", "FT001")
    assert called == []
