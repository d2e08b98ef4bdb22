"""What in a `.pt2` archive would run code as torch opens it: pickles, compiled libraries, and text that is evaluated.

torch unpickles what it finds in such a file, evaluates the sizes and guards that are written there as text, writes
names of the graph into Python code, and loads compiled libraries. Nothing here runs any of it: pickles are read opcode
by opcode, and text is parsed.
"""

from __future__ import annotations

import ast
import io
import json
import pickletools
import re
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO, Any

import torch
from torch import _weights_only_unpickler

_RAW = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_OBJECTS = ("custom_obj_", "opaque_obj_")
_UNTRUSTED = ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4")
"""Opcodes that call something, and that torch never writes nor trusts."""
_NAME = re.compile(r"[^()=;`\\\r\n]*")
_EVALUATED = ("expr_str", "guards_code")
_KEPT = ("as_string", "as_strings", "metadata", "torch_version")
"""Keys of a graph whose text stays text."""
_MODULES = ("builtins", "collections")
_FUNCTIONS = ("floor", "ceiling", "sqrt", "log", "exp", "len", "abs", "min", "max", "isinstance")
"""What a formula may call, beside the classes of sympy and of torch, which begin with a capital letter."""
_METHODS = frozenset(("size", "stride", "storage_offset", "shape", "dtype", "ndim", "numel", "dim"))
_ARITHMETIC = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.Call, ast.keyword, ast.Attribute, ast.Subscript),
    *(ast.Tuple, ast.List),
)


def code_in(file: Path) -> str | None:
    """The first thing in the archive that would run code, in words; None if there is nothing, or no archive."""
    return next((f"{found} ({name})" for name, stream in _entries(file) if (found := _in_entry(name, stream))), None)


def _entries(file: Path) -> Iterator[tuple[str, Any]]:
    """Every entry as both readers see it that torch opens such a file with: in a forged archive they see others."""
    try:
        reader = torch._C.PyTorchFileReader(str(file))
        for name in reader.get_all_records():
            if not _RAW.fullmatch(name):  # large; what is a pickle among them, torch is kept from running
                yield name, io.BufferedReader(io.BytesIO(reader.get_record(name)))
    except RuntimeError:  # the older form, or no archive
        pass
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as stream:
                    yield entry.filename, stream
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError):
        return


def _in_entry(name: str, stream: Any) -> str | None:
    folders, _, last = name.rpartition("/")
    if "aotinductor" in folders.split("/"):
        return "holds compiled code"
    if last.startswith(_OBJECTS):
        return "holds an object that only unpickling makes"
    if folders.endswith("models") or last == "serialized_exported_program.json":
        return _in_graph(stream.read())
    start = stream.peek(2)[:2]
    if start == b"PK":
        return _in_torch_file(stream)
    if _RAW.search(name) and not (start[:1] == b"\x80" and start[1:] <= b"\x05"):
        return None  # numbers, in which any opcode may come up
    return _in_pickles(stream)


def _in_torch_file(stream: IO[bytes]) -> str | None:
    """What is in a file that `torch.save` wrote, in which every `.pkl` is a pickle."""
    try:
        with zipfile.ZipFile(io.BytesIO(stream.read())) as archive:
            pickles = [archive.read(entry) for entry in archive.infolist() if entry.filename.endswith(".pkl")]
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError):
        return "holds a broken file of torch.save"
    return next((found for each in pickles if (found := _in_pickles(io.BytesIO(each)))), None)


def _in_pickles(stream: IO[bytes]) -> str | None:
    """What pickles, one after the other, would call beside what torch trusts.

    They are read as far as they can be, as an unpickler runs what comes before the place where it fails.
    """
    try:
        while True:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    called = _called(str(argument))
                    if called not in _trusted():
                        return f"holds a pickle that would call {called[:80]!r}"
                if opcode.name in _UNTRUSTED:
                    return f"holds a pickle that would call something by {opcode.name}"
    except (ValueError, IndexError, OverflowError, MemoryError, EOFError):  # its end, or numbers that are no pickle
        return None


def _called(argument: str) -> str:
    """The name that Python finds for a GLOBAL, which may be written as in Python 2."""
    module, _, name = argument.partition(" ")
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


@cache
def _trusted() -> frozenset[str]:
    """What `torch.load(weights_only=True)` calls, by qualified name."""
    return frozenset(_weights_only_unpickler._get_allowed_globals())


def _in_graph(data: bytes, *, names: bool = True) -> str | None:
    try:
        graph = json.loads(data.decode(), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):  # torch reads it in the same way, and refuses it
        return None
    return _in_value("", graph, names)


class _Pairs(list[tuple[str, Any]]):
    """The keys and values of a JSON object, also those of which a dict would keep one."""


def _in_value(key: str, value: Any, names: bool) -> str | None:
    """What in a part of a graph would run code; `names` says whether torch may write its texts into Python code."""
    if key in _KEPT:
        return None
    if isinstance(value, _Pairs):
        parts = (found for key, part in value if (found := _in_text("", key, names) or _in_value(key, part, names)))
        return next(parts, None)
    if isinstance(value, list):
        return next((found for item in value if (found := _in_value(key, item, names))), None)
    return _in_text(key, value, names) if isinstance(value, str) else None


def _in_text(key: str, text: str, names: bool) -> str | None:
    if key in _EVALUATED:
        return None if _is_arithmetic(text) else f"holds text that would be evaluated, {text[:80]!r}"
    if key == "default_factory_module" and text not in _MODULES:
        return f"would import {text[:80]!r}"
    if text == "__enum__":
        return "would import a module by name"
    if text[:1] in ("[", "{", '"'):  # how arguments are nested is JSON within JSON
        return _in_graph(text.encode("utf-8", "replace"), names=names and key != "out_spec")
    return None if not names or _NAME.fullmatch(text) else f"holds a name that is none, {text[:80]!r}"


def _is_arithmetic(text: str) -> bool:
    """Whether the text is a formula of numbers, symbols and sizes, so that to evaluate it can do nothing else."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    harmless_strings: set[ast.AST] = set()
    for node in ast.walk(tree):  # outer nodes come first
        if not isinstance(node, _ARITHMETIC):
            return False
        if isinstance(node, ast.Attribute) and node.attr not in _METHODS:
            return False
        if isinstance(node, ast.Name) and node.id.startswith("_"):
            return False
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id not in _FUNCTIONS and not node.func.id[0].isupper():
                return False
            if node.func.id == "Symbol":
                harmless_strings.update(node.args)
        elif isinstance(node, ast.Call) and not isinstance(node.func, ast.Attribute):
            return False
        if isinstance(node, ast.Subscript):
            harmless_strings.add(node.slice)
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, (str, bytes))
            and not (node in harmless_strings and str(node.value).isidentifier())
        ):
            return False
    return True
