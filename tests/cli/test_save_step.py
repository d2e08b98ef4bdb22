"""`exec --save-step` and `run DIR/capsule.json`: the call of a program is made again after the program has ended."""

from __future__ import annotations

from pathlib import Path

from fwdtrace import load_trace
from tests.helpers.commands import Command, finish, start

PROGRAM = """\
import sys
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self{parameter}):
        super().__init__()
        self.layer, self.drop = nn.Linear(4, 3), nn.Dropout(0.5)

    def forward(self, x, scale=1.0):
        h = self.drop(self.layer(x)) / float(scale)
        return h + (h * (x[:, :1] != 7)).square().sum(1, keepdim=True).sqrt()


class Descent:
    def __init__(self, parameters):
        self.parameters = list(parameters)

    def step(self):
        for parameter in self.parameters:
            parameter.data -= 0.001 * parameter.grad

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None


def main():
    torch.manual_seed(3)
    net = Net({argument})
    optimizer = {optimizer}(net.parameters())
    for step in range(4):
        x = torch.randn(2, 4)
        if step == 2:
            x[1, 0] = {seven}
        net(x, scale={scale}).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main()
"""


def saved(folder: Path, **parts: str) -> str:
    """What is said of a program that saves its step into `step`; an optimizer of torch's imports its compiler."""
    parts = {"parameter": "", "argument": "", "seven": "7", "scale": "1.0", "optimizer": "Descent", **parts}
    (folder / "train.py").write_text(PROGRAM.format(**parts), encoding="utf-8")
    ran = finish(start("exec", "--on", "nonfinite", "-o", "t.json", "--save-step", "step", "train.py"))
    assert ran.status == 0, ran.err
    return next(line for line in ran.err.splitlines() if "step" in line and "save" in line)


def messages(file: Path | str) -> list[str]:
    return [finding.message for finding in load_trace(file).findings if finding.code == "FT005"]


def test_backward_runs_again_from_the_gradients_that_had_come(folder: Path, command: Command) -> None:
    said = saved(folder, optimizer="torch.optim.Adam")
    assert said == f"fwdtrace: saved the step, for fwdtrace run {folder / 'step/capsule.json'}"
    ran = command("run", "step/capsule.json", "--backward", "-o", "again.json")
    assert ran.status == 0, ran.err
    assert messages("again.json") == messages("t.json")
    assert "the backward of Tensor.sqrt in the model made" in messages("t.json")[0]
    mended = Path("train.py").read_text(encoding="utf-8").replace(".sqrt()", ".add(1).sqrt()")
    Path("mended.py").write_text(mended, encoding="utf-8")
    ran = command("run", "mended.py:Net", "--capsule", "step/capsule.json", "-o", "mended.json")
    assert ran.err == (
        "fwdtrace: the backward of the saved call made NaN or infinite values in its program, and does not here\n"
    )


def test_forward_runs_again_with_the_same_numbers(folder: Path, command: Command) -> None:
    saved(folder, scale="float(step != 2)")
    command("run", "step/capsule.json", "--check-finite", "--stats", "-o", "again.json")
    assert messages("again.json") == messages("t.json") != []
    first, again = load_trace("t.json"), load_trace("again.json")
    assert [call.outputs[0].stats for call in again.calls] == [call.outputs[0].stats for call in first.calls]  # type: ignore[union-attr]
    assert command("run", "step/capsule.json", "--device", "meta").status == 0


def test_it_runs_in_another_type(folder: Path, command: Command) -> None:
    saved(folder, seven="1e30")  # whose square is beyond float32
    for dtype, overflows in (("float32", True), ("float64", False)):
        ran = command("run", "step/capsule.json", "--check-finite", "--dtype", dtype, "-o", "again.json")
        assert (ran.status, messages("again.json") != []) == (0, overflows)
        not_again = "the saved call gave NaN or infinite values in its program, and does not in float64"
        assert ran.err == ("" if overflows else f"fwdtrace: {not_again}\n")
        (call,) = load_trace("again.json").children()
        given, weight = call.inputs[0], load_trace("again.json").calls[1].outputs[0]
        assert (given.dtype, weight.dtype) == (dtype, dtype)  # type: ignore[union-attr]
    refused = command("run", "step/capsule.json", "--dtype", "float5")
    assert (refused.status, refused.err) == (
        2,
        "fwdtrace: --dtype float5: there are bfloat16, float16, float32, float64\n",
    )


def test_a_class_that_takes_arguments_is_to_be_named(folder: Path, command: Command) -> None:
    said = saved(folder, parameter=", width", argument="4", scale="float(step != 2)")
    assert f"for fwdtrace run SPEC --capsule {folder / 'step/capsule.json'}; SPEC names what builds the Net" in said
    refused = command("run", "step/capsule.json")
    assert refused.status == 2
    assert "how to build a __main__.Net is not known; name what builds it: fwdtrace run SPEC --capsule" in refused.err
    assert command("run", "train.py:Net(4)", "--capsule", "step/capsule.json").status == 0


def test_an_argument_that_cannot_be_written_is_said(folder: Path, command: Command) -> None:
    said = saved(folder, scale='__import__("fractions").Fraction(int(step != 2))')
    assert "it could not hold kwargs.scale: a fractions.Fraction" in said
    refused = command("run", "step/capsule.json")
    assert (refused.status, "this was not written: kwargs.scale" in refused.err) == (2, True)


def test_a_step_is_saved_of_an_event_alone(folder: Path, command: Command) -> None:
    (folder / "train.py").touch()
    refused = command("exec", "--save-step", "step", "train.py")
    assert (refused.status, "say what by --on nonfinite" in refused.err) == (2, True)
