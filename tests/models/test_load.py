"""Specs are judged by what Python itself does with the file or module they name, and by what a person needs to read."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from fwdtrace.errors import SpecError
from fwdtrace.models.load import load_model

NET = """
from torch import nn

class Block(nn.Module):
    pass

class Net(nn.Module):
    def __init__(self, depth=2, act="relu", sizes=()):
        super().__init__()
        self.depth, self.act, self.sizes = depth, act, sizes

class Wide(nn.Module):
    def __init__(self, width: int, name: str, bias=True):
        super().__init__()

class Configured(nn.Module):
    def __init__(self, config: Block):
        super().__init__()

class Group:
    inner = Net(depth=7)

def build(depth=5):
    return Net(depth)

def pair():
    return Net(), "tokenizer"

model = Net(depth=9)
settings = {"depth": 3}

if __name__ == "__main__":
    raise SystemExit("run as a script")
"""


@pytest.fixture
def net(folder: Path) -> Path:
    """The folder with the file `net.py`."""
    (folder / "net.py").write_text(NET)
    return folder


def refusal(spec: str) -> str:
    """What loading says, which must be the fault of the spec alone and fit on one line."""
    with pytest.raises(SpecError) as caught:
        load_model(spec)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_built_in_name_brings_the_inputs_it_wants(folder: Path) -> None:
    loaded = load_model("nested")
    assert (type(loaded.module).__name__, loaded.inputs) == ("Nested", ("image=1x3x8x8", "mask=1x8x8:bool"))


def test_a_built_in_model_takes_literal_arguments(folder: Path) -> None:
    loaded = load_model("blocks(depth=3)")
    assert len(loaded.module.layers) == 3
    assert loaded.spec == "blocks(depth=3)"


@pytest.mark.parametrize(
    ("spec", "depth"),
    [
        ("net.py:Net", 2),
        ("net.py:Net(4)", 4),
        ("net.py:Net(depth=4, sizes=[1, 2])", 4),
        ("net.py:Net(**{'depth': 6})", 6),
        ("net.py: Net(act='a:b')", 2),
        ("./net.py:build", 5),
        ("net.py:build(3)", 3),
        ("net.py:model", 9),
        ("net.py:Group.inner", 7),
        ("net:Net(depth=4)", 4),
        ("net:Group.inner", 7),
    ],
)
def test_a_class_a_function_and_an_instance_can_be_named(net: Path, spec: str, depth: int) -> None:
    loaded = load_model(spec)
    assert (loaded.module.depth, loaded.inputs) == (depth, ("1x3x32x32",))


def test_an_installed_module_can_be_named(folder: Path) -> None:
    assert isinstance(load_model("torch.nn:Linear(3, 4, bias=False)").module, nn.Linear)


def test_paths_may_hold_colons_and_spaces(net: Path) -> None:
    strange = net / "my models: old"
    strange.mkdir()
    (strange / "net 2:1.py").write_text(NET)
    assert load_model("my models: old/net 2:1.py:Net(depth=8)").module.depth == 8


def test_a_file_with_one_model_needs_no_name(folder: Path) -> None:
    (folder / "one.py").write_text(
        "from torch import nn\nfrom torch.nn import Linear\nclass Only(nn.Module):\n    pass\n"
    )
    assert type(load_model("one.py").module).__name__ == "Only"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("lenett", "no built-in model is named 'lenett', the nearest is 'lenet'; `fwdtrace models` lists them"),
        ("", "no built-in model is named ''"),
        ("nett.py:Net", "there is no file 'nett.py', the nearest is 'net.py'"),
        ("nowhere/net.py:Net", "there is no folder 'nowhere'"),
        ("C:\\nets\\net.py:Net", "there is no file 'C:\\\\nets\\\\net.py'"),
        (
            "net.py",
            "'net.py' needs the name of a model, such as net.py:Configured; it has Block, Net, Wide, Configured",
        ),
        ("net.py:", "'' is no name and no call such as Net(depth=3)"),
        ("net.py:Net(depth=", "'Net(depth=' is no name and no call"),
        ("net.py:Net(depth=n)", "'n' is not a literal; arguments are literals such as 3, 'gelu' or [1, 2]"),
        ("net.py:Nett", "'net.py' has no 'Nett', the nearest is 'Net'; it has Block, Net, Wide, Configured"),
        (
            "net.py:Net(depht=3)",
            "net.py:Net(depth=2, act='relu', sizes=()): got an unexpected keyword argument 'depht'",
        ),
        ("net.py:Wide", "write net.py:Wide(width=8, name='name'), or name a function that builds it"),
        ("net.py:Configured", "missing a required argument: 'config'; arguments are literals"),
        ("net.py:settings", "'net.py:settings' is a dict, not an nn.Module"),
        ("net.py:Group", "'net.py:Group' is a class, not an nn.Module"),
        ("net.py:pair", "'net.py:pair' returned a tuple, not an nn.Module; return the module alone"),
        ("net.py:model(3)", "'net.py:model' is a module already and takes no arguments here"),
        ("torch:nn", "'torch:nn' is a Python module, not an nn.Module"),
        ("nett:Net", "no module is named 'nett', the nearest is 'net'"),
        ("torch.optm:SGD", "no module is named 'torch.optm', the nearest is 'optim'"),
        ("json.decoder.nets:Net", "no module is named 'json.decoder.nets'"),
        ("my-net:Net", "'my-net' is neither a Python file nor the name of a module"),
        ("net.ipynb/a:Net", "there is no folder 'net.ipynb'"),
    ],
)
def test_a_wrong_spec_is_refused_in_one_line_with_a_remedy(net: Path, spec: str, says: str) -> None:
    assert says in refusal(spec)


def test_a_file_without_models_says_what_to_name(folder: Path) -> None:
    (folder / "empty.py").write_text("x = 1\n")
    assert refusal("empty.py") == (
        "'empty.py' defines no nn.Module; name a function that builds one, empty.py:build, or run it as a program, "
        "fwdtrace exec empty.py"
    )


def test_a_model_without_arguments_wants_no_inputs(folder: Path) -> None:
    (folder / "alone.py").write_text("from torch import nn\nclass Net(nn.Module):\n    def forward(self): return 1\n")
    assert load_model("alone.py:Net").inputs == ()


def test_a_constructor_that_raises_is_the_cause_of_the_error(folder: Path) -> None:
    (folder / "bad.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self): raise TypeError('no')\n"
    )
    with pytest.raises(SpecError, match=r"building 'bad\.py:Net' raised") as caught:
        load_model("bad.py:Net")
    assert isinstance(caught.value.__cause__, TypeError)
