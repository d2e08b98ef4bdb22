"""Why a text names no model, and what might be meant by it: a file beside us, a library's model, a name of the Hub."""

from __future__ import annotations

import re
from pathlib import Path

from fwdtrace.errors import SpecError
from fwdtrace.models.sources import elsewhere, names_of
from fwdtrace.models.spec import HOW_TO_NAME, kind_on_the_hub, nearest_name
from fwdtrace.models.zoo import BUILT_INS

FILES_SEARCHED = 50


def no_model(spec: str) -> str:
    """Why a text names no model, and what to write in its place."""
    path = Path(spec).expanduser()
    if (path / "config.json").is_file():
        return f"{spec!r} is a folder with a config.json: write transformers:{spec}"
    if spec and path.is_dir():
        files = sorted(file.name for file in path.glob("*.py"))
        example = f"{spec.rstrip('/')}/{(*files, 'model.py')[0]}:Name"
        return f"{spec!r} is a folder: name a model in a file in it, such as {example}"
    if path.is_file() and path.suffix == ".json":
        return f"{spec!r} holds no model: if it is a saved trace, write fwdtrace show {spec}"
    if path.is_file():
        return f"{spec!r} holds no model: if it holds weights, write file.py:Name --weights {spec}"
    name, bracket, call = spec.partition("(")
    own = _in_a_file(name)
    if own is not None:
        return f"no built-in model is named {spec!r}: did you mean {own}{bracket}{call}?"
    built_in = nearest_name(name, (model.name for model in BUILT_INS))
    other = None if built_in is not None and built_in.lower() == name.lower() else elsewhere(name)
    if other is not None:
        return f"no built-in model is named {spec!r}: did you mean {other}? Else, {HOW_TO_NAME}"
    of_hub = name_on_the_hub(name) if built_in is None else None
    if of_hub is not None:
        return of_hub
    near = f", the nearest is {built_in!r}" if built_in is not None else ""
    return f"no built-in model is named {spec!r}{near}; `fwdtrace models` lists them, {HOW_TO_NAME}"


def name_on_the_hub(name: str) -> str | None:
    """What to write in place of a name such as `facebook/opt-125m`; None if it begins with no known type."""
    try:
        kind = kind_on_the_hub(name, names_of("transformers"))
    except SpecError:  # the library is not there
        return None
    return None if kind is None else f"no built-in model is named {name!r}: {kind}"


def _in_a_file(name: str) -> str | None:
    """The spec of a class or function of this name in a file of this folder; the file alone if it is named itself."""
    where, _, attribute = name.rpartition(".")
    if not name.isidentifier() and not (where.isidentifier() and attribute.isidentifier()):
        return None
    if where and Path(f"{where}.py").is_file():
        return f"{where}.py:{attribute}"
    if Path(f"{name}.py").is_file():
        return f"{name}.py:Name"
    for file in sorted(Path().glob("*.py"))[:FILES_SEARCHED]:
        text = file.read_text(encoding="utf-8", errors="replace")
        if re.search(rf"^(?:class|def) {re.escape(name)}\b", text, re.MULTILINE):
            return f"{file.name}:{name}"
    return None
