"""The pytest plugin: a test compares the calls of a model with a text beside it. Loading the plugin loads no torch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fwdtrace.trace import Call, Hook, Leaf, Trace

AssertForwardContract = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes contracts instead of comparing them."""
    parser.getgroup("fwdtrace").addoption(
        "--fwdtrace-update", action="store_true", help="write the forward contracts anew instead of comparing them"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers", "no_direct_forward: fail if a model in assert_forward_contract runs a forward without its __call__"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test with the marker that does not take the fixture, as nothing would be looked at."""
    fixtures = getattr(item, "fixturenames", ())
    if item.get_closest_marker("no_direct_forward") and "assert_forward_contract" not in fixtures:
        remedy = "let the test take assert_forward_contract, and run the model by it"
        pytest.fail(f"no_direct_forward looks at nothing here: {remedy}", pytrace=False)


@pytest.fixture
def assert_forward_contract(request: pytest.FixtureRequest) -> AssertForwardContract:
    """Compare what a model does with its contract: `assert_forward_contract(model, inputs, "name")`.

    `inputs` is one tensor, a tuple of arguments, or a dict of them by name. The contract is the file `name.txt` in the
    folder `contracts` beside the test.
    """
    test = request.node

    def check(model: Any, inputs: Any, name: str) -> None:
        __tracebackhide__ = True
        trace = _traced(model, inputs)
        direct = [call for call in trace.calls if call.entry == "forward"]
        if direct and test.get_closest_marker("no_direct_forward"):
            places = "\n".join(f"  {call.path or 'the model'}{_where(call)}" for call in direct)
            pytest.fail(f"forward ran without __call__:\n{places}", pytrace=False)
        text = contract_text(trace)
        file = Path(test.path).parent / "contracts" / f"{name}.txt"
        if test.config.getoption("--fwdtrace-update"):
            file.parent.mkdir(exist_ok=True)
            from fwdtrace.trace.files import write_text

            write_text(file, text)
        elif not file.exists():
            pytest.fail(f"there is no contract {name!r} yet; pytest --fwdtrace-update writes it", pytrace=False)
        else:
            _compare(file.read_text(encoding="utf-8"), text, name)

    return check


def contract_text(trace: Trace) -> str:
    """The calls of a trace, one a line, indented as they are nested: entry, shapes, dtypes, hooks; never times."""
    return "".join(f"{line}\n" for call in trace.calls for line in _lines(call))


def _lines(call: Call) -> Iterator[str]:
    from fwdtrace.trace.text import with_nth

    indent = "  " * call.depth
    path = "model" if call.path == "" else call.path or "(not in the model)"
    entry = "" if call.entry == "__call__" else " by forward, without __call__"
    yield f"{indent}{with_nth(path, call.nth)}: {call.class_name}{entry}"
    for sign, leaves in (("<-", call.inputs), ("->", call.outputs)):
        for leaf in leaves:
            yield f"{indent}    {sign} {_leaf(leaf)}"
    for hook in call.hooks:
        yield f"{indent}    hook {_hook(hook)}"


def _leaf(leaf: Leaf) -> str:
    from fwdtrace.trace import TensorMeta
    from fwdtrace.trace.text import shape_text

    name = f"{leaf.name}: " if leaf.name else ""
    return f"{name}{shape_text(leaf.shape)} {leaf.dtype}" if isinstance(leaf, TensorMeta) else f"{name}{leaf.value}"


def _hook(hook: Hook) -> str:
    return f"{hook.kind} {hook.name}{'' if hook.fired else ', skipped'}"


def _where(call: Call) -> str:
    return f" at {call.site.file}:{call.site.line}" if call.site else ""


def _compare(expected: str, actual: str, name: str) -> None:
    __tracebackhide__ = True
    if expected == actual:
        return
    lines = difflib.unified_diff(expected.splitlines(), actual.splitlines(), "contract", "this run", lineterm="", n=2)
    diff = "\n".join(lines)
    pytest.fail(f"the forward contract {name!r} does not hold; --fwdtrace-update accepts this run\n{diff}", False)


def _traced(model: Any, inputs: Any) -> Trace:
    import torch

    from fwdtrace.recorder.recorded import Options
    from fwdtrace.recorder.recording import Recording

    with _in_eval_mode(model), torch.no_grad(), Recording(model, Options()) as recording:
        if isinstance(inputs, Mapping):
            model(**inputs)
        elif isinstance(inputs, tuple):
            model(*inputs)
        else:
            model(inputs)
    return recording.trace


@contextmanager
def _in_eval_mode(model: Any) -> Iterator[None]:
    """Eval mode, in which no run changes the model or draws random numbers; each module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
