"""The shell is offered names, codes and keys, and does not wait for torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fwdtrace.cli.completion import codes, codes_in_a_list, keys_in_a_list, specs
from tests.helpers.commands import REPOSITORY


def test_names_codes_and_keys_are_offered_by_how_they_begin() -> None:
    assert specs("lenet-b") == ["lenet-broken"] and specs("TO") == ["torchvision:"]
    assert codes("ft00")[:2] == ["FT001", "FT002"] and codes("x") == []
    assert codes_in_a_list("FT001,ft01") == ["FT001,FT010", "FT001,FT011"]
    assert keys_in_a_list(["time", "self", "std"])("time,s") == ["time,self", "time,std"]
    assert keys_in_a_list(["time", "self"])("time,t") == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("fwdtrace run lenet-b", "lenet-broken"),
        ("fwdtrace compare spectral", "spectral-norm"),
        ("fwdtrace rule FT00", "FT001"),
        ("fwdtrace run --fail-on FT00", "FT001"),
        ("fwdtrace run --sort fl", "flops"),
        ("fwdtrace show --columns input,ou", "input,output"),
        ("fwdtrace run --color al", "always"),
    ],
)
def test_the_shell_gets_them_without_torch(words: str, expected: str) -> None:
    code = (
        "import sys\nfrom fwdtrace.cli import main\n"
        "try:\n    main([])\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)\n"
    )
    asked = {"_FWDTRACE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv = ['fwdtrace']\n{code}"],
        cwd=REPOSITORY, env={**os.environ, **asked}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert expected in ran.stdout.split() and ran.stderr.endswith("False\n"), ran
