"""Importing what a spec names, a Python file or a module: errors say whether the spec or the imported code is wrong."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import re
import sys
import zlib
from functools import partial
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType
from typing import cast

from fwdtrace.errors import SpecError
from fwdtrace.models.spec import HOW_TO_NAME, nearest, nearest_script, run_theirs


def imported(where: str) -> ModuleType:
    """The Python module that a file or a dotted name holds.

    SpecError if there is none; what the imported code raises is the cause of the error. The folder of a file, or the
    current folder for a name, stays on `sys.path`, as a model may import while it runs.
    """
    return _import_file(where) if is_path(where) else _import_name(where)


def is_path(where: str) -> bool:
    """Whether this is written as the path of a file, and not as the name of a module."""
    return where.endswith(".py") or "/" in where or os.sep in where or "\\" in where


def _import_name(where: str) -> ModuleType:
    if not all(part.isidentifier() for part in where.split(".")):
        raise SpecError(f"{where!r} is neither a Python file nor the name of a module; {HOW_TO_NAME}")
    _make_importable(Path.cwd())
    try:
        return cast(ModuleType, run_theirs(partial(import_module, where), _raised(where)))
    except SpecError as error:
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError) and f"{where}.".startswith(f"{missing.name}."):
            parent, _, last = where.rpartition(".")
            folders = getattr(sys.modules.get(parent), "__path__", None) or [os.getcwd()]
            near = nearest(last, (module.name for module in pkgutil.iter_modules(folders)))
            raise SpecError(f"no module is named {missing.name!r}{near}; is it installed, or in this folder?") from None
        raise


def _import_file(where: str) -> ModuleType:
    file = Path(where).expanduser().absolute()
    if not file.is_file():
        if not file.parent.is_dir():
            raise SpecError(f"there is no folder {str(Path(where).parent)!r}; check the path of {where!r}")
        near = nearest_script(file)
        raise SpecError(f"there is no file {where!r}{near}; check the path")
    if file.suffix != ".py":
        raise SpecError(f"{where!r} is not a Python file; {HOW_TO_NAME}")
    root, parts = _package_of(file)
    _make_importable(root)
    if file.parent != root:
        sys.path.append(str(file.parent))  # last: the files of a package may be named like the standard library's
    if _is_importable(parts, root):
        return cast(ModuleType, run_theirs(partial(import_module, ".".join(parts)), _raised(".".join(parts))))
    return _import_as(f"{re.sub(r'[^0-9a-zA-Z_]', '_', file.stem)}_{zlib.crc32(bytes(file)):08x}", file)


def _package_of(file: Path) -> tuple[Path, list[str]]:
    """The folder that must be importable for a file, and the parts of the file's dotted name from there."""
    root, parts = file.parent, [file.stem]
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    if parts[-1] == "__init__":
        parts.pop()
    return root, parts


def _is_importable(parts: list[str], root: Path) -> bool:
    """Whether importing this name gives the file, and not another module of that name, as of the standard library."""
    if parts[0] == "__main__" or not all(part.isidentifier() for part in parts):
        return False
    if parts[0] in sys.modules:
        origin = getattr(sys.modules[parts[0]], "__file__", None)
    else:
        spec = importlib.util.find_spec(parts[0])
        origin = spec.origin if spec else None
    return origin in (str(root / f"{parts[0]}.py"), str(root / parts[0] / "__init__.py"))


def _import_as(name: str, file: Path) -> ModuleType:
    """Import a file under a name that is not its own."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise SpecError(f"{str(file)!r} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look classes up by the name of their module
    try:
        run_theirs(partial(spec.loader.exec_module, module), _raised(file.name))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _raised(name: str) -> str:
    return f"{name!r} was found, but importing it raised; the traceback above is its own"


def _make_importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    invalidate_caches()
