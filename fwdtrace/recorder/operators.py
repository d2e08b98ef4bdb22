"""The operators in a piece of code, such as `+` and `[]`, by the instruction that runs them."""

from __future__ import annotations

import dis
import functools
from types import CodeType


def operator_at(code: CodeType, instruction: int) -> str:
    """The operator at a place in a piece of code; "" if there is none."""
    return _operators_in(code).get(instruction, "")


@functools.lru_cache(maxsize=64)
def _operators_in(code: CodeType) -> dict[int, str]:
    """The operators in a piece of code by where they stand."""
    found = {}
    for each in dis.get_instructions(code):
        if each.opname in ("BINARY_OP", "COMPARE_OP"):
            found[each.offset] = str(each.argrepr).removeprefix("bool(").removesuffix(")")
        elif each.opname in _OPERATORS:
            found[each.offset] = _OPERATORS[each.opname]
    return found


_OPERATORS = {
    "BINARY_SUBSCR": "[]",
    "BINARY_SLICE": "[]",
    "STORE_SUBSCR": "[]=",
    "STORE_SLICE": "[]=",
    "UNARY_NEGATIVE": "-",
    "UNARY_INVERT": "~",
    "BINARY_ADD": "+",
    "BINARY_SUBTRACT": "-",
    "BINARY_MULTIPLY": "*",
    "BINARY_TRUE_DIVIDE": "/",
    "BINARY_FLOOR_DIVIDE": "//",
    "BINARY_MODULO": "%",
    "BINARY_POWER": "**",
    "BINARY_MATRIX_MULTIPLY": "@",
    "BINARY_AND": "&",
    "BINARY_OR": "|",
    "BINARY_XOR": "^",
    "INPLACE_ADD": "+=",
    "INPLACE_SUBTRACT": "-=",
    "INPLACE_MULTIPLY": "*=",
    "INPLACE_TRUE_DIVIDE": "/=",
    "INPLACE_MATRIX_MULTIPLY": "@=",
}
"""By the instruction's name, where it does not carry the operator itself (the binary ones up to Python 3.10).

Those of a slice come from Python 3.12 on.
"""
