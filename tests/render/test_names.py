"""Names that are too long do without their namespace, and stay apart."""

from __future__ import annotations

from fwdtrace.render.tree import tree_text
from fwdtrace.trace import Op
from tests.helpers.traces import call, tensor, trace


def test_an_op_does_without_its_namespace_where_there_is_no_room() -> None:
    names = ("Tensor.reshape", "Tensor.permute", "torch.arange", "torch.abs", "F.gelu", "+")
    root = call(0, None, "", "Net")
    ops = [Op(n, 0, name, (tensor(1, 16),), (tensor(1, 16),), root.site) for n, name in enumerate(names, 1)]
    text = tree_text(trace(root, ops=tuple(ops)), width=30, columns=["output", "called"])
    shown = [line.split()[0] for line in text.splitlines() if line.startswith(("├", "└"))]
    assert shown == ["├╴.reshape", "├╴.permute", "├╴…arange", "├╴torch.abs", "├╴F.gelu", "└╴+"]
