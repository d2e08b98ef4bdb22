"""Inputs are judged against torch's own view of the tensors, and by what a person needs to read when one is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fwdtrace.errors import InputError
from fwdtrace.models.inputs import build_inputs


class Takes(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        super().__init__()
        self.count = nn.Parameter(torch.zeros(1, dtype=torch.int64, device=device), requires_grad=False)
        self.weight = nn.Parameter(torch.zeros(1, dtype=dtype, device=device))

    def forward(self, x: Tensor, mask: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
        return x


class TakesAnything(nn.Module):
    def forward(self, *args: Any, **kwargs: Any) -> None:
        return None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def first(spec: str, seed: int = 0) -> Tensor:
    """The one positional tensor that a spec gives."""
    (tensor,) = build_inputs([spec], Takes(), seed).args
    assert isinstance(tensor, Tensor)
    return tensor


def refusal(*specs: str) -> str:
    """What the inputs say, which must fit on one line."""
    with pytest.raises(InputError) as caught:
        build_inputs(specs, Takes(), 0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("spec", "shape", "dtype"),
    [
        ("1x3x32x32", (1, 3, 32, 32), torch.float32),
        ("1×3", (1, 3), torch.float32),
        ("5", (5,), torch.float32),
        ("0x3", (0, 3), torch.float32),
        ("scalar", (), torch.float32),
        ("scalar:int64", (), torch.int64),
        ("2x3:float16", (2, 3), torch.float16),
        ("2x3:torch.bfloat16", (2, 3), torch.bfloat16),
        ("2:double", (2,), torch.float64),
        ("2:complex64", (2,), torch.complex64),
        ("2:float8_e4m3fn", (2,), torch.float8_e4m3fn),
        ("2:bool", (2,), torch.bool),
        ("2:uint16:0..65536", (2,), torch.uint16),
        ("2:int8:-128..128", (2,), torch.int8),
    ],
)
def test_a_text_gives_shape_and_dtype(spec: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = first(spec)
    assert (tuple(tensor.shape), tensor.dtype) == (shape, dtype)


def test_floats_are_standard_normal() -> None:
    tensor = first("100000")
    assert abs(tensor.mean().item()) < 0.02
    assert abs(tensor.std().item() - 1) < 0.02


def test_integers_are_zero_or_one_unless_a_range_is_given() -> None:
    assert first("1000:int64").unique().tolist() == [0, 1]
    assert first("1000:int64:-2..3").unique().tolist() == [-2, -1, 0, 1, 2]


def test_every_dtype_of_float_holds_the_same_numbers() -> None:
    assert torch.equal(first("8:float16"), first("8").half())


def test_the_seed_makes_the_numbers_repeatable() -> None:
    assert torch.equal(first("8", seed=3), first("8", seed=3))
    assert not torch.equal(first("8", seed=3), first("8", seed=4))


def test_two_inputs_of_one_shape_differ() -> None:
    args = build_inputs(["8", "8"], Takes(), 0).args
    assert not torch.equal(*args)


def test_the_global_random_state_stays() -> None:
    before = torch.random.get_rng_state()
    build_inputs(["8", "8:int64", "scale=scalar:bool"], Takes(), 0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_shape_alone_takes_the_dtype_and_device_of_the_parameters() -> None:
    (tensor,) = build_inputs(["2x3"], Takes(torch.bfloat16, "meta"), 0).args
    assert (tensor.dtype, tensor.device.type, tuple(tensor.shape)) == (torch.bfloat16, "meta", (2, 3))


def test_names_give_keyword_arguments() -> None:
    inputs = build_inputs(["1x2", "mask=1x2:bool", "scale=scalar"], Takes(), 0)
    assert [tuple(value.shape) for value in inputs.args] == [(1, 2)]
    assert {name: value.dtype for name, value in inputs.kwargs.items()} == {"mask": torch.bool, "scale": torch.float32}


def test_a_forward_with_keywords_of_its_own_takes_any_name() -> None:
    assert set(build_inputs(["anything=2"], TakesAnything(), 0).kwargs) == {"anything"}


def test_a_scripted_module_takes_its_inputs_unchecked() -> None:
    with pytest.warns((DeprecationWarning, FutureWarning)):
        scripted = torch.jit.script(nn.Linear(2, 2))
    assert build_inputs(["1x2"], scripted, 0).args[0].shape == (1, 2)


def test_a_pt_file_gives_one_tensor_a_tuple_of_arguments_or_keywords(folder: Path) -> None:
    torch.save(torch.arange(3), folder / "one.pt")
    torch.save((torch.arange(3), None), folder / "two.pt")
    torch.save({"x": torch.arange(3), "scale": 2.0}, folder / "named.pt")
    assert torch.equal(first("one.pt"), torch.arange(3))
    assert build_inputs(["two.pt"], Takes(), 0).args[1] is None
    assert build_inputs(["named.pt"], Takes(), 0).kwargs["scale"] == 2.0


def test_a_named_file_is_one_argument_whatever_it_holds(folder: Path) -> None:
    torch.save({1: torch.arange(3)}, folder / "dict.pt")
    assert list(build_inputs(["x=dict.pt"], Takes(), 0).kwargs["x"]) == [1]


def test_an_npy_file_gives_its_array(folder: Path) -> None:
    numpy.save(folder / "a.npy", numpy.arange(6, dtype="int16").reshape(2, 3))
    assert torch.equal(first("a.npy"), torch.arange(6, dtype=torch.int16).reshape(2, 3))


def test_a_safetensors_file_gives_its_tensors_by_name(folder: Path) -> None:
    save_file({"x": torch.arange(3), "mask": torch.ones(3)}, folder / "two.safetensors")
    save_file({"whatever": torch.arange(3)}, folder / "one.safetensors")
    assert set(build_inputs(["two.safetensors"], Takes(), 0).kwargs) == {"x", "mask"}
    assert torch.equal(build_inputs(["x=one.safetensors"], Takes(), 0).kwargs["x"], torch.arange(3))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("", "'' is no shape; the forms are 1x3x32x32, NAME=1x8"),
        ("abc", "'abc' is no shape; the forms are"),
        ("1x3x", "'1x3x' is no shape; the forms are"),
        ("1,3,32", "'1,3,32' is no shape; write 1x3x32"),
        ("(1, 3)", "'(1, 3)' is no shape; write 1x3"),
        ("1x-3", "a dimension cannot be negative"),
        ("1x3:int65", "there is no dtype 'int65', the nearest is 'int64'"),
        ("1x3:qint8", "there is no dtype 'qint8', the nearest is 'int8'"),
        ("1x3:Tensor", "there is no dtype 'Tensor'; known are float32"),
        ("1x3:0..9", "a range needs an integer dtype before it, as in 1x8:int64:0..9"),
        ("1x3:int64:9..0", "9..0 is empty, as HIGH is excluded; write 0..10"),
        ("1x3:int64:5..5", "5..5 is empty, as HIGH is excluded; write 5..6"),
        ("1x3:int64:a..b", "'a..b' is no range; write LOW..HIGH"),
        ("1x3:int64:0..5:7", "has too many parts"),
        ("1x3:float32:0..5", "float32 takes no range; leave 0..5 off"),
        ("1x3:bool:0..5", "bool takes no range"),
        ("1x3:uint8:0..300", "0..300 does not fit into uint8, 0..256"),
        ("99999999x999999", "needs 372,529 GiB, and this machine has"),
        ("0x99999999999999999999", "GiB; use a smaller shape"),
        ("maskk=1x2", "forward has no 'maskk', the nearest is 'mask'; it takes x, mask, scale"),
        ("mask=1x2", "missing a required argument: 'x'; forward takes x, mask, scale: give one --input for each"),
        ("tx.pt", "there is no such file; check the path"),
        ("nowhere/x.npy", "there is no such file"),
    ],
)
def test_a_wrong_input_is_refused_in_one_line_with_a_remedy(folder: Path, spec: str, says: str) -> None:
    assert says in refusal(spec)


def test_inputs_that_do_not_fit_forward_are_refused_before_it_runs() -> None:
    assert "too many positional arguments" in refusal("1", "1", "1")
    assert "multiple values for argument 'x'" in refusal("1", "x=2")
    assert "'x' is given twice" in refusal("x=1", "x=2")


def test_a_file_that_is_not_what_its_suffix_says_is_refused(folder: Path) -> None:
    for name in ("bad.pt", "bad.npy", "bad.safetensors"):
        (folder / name).write_text("this is no tensor at all")
        assert f"--input {name}: cannot be read" in refusal(name)
    numpy.save(folder / "words.npy", numpy.array(["a"]))
    assert "cannot be read as a tensor" in refusal("words.npy")


def test_a_pickled_module_is_not_run(folder: Path) -> None:
    torch.save(Takes(), folder / "module.pt")
    assert "cannot be read (UnpicklingError)" in refusal("module.pt")


def test_the_nearest_file_is_named(folder: Path) -> None:
    torch.save(torch.ones(1), folder / "batch.pt")
    assert "there is no such file, the nearest is 'batch.pt'" in refusal("batch2.pt")


def test_a_dict_without_names_says_how_to_pass_it(folder: Path) -> None:
    torch.save({1: torch.ones(1)}, folder / "dict.pt")
    assert "keys are not all names; write NAME=dict.pt" in refusal("dict.pt")


@pytest.mark.parametrize(("name", "library"), [("a.npy", "numpy"), ("a.safetensors", "safetensors")])
def test_a_library_that_is_not_installed_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    (folder / name).write_text("")
    monkeypatch.setitem(sys.modules, library, None)
    assert refusal(name).endswith(f"needs {library}; run `pip install {library}`")
