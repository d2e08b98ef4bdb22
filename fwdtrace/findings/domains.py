"""Why a function or its derivative gives NaN or infinity: from its name and the numbers that it was given there."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from fwdtrace.trace import Leaf, Operand, Stats, TensorMeta, Value

LIMITS = {"float16": "65,504", "bfloat16": "3.4e38", "float32": "3.4e38", "float64": "1.8e308"}
"""Where the numbers of a type end."""

_OPERATORS = {
    **dict.fromkeys(("/", "/=", "//", "//="), "div"),
    **{"**": "pow", "**=": "pow", "%": "remainder", "@": "matmul", "*": "mul", "-": "sub", "+": "add"},
}
_SAME = {
    **dict.fromkeys(("divide", "true_divide", "floor_divide", "__truediv__", "__rtruediv__"), "div"),
    **dict.fromkeys(("__pow__", "__rpow__", "float_power", "pow_tensor_scalar", "pow_tensor_tensor"), "pow"),
    **{
        "arccos": "acos",
        "arcsin": "asin",
        "arctanh": "atanh",
        "arccosh": "acosh",
        "std_mean": "std",
        "var_mean": "var",
    },
    **{"fmod": "remainder", "special_log_softmax": "log_softmax", "special_softmax": "softmax"},
}


def function_of(name: str) -> str:
    """What an op or a step of backward computes, by one name: `sqrt` for `Tensor.sqrt_` and for `SqrtBackward0`."""
    if name in _OPERATORS:
        return _OPERATORS[name]
    short = name.rpartition(".")[2]
    step = re.sub(r"Backward\d*$", "", short)
    if step != short:
        short = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", step).lower()
    short = short if short.startswith("__") else short.rstrip("_")
    return _SAME.get(short, short)


def step_name(node: str) -> str:
    """What a node of the graph of backward computes: `sqrt` for `SqrtBackward0`, the name of a user's function."""
    return function_of(node) if node[-1:].isdigit() else node.removesuffix("Backward")


def why_undefined(function: str, operands: Sequence[Operand], inputs: Sequence[Leaf], nan: bool) -> str:
    """Why a function gave NaN or infinity for these numbers; "" if that is not known.

    `inputs` are all that it got; `nan` says whether there is a NaN in the result, and not only infinities.
    """
    if function in ("div", "remainder"):
        return _divisor(operands, inputs)
    if function == "pow" and not nan:  # of a number below 0 it is NaN, and else too large
        return _zero("its base is 0 there")(operands[0].stats) if operands and operands[0].stats else ""
    domain = _DOMAINS.get(function)
    stats = operands[0].stats if operands else None
    return domain(stats) if domain is not None and stats is not None else ""


def why_steep(function: str, saved: Sequence[Operand]) -> str:
    """Why the derivative of a function is NaN or infinite for what backward had saved; "" if that is not known."""
    known = {operand.name: operand.stats for operand in saved if operand.stats is not None and not operand.everywhere}
    steep = _SLOPES.get(function)
    if steep is None:
        return ""
    name, why = steep
    stats = known.get(name)
    return why(stats) if stats is not None else ""


def _divisor(operands: Sequence[Operand], inputs: Sequence[Leaf]) -> str:
    if len(inputs) > 1 and isinstance(inputs[1], Value):
        return "it divides by 0" if inputs[1].value in ("0", "0.0") else ""
    tensors = [leaf.name for leaf in inputs if isinstance(leaf, TensorMeta)]
    divisor = next((each for each in operands if tensors and each.name == tensors[-1]), None)
    if divisor is None or divisor.stats is None or not divisor.stats.zeros:
        return ""
    return "its divisor has zeros" if divisor.everywhere else "its divisor is 0 there"


def _within(low: float | None, high: float | None, at_bounds: str = "") -> Callable[[Stats], str]:
    """A function that is not defined beyond these bounds, or infinite at them."""

    def why(stats: Stats) -> str:
        if low is not None and stats.min is not None and stats.min < low:
            return f"its input is below {low:g} there, down to {stats.min:.4g}"
        if high is not None and stats.max is not None and stats.max > high:
            return f"its input is above {high:g} there, up to {stats.max:.4g}"
        return at_bounds if {low, high} & {stats.min, stats.max} - {None} else ""

    return why


def _zero(words: str) -> Callable[[Stats], str]:
    return lambda stats: words if stats.zeros else ""


_INPUT_0 = "its input is 0 there"
_DOMAINS: dict[str, Callable[[Stats], str]] = {
    **dict.fromkeys(("log", "log2", "log10", "rsqrt"), _within(0, None, _INPUT_0)),
    "sqrt": _within(0, None),
    "reciprocal": _zero(_INPUT_0),
    "log1p": _within(-1, None, "its input is -1 there"),
    **dict.fromkeys(("acos", "asin"), _within(-1, 1)),
    **dict.fromkeys(("atanh", "erfinv"), _within(-1, 1, "its input is 1 or -1 there")),
    "logit": _within(0, 1, "its input is 0 or 1 there"),
    "acosh": _within(1, None),
    "pow": _within(0, None, "its base is 0 there"),
}


def _root(stats: Stats) -> str:
    if stats.nan:
        return "its result is NaN there, as its input is below 0"
    return "its input is 0 there, where the slope of a square root is infinite" if stats.zeros else ""


_SLOPES: dict[str, tuple[str, Callable[[Stats], str]]] = {
    "sqrt": ("result", _root),
    "pow": ("self", _within(0, None, "its base is 0 there, where the slope of a power below 1 is infinite")),
    "div": ("other", _zero("its divisor is 0 there")),
    **dict.fromkeys(
        ("acos", "asin"), ("self", _within(-1, 1, "its input is 1 or -1 there, where its slope is infinite"))
    ),
    "atanh": ("self", _within(-1, 1, "its input is 1 or -1 there")),
    "acosh": ("self", _within(1, None, "its input is 1 there, where its slope is infinite")),
    **dict.fromkeys(("log", "log2", "log10", "xlogy"), ("self", _within(0, None, _INPUT_0))),
    "log1p": ("self", _within(-1, None, "its input is -1 there")),
    "atan2": ("self", _zero("both its inputs are 0 there")),
    **dict.fromkeys(("norm", "linalg_vector_norm"), ("result", _zero("the norm there is 0, where it has no slope"))),
}
"""By function: which of the saved tensors tells, and what its numbers mean."""
