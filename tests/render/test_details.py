"""The tables of all that is known of a call or op."""

from __future__ import annotations

from fwdtrace.render.details import Table, gradients, tables
from fwdtrace.trace import CallError, Gradient, Op
from tests.helpers.traces import call, everything, tensor

SITE = Table("from", (("/home/user/model.py:10",), ("in Net.forward",), ("x = self.layer(x)",)))
RAN = Table("ran", (("Module._wrapped_call_impl → Module._call_impl → forward",),))


def test_a_plain_call_has_what_went_in_what_came_out_what_ran_and_from_where() -> None:
    assert list(tables(call(0, None, "", "Net", parameters=8))) == [
        Table("input", (("input", "1×16", "float32", "cpu"),), ("name", "shape", "dtype", "device")),
        Table("output", (("1×16", "float32", "cpu"),), ("shape", "dtype", "device")),
        RAN,
        Table("facts", (("parameters", "8"),)),
        SITE,
    ]


def test_an_op_that_raised_tells_its_error_first() -> None:
    op = Op(1, 0, "torch.cat", (tensor(2, name="0"),), error=CallError("RuntimeError", "no", raised_below=True))
    assert list(tables(op)) == [
        Table("error", (("RuntimeError: no",), ("raised below, and passed on",))),
        Table("input", (("0", "2", "float32", "cpu"),), ("name", "shape", "dtype", "device")),
        Table("output", (("nothing",),)),
    ]


def test_everything_that_was_measured_is_told() -> None:
    found = {table.title: table.rows for table in tables(everything().calls[0])}
    assert found["input"] == (
        (
            *("x.parts[0]", "2×?", "bfloat16", "cuda:1", "sparse_coo, Shard(0), here 1×?, requires grad"),
            *("0.5", "-1", "2.5", "3", "4", "5"),
        ),
        ("scale", "2.0", *("",) * 9),
    )
    assert found["not finite"] == (
        ("NaN", "1"), ("infinite", "2"), ("inputs", "all finite: it began here"), ("in parameters", "weight"),
    )  # fmt: skip
    assert found["hooks"][0] == ("forward pre-hook", "model.look", "changed a value", "/home/user/model.py:3")
    assert found["facts"] == (
        ("parameters", "1,234"), ("FLOPs", "99"), ("backward", "12 µs, #0"), ("settings", "in_features=4"),
        ("also named", "other, third"), ("thread", "worker-1"), ("not seen below", "script"),
    )  # fmt: skip


def test_gradients_are_told_by_parameter() -> None:
    rows = (
        Gradient("weight", (2, 3), True, 0.25, 1, 2),
        Gradient("bias", (), True, None),
        Gradient("b", (2,), False, None),
    )
    assert gradients(rows).rows == (
        ("weight", "2×3", "0.25", "1", "2"), ("bias", "scalar", "none", "0", "0"), ("b", "2", "frozen", "0", "0"),
    )  # fmt: skip
