"""Files and modules are imported as Python itself would import them, and an error says whose fault it is."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from fwdtrace.errors import SpecError
from fwdtrace.models.load import load_model
from tests.models.test_load import NET


def test_the_script_part_of_a_file_is_not_run(folder: Path) -> None:
    (folder / "net.py").write_text(NET)
    assert type(load_model("net.py:Net").module).__module__ == "net"


def test_the_folder_of_a_file_is_importable_to_it(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "sizes.py").write_text("DEPTH = 11\n")
    (folder / "deep" / "user.py").write_text(
        NET.replace("depth=2", "depth=sizes.DEPTH").replace("from", "import sizes\nfrom", 1)
    )
    assert load_model("deep/user.py:Net").module.depth == 11


def test_a_file_in_a_package_may_import_relatively(folder: Path) -> None:
    package = folder / "parts" / "inner"
    package.mkdir(parents=True)
    for place in (folder / "parts", package):
        (place / "__init__.py").write_text("")
    (folder / "parts" / "net.py").write_text(NET)
    (package / "again.py").write_text("from ..net import Net as Again\n")
    assert load_model("parts/inner/again.py:Again(depth=4)").module.depth == 4


def test_a_file_named_like_a_module_python_has_does_not_replace_it(folder: Path) -> None:
    import queue

    (folder / "queue.py").write_text(NET)
    module = load_model("queue.py:Net").module
    assert type(module).__module__.startswith("queue_")
    assert sys.modules["queue"] is queue
    assert pickle.loads(pickle.dumps(module)).depth == 2


def test_a_dataclass_in_a_file_with_no_importable_name_works(folder: Path) -> None:
    (folder / "my-net.py").write_text(
        "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass Size:\n    n: int = 4\n"
        + NET
    )
    assert load_model("my-net.py:Net").module.depth == 2


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("import absent_library\n", ModuleNotFoundError),
        ("def broken(:\n", SyntaxError),
        ("raise SystemExit(3)\n", SystemExit),
        ("1 / 0\n", ZeroDivisionError),
    ],
)
@pytest.mark.parametrize("spec", ["bad.py:Net", "bad:Net"])
def test_an_import_that_fails_is_the_cause_of_the_error(
    folder: Path, source: str, kind: type[BaseException], spec: str
) -> None:
    (folder / "bad.py").write_text(source)
    with pytest.raises(SpecError, match=r"'bad' was found, but importing it raised") as caught:
        load_model(spec)
    assert type(caught.value.__cause__) is kind


def test_a_module_that_does_not_find_its_own_parts_is_not_a_wrong_spec(folder: Path) -> None:
    (folder / "parts").mkdir()
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "parts" / "net.py").write_text("from parts import missing\nimport parts.absent\n")
    with pytest.raises(SpecError, match="importing it raised"):
        load_model("parts.net:Net")


def test_a_file_that_failed_can_be_mended_and_loaded(folder: Path) -> None:
    (folder / "my-net.py").write_text("1 / 0\n")
    with pytest.raises(SpecError):
        load_model("my-net.py:Net")
    (folder / "my-net.py").write_text(NET)
    assert load_model("my-net.py:Net").module.depth == 2
