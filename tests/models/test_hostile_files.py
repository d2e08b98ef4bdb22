"""Files from strangers are opened without running what is in them: a hostile one of each kind would leave a mark."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fwdtrace.models.sources.exported_code import code_in
from tests.helpers.commands import Command

MARK = Path("OPENED")
COMMAND = f"touch {MARK}"
BY_TEXT = f"__import__('os').system('{COMMAND}')"

pytestmark = pytest.mark.filterwarnings("ignore")


class Hostile:
    """An object that leaves a mark when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, (COMMAND,)


class Doubles(nn.Module):
    """A model with a weight, a constant tensor and a size that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.constant = torch.ones(6)

    def forward(self, x: torch.Tensor) -> Any:
        return (self.layer(x) + self.constant).reshape(x.shape[0] * 2, 3)


@pytest.fixture
def exported(folder: Path) -> Path:
    """A program as torch writes it, with a dynamic size."""
    size = ({0: torch.export.Dim("rows", min=2, max=10)},)
    program = torch.export.export(Doubles(), (torch.ones(4, 6),), dynamic_shapes=size)
    torch.export.save(program, folder / "good.pt2")
    return folder / "good.pt2"


def changed(program: Path, change: Callable[[str, bytes], bytes], added: dict[str, bytes] | None = None) -> Path:
    """The archive with other contents, and with more entries."""
    target = program.with_name("bad.pt2")
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
        top = old.namelist()[0].partition("/")[0]
        for name, data in (added or {}).items():
            new.writestr(f"{top}/{name}", data)
    return target


def saved(value: Any, *, as_zip: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=as_zip)
    return stream.getvalue()


def hostile_example(program: Path) -> Path:
    data = saved(((torch.ones(4, 6), Hostile()), {}))
    return changed(program, lambda name, old: data if "sample_inputs" in name else old)


def hostile_example_of_the_old_kind(program: Path) -> Path:
    data = saved(((torch.ones(4, 6), Hostile()), {}), as_zip=False)
    return changed(program, lambda name, old: data if "sample_inputs" in name else old)


def hostile_example_of_a_later_protocol(program: Path) -> Path:
    data = pickle.dumps(Hostile(), 4)
    return changed(program, lambda name, old: data if "sample_inputs" in name else old)


def with_pickled(program: Path, kind: str, data: bytes) -> Path:
    """The archive whose first weight or constant is said to be a pickle."""
    name = {"weights": "weight_0", "constants": "tensor_0"}[kind]

    def change(entry: str, old: bytes) -> bytes:
        if entry.endswith(f"{kind}_config.json"):
            config = json.loads(old)
            next(iter(config["config"].values()))["use_pickle"] = True
            return json.dumps(config).encode()
        return data if entry.endswith(f"{kind}/{name}") else old

    return changed(program, change)


def hostile_weight(program: Path) -> Path:
    return with_pickled(program, "weights", saved(Hostile()))


def hostile_weight_of_the_old_kind(program: Path) -> Path:
    return with_pickled(program, "weights", saved(Hostile(), as_zip=False))


def hostile_constant(program: Path) -> Path:
    return with_pickled(program, "constants", saved(Hostile()))


def opaque_object(program: Path) -> Path:
    def change(entry: str, old: bytes) -> bytes:
        return old.replace(b'"tensor_0"', b'"opaque_obj_0"') if entry.endswith("constants_config.json") else old

    return changed(program, change, {"data/constants/opaque_obj_0": pickle.dumps(Hostile(), 2)})


def evaluated_size(program: Path) -> Path:
    return changed(program, lambda name, old: old.replace(b"Integer(2)", BY_TEXT.encode()))


def evaluated_size_within_a_text(program: Path) -> Path:
    return changed(program, lambda name, old: old.replace(b"Integer(2)", f'\\"{BY_TEXT}\\"'.encode()))


def executed_guard(program: Path) -> Path:
    def change(name: str, old: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return old
        return json.dumps({**json.loads(old), "guards_code": [BY_TEXT]}).encode()

    return changed(program, change)


def name_with_code(program: Path) -> Path:
    return changed(program, lambda name, old: old.replace(b'"x"', f'"x={BY_TEXT}"'.encode()))


def compiled_code(program: Path) -> Path:
    return changed(program, lambda name, old: old, {"data/aotinductor/model/model.so": b"\x7fELF"})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (hostile_example, f"holds a pickle that would call '{os.system.__module__}.system'"),
        (hostile_example_of_the_old_kind, f"holds a pickle that would call '{os.system.__module__}.system'"),
        (hostile_example_of_a_later_protocol, "holds a pickle that would call something by STACK_GLOBAL"),
        (hostile_weight, f"holds a pickle that would call '{os.system.__module__}.system'"),
        (hostile_weight_of_the_old_kind, f"holds a pickle that would call '{os.system.__module__}.system'"),
        (hostile_constant, f"holds a pickle that would call '{os.system.__module__}.system'"),
        (opaque_object, "holds an object that only unpickling makes"),
        (evaluated_size, "holds text that would be evaluated"),
        (evaluated_size_within_a_text, "holds text that would be evaluated"),
        (executed_guard, "holds text that would be evaluated"),
        (name_with_code, "holds a name that is none"),
        (compiled_code, "holds compiled code"),
    ],
)
def test_a_program_that_would_run_code_is_refused_with_the_reason(
    command: Command, exported: Path, spoil: Callable[[Path], Path], reason: str
) -> None:
    spoil(exported)
    for arguments in (("run", "bad.pt2"), ("compare", "good.pt2", "bad.pt2")):
        ran = command(*arguments)
        assert (ran.status, ran.out) == (2, "")
        assert ran.err.startswith(f"fwdtrace: 'bad.pt2' {reason}"), ran.err
        assert ran.err.endswith("; if you trust whoever made it, add --trust\n") and ran.err.count("\n") == 1
    assert not MARK.exists()


@pytest.mark.parametrize("spoil", [hostile_example, evaluated_size])
def test_with_trust_the_program_is_opened_as_torch_opens_it(
    command: Command, exported: Path, spoil: Callable[[Path], Path]
) -> None:
    spoil(exported)
    command("run", "bad.pt2", "--trust")
    assert MARK.exists()


def test_what_the_check_does_not_see_torch_is_kept_from_running(
    command: Command, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fwdtrace.models.sources.exported.code_in", lambda _: None)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    for spoil in (hostile_example, hostile_example_of_a_later_protocol, hostile_weight, hostile_constant):
        spoil(exported)
        ran = command("run", "bad.pt2")
        assert ran.status == 2 and "'bad.pt2' is no exported program" in ran.err
        assert not MARK.exists()
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"


class Dropout(nn.Module):
    """A model with what names and texts a graph may hold."""

    def forward(self, x: torch.Tensor, *, parts: dict[str, torch.Tensor]) -> dict[str, Any]:
        joint = torch.einsum("bi,bj->bij", x, x) + parts["k-1"].sum()
        padded = nn.functional.pad(joint, (1, 1), mode="constant")
        return {"out": padded, "kept (or not)": [joint.nonzero(), x.shape[0] * 2]}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("model", "args", "kwargs"),
    [
        (Doubles(), (torch.ones(4, 6),), {}),
        (Dropout(), (torch.ones(4, 6),), {"parts": {"k-1": torch.ones(3)}}),
        (nn.TransformerEncoderLayer(16, 2, batch_first=True).eval(), (torch.ones(2, 5, 16),), {}),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding_mode="reflect"), nn.BatchNorm2d(4)), (torch.ones(1, 3, 8, 8),), {}),
    ],
)
def test_programs_as_they_are_run_no_code(
    folder: Path, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], strict: bool
) -> None:
    torch.export.save(torch.export.export(model, args, kwargs, strict=strict), folder / "good.pt2")
    assert code_in(folder / "good.pt2") is None


def hostile_file(suffix: str) -> bytes:
    if suffix == ".npy":
        import numpy

        stream = io.BytesIO()
        numpy.save(stream, numpy.array([Hostile()], dtype=object), allow_pickle=True)
        return stream.getvalue()
    return saved({"weight": Hostile()})


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "bad.pt"),
        ("run", "bad.pth"),
        ("run", "lenet", "--weights", "bad.pt"),
        ("run", "lenet", "--weights", "bad.pth"),
        ("run", "lenet", "--weights", "bad.bin"),
        ("run", "lenet", "--input", "bad.pt"),
        ("run", "lenet", "--input", "bad.pth"),
        ("run", "lenet", "--input", "bad.npy"),
        ("compare", "lenet", "bad.pt"),
        ("compare", "lenet", "lenet", "--weights", "bad.pth"),
    ],
)
def test_no_other_file_runs_a_pickle(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    for suffix in (".pt", ".pth", ".bin", ".npy"):
        (folder / f"bad{suffix}").write_bytes(hostile_file(suffix))
    ran = command(*arguments)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
    assert not MARK.exists()


def test_a_torchscript_program_with_a_pickle_of_python_is_refused(command: Command, folder: Path) -> None:
    torch.jit.script(nn.Linear(3, 3)).save("good.pt")  # type: ignore[no-untyped-call]
    with zipfile.ZipFile("good.pt") as old, zipfile.ZipFile("bad.pt", "w") as new:
        for entry in old.infolist():
            spoilt = entry.filename.endswith(("data.pkl", "constants.pkl"))
            new.writestr(entry.filename, pickle.dumps(Hostile(), 2) if spoilt else old.read(entry))
    ran = command("run", "bad.pt")
    assert (ran.status, ran.out) == (2, "")
    assert not MARK.exists()
