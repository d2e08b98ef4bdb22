"""Errors of `torch.compile` are as without us: no step and no line of the code of ours that it went through."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace, TracebackType
from typing import Any

from fwdtrace.program.compiled_tracebacks import take_our_lines_out, without_our_part

COMPILER = "torch/_dynamo/symbolic_convert.py"
IN_USERS = """\
RuntimeError when making fake tensor call

from user code:
   File "net.py", line 13, in forward
    return self.b(self.a(x).relu())
           ^^^^^^^^^^^^^^^^^^^^^^^^
  File "torch/nn/modules/linear.py", line 134, in forward
    return F.linear(input, self.weight, self.bias)

Set TORCHDYNAMO_VERBOSE=1"""
IN_OURS = """\
  File "ours.py", line 78, in observed_call
  File "torch/nn/modules/module.py", line 1789, in _call_impl
    return forward_call(*args, **kwargs)
"""


def is_ours(file: str) -> bool:
    return file == "ours.py"


def function(name: str, file: str, body: str) -> Callable[..., Any]:
    """A function of this name in a file of this name, as far as a traceback can say."""
    found: dict[str, Any] = {}
    exec(compile(f"def {name}(self=None, then=None):\n    {body}", file, "exec"), found)
    return found[name]  # type: ignore[no-any-return]


def traced(*path: tuple[str, str]) -> list[TracebackType]:
    """The steps of an error that came up where the compiler had gone through functions of these names and files."""
    run, inlines = function("run", COMPILER, "then()"), function("inline_call", COMPILER, "then()")

    def go_on(rest: tuple[tuple[str, str], ...]) -> None:
        if not rest:
            raise RuntimeError("no")
        translator = SimpleNamespace(f_code=function(*rest[0], "pass").__code__)
        run(translator, lambda: inlines(None, lambda: go_on(rest[1:])))

    steps: list[TracebackType] = []
    try:
        go_on(path)
    except RuntimeError as error:
        step = error.__traceback__
        while step is not None:
            steps.append(step)
            step = step.tb_next
    return steps


def gone_through(steps: list[TracebackType]) -> list[str]:
    selves = [step.tb_frame.f_locals["self"] for step in steps if step.tb_frame.f_code.co_name == "run"]
    return [each.f_code.co_filename for each in selves]


def test_the_compilers_way_through_our_code_and_what_that_calls_is_left_out() -> None:
    wrapper, call = ("watched", "ours.py"), ("_call_impl", "torch/nn/modules/module.py")
    steps = traced(wrapper, call, ("forward", "net.py"), wrapper, call, ("forward", "block.py"))
    kept = without_our_part(steps, is_ours)
    assert gone_through(kept) == ["net.py", "block.py"]
    assert kept[-1] is steps[-1]
    without_us = traced(call, ("forward", "net.py"))
    assert without_our_part(without_us, is_ours) == without_us


def test_where_our_code_itself_raised_nothing_is_left_out() -> None:
    steps = traced(("forward", "net.py"), ("watched", "ours.py"))
    assert without_our_part(steps, is_ours) == steps


def test_the_message_repeats_no_line_of_ours() -> None:
    first, second = IN_USERS.index("   File"), IN_USERS.index("  File", IN_USERS.index("^"))
    ours = f" {IN_OURS}"
    text = f"{IN_USERS[:first]}{ours}{IN_USERS[first + 1 : second]}{IN_OURS}{IN_USERS[second:]}"
    error = RuntimeError(text)
    error.msg = text  # type: ignore[attr-defined]
    take_our_lines_out(error, is_ours)
    assert (str(error), error.msg) == (IN_USERS, IN_USERS)  # type: ignore[attr-defined]
    for other in (ValueError(3), ValueError(), ValueError(IN_USERS)):
        before = other.args
        take_our_lines_out(other, is_ours)
        assert other.args == before
