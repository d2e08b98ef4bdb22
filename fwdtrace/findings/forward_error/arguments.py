"""FT006 for wrong arguments: missing or unexpected ones, something that is no tensor, another dtype or device."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from fwdtrace.findings.forward_error.changes import Converted, Given, Proposal, Step
from fwdtrace.findings.forward_error.failure import GIVE, SHAPE, Explain, Explanation, Failure
from fwdtrace.findings.forward_error.origins import argument_behind
from fwdtrace.trace import Call, Leaf, TensorMeta, Value
from fwdtrace.trace.text import name_of, shape_text
from fwdtrace.trace.values import tensors_in

DTYPES = {
    "Byte": "uint8",
    "Bool": "bool",
    "Short": "int16",
    "Int": "int32",
    "Long": "int64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Float": "float32",
    "Double": "float64",
    "ComplexFloat": "complex64",
    "unsigned char": "uint8",
    "int": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "bfloat16": "bfloat16",
}
"""The dtypes by the names that torch's messages use for them."""


def missing(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A forward that was called without an argument it needs."""
    if not _never_began(failure):
        return None
    names = match[2].replace("'", "")
    says = f"was called without its argument{'' if match[1] == '1' else 's'} {names}{_given(failure)}"
    if failure.call.path == "" and failure.call.site is None and failure.trace.model.spec:
        options = " ".join(f"--input {name}=SHAPE" for name in re.findall(r"'(\w+)'", match[2]))
        return Explanation(says, note=f"give {options}")
    return Explanation(says, note=f"pass {names}")


def unexpected(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A forward that was given a keyword it does not have."""
    if not _never_began(failure):
        return None
    return Explanation(f"has no argument {match[1]}{_given(failure)}", note=f"drop {match[1]}, or add it to forward")


def too_many(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A forward that was given more positional arguments than it has."""
    if not _never_began(failure):
        return None
    takes, got = (re.sub(r"\d+", lambda number: str(int(number[0]) - 1), text) for text in match.groups())  # less self
    return Explanation(f"takes {takes} positional argument{'' if takes == '1' else 's'}, got {got}")


def _never_began(failure: Failure) -> bool:
    """Whether the arguments did not fit the forward itself, so that it never ran, and not a function that it calls."""
    return failure.op is None and failure.error.type == "TypeError" and not failure.trace.children(failure.call)


def _given(failure: Failure) -> str:
    """The arguments that are no tensors; the message lists the tensors anyway."""
    values = [f"{leaf.name}={leaf.value}" for leaf in failure.inputs if isinstance(leaf, Value)]
    return f" (given {', '.join(values)})" if values else ""


def no_forward(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A container, or a class of the user's, that has no forward."""
    if match[1] in ("ModuleList", "ModuleDict"):
        fix = "loop over its modules" if match[1] == "ModuleList" else "call one of its modules, by its key"
        more = ", or make it an nn.Sequential" if match[1] == "ModuleList" else ""
        return Explanation("has no forward: it only holds modules", note=fix + more)
    return Explanation(
        "has no forward", note=f"define forward in {match[1]}; a wrong indent or a typo in its name hides it"
    )


def no_attribute(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A part of the module that its forward calls by a name that is nearly right, as Python itself would say."""
    if failure.op or match[1] != failure.call.class_name or failure.call.path is None:
        return None
    inside = f"{failure.call.path}." if failure.call.path else ""
    paths = [*(each.path for each in failure.trace.calls), *(each.path for each in failure.trace.uncalled)]
    names = {path.removeprefix(inside).partition(".")[0] for path in paths if path and path.startswith(inside)}
    near = get_close_matches(match[2], sorted(names), 1)
    return Explanation(f"has no attribute {match[2]}; the nearest name of its parts is {near[0]}") if near else None


def no_tensor(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A layer that was given a tuple, None or something else that is no tensor."""
    got = {"NoneType": "None"}.get(match[2], match[2])
    # The function in the message must be the one that the layer is named after, else something else in forward raised.
    if failure.op or not failure.inputs or match[1].replace("_", "") not in failure.call.class_name.lower():
        return None
    parameter = re.split(r"[.\[]", failure.inputs[0].name)[0]
    parts = [leaf for leaf in failure.inputs if re.split(r"[.\[]", leaf.name)[0] == parameter]
    if any(leaf.name == parameter and isinstance(leaf, TensorMeta) for leaf in parts):
        return None
    tensors = tensors_in(parts)
    says = f"expects a tensor, got {'' if got == 'None' else 'a '}{got}{_returned_by(failure, tensors)}"
    if not tensors:
        return Explanation(says + (_none_before(failure) if got == "None" else ""))
    says += f"; {tensors[0].name} in it is {shape_text(tensors[0].shape)}"
    part = tensors[0].name.removeprefix(parameter)
    if got == "dict" and part.startswith("."):
        part = f"[{part[1:]!r}]"
    return Explanation(says, failure.passed(Step("part", (part,))))


def _returned_by(failure: Failure, parts: tuple[TensorMeta, ...]) -> str:
    """The call that returned these tensors together, worded for the end of a sentence."""
    event = failure.trace.flow.producer(parts[0]) if parts else None
    if not isinstance(event, Call) or len(tensors_in(event.outputs)) != len(parts):
        return ""
    return f", as {name_of(event)} ({event.class_name}) returned"


def _none_before(failure: Failure) -> str:
    """The call that ran before and returned None, worded for the end of a sentence."""
    call: Call | None = failure.call
    while call is not None and any(_is_none(leaf) for leaf in call.inputs):
        parent = failure.trace.call(call.parent) if call.parent is not None else None
        before = [each for each in failure.trace.children(parent) if each.id < call.id]
        if before and len(before[-1].outputs) == 1 and _is_none(before[-1].outputs[0]):
            return f"; {name_of(before[-1])} ({before[-1].class_name}), which ran before it, returned None"
        call = parent
    return ""


def _is_none(leaf: Leaf) -> bool:
    return isinstance(leaf, Value) and leaf.value == "None"


def device(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """Operands or parameters on different devices."""
    tensors = [*failure.tensors, *failure.state]
    devices = list(dict.fromkeys(leaf.device for leaf in tensors))
    if len(devices) < 2:
        return None
    of_input = {leaf.device for leaf in failure.tensors}
    of_state = {leaf.device for leaf in failure.state}
    says = f"needs its tensors on one device, got {' and '.join(devices)}"
    if "meta" in of_state and "meta" not in of_input:
        note = f"{failure.name} has no data on meta: materialise it, .to_empty(device=…), and load its weights"
        return Explanation(says, note=note)
    if "meta" in of_input:
        return Explanation(says, note="a tensor on meta has no data: make it on the device of the others")
    if len(of_input) == len(of_state) == 1:
        note = f"move the input, x.to({of_state.pop()!r}), or the model, model.to({of_input.pop()!r})"
        return Explanation(says, note=note)
    return Explanation(says, note=f"move them together: .to({devices[0]!r})")


def dtype(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """Operands or parameters of different dtypes."""
    given = list(dict.fromkeys(leaf.dtype for leaf in failure.tensors))
    own = list(dict.fromkeys(leaf.dtype for leaf in failure.state if "float" in leaf.dtype))
    words = re.findall(r"unsigned char|[A-Za-z]\w*?(?=Tensor|\W|$)", match.string)
    # A dtype that is in the message but not here is that of a tensor that forward made itself.
    made_inside = {DTYPES[word] for word in words if word in DTYPES} - {*given, *own}
    if made_inside:
        return None
    if len(own) == 1 and given and own[0] not in given:
        says = f"expects {own[0]}, as its parameters are, got {given[0]}"
        proposals = as_dtype(failure, own[0])
        if "float" in given[0] and failure.call.path is not None:
            proposals += _converted(failure, given[0])
        return Explanation(says, proposals)
    mixed = list(dict.fromkeys([*given, *own]))
    floats = [each for each in mixed if "float" in each]
    if len(floats) > 1:  # integers beside them are indices, as those of a gather
        mixed = floats
    if len(mixed) < 2:
        return None
    says = f"needs one dtype, got {' and '.join(mixed)}"
    return Explanation(says, tuple(each for one in reversed(mixed) for each in as_dtype(failure, one, among=mixed)))


def _converted(failure: Failure, dtype: str) -> tuple[Proposal, ...]:
    """What raised, or a module around it below the model, in another dtype: which of them all has the wrong one?"""
    calls = [failure.call]
    while calls[-1].parent is not None:
        calls.append(failure.trace.call(calls[-1].parent))
    paths = [each.path for each in calls if each.path is not None and (each.path or each is failure.call)]
    return tuple(Proposal((Converted(path, dtype),), SHAPE + level / 10) for level, path in enumerate(paths))


def as_dtype(
    failure: Failure, dtype: str, *, first: bool = False, among: Sequence[str] | None = None
) -> tuple[Proposal, ...]:
    """Ways to have the tensors of what raised, or the first one, in a dtype: at the model, or right there.

    With `among`, tensors of other dtypes than these stay as they are.
    """
    others = [leaf for leaf in (failure.tensors[:1] if first else failure.tensors) if leaf.dtype != dtype]
    others = [leaf for leaf in others if among is None or leaf.dtype in among]
    if any("complex" in leaf.dtype for leaf in others):  # a conversion would drop the imaginary parts
        alone = len(others) == 1 and dtype.startswith("float")
        return failure.passed(Step("abs"), tensor=failure.tensors.index(others[0])) if alone else ()
    arguments = [argument_behind(failure.trace, leaf) for leaf in others]
    proposals: tuple[Proposal, ...] = ()
    if first and arguments and arguments[0] is not None:
        root = next((leaf for leaf in _root_tensors(failure) if leaf.name == arguments[0]), None)
        shape = root.shape if root is not None else None
        proposals += (Proposal((Given(arguments[0], shape, dtype),), GIVE),)
    elif arguments and None not in arguments:
        changes = tuple(Given(name, dtype=dtype) for name in dict.fromkeys(arguments) if name is not None)
        proposals += (Proposal(changes, GIVE - 0.6),)
    each = [failure.passed(Step("to", (f"torch.{dtype}",)), tensor=failure.tensors.index(leaf)) for leaf in others]
    if each and all(each):
        changes_here = tuple(change for (proposal,) in each for change in proposal.changes)
        proposals += (Proposal(changes_here, 1 + 0.1 * len(each)),)
    return proposals


def _root_tensors(failure: Failure) -> tuple[TensorMeta, ...]:
    """The tensors that the model was given."""
    *_, root = (failure.call, *failure.trace.callers(failure.call))
    return tensors_in(root.inputs)


def not_for_dtype(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An operation that torch does not have for this dtype."""
    name = DTYPES.get(match[1], match[1])
    on = {leaf.device.partition(":")[0] for leaf in failure.tensors}
    where = f" on {on.pop()}" if len(on) == 1 else ""
    proposals = as_dtype(failure, "float32") if name not in ("float32", "float64") else ()
    return Explanation(f"is not implemented for {name}{where}", proposals)


_FORWARD = r"^(?:[\w.<>]+\.)?forward\(\) "
_DTYPES_DIFFER = (
    r"must have the same dtype|to have the same dtype|should be the same|expected scalar type|mixed dtype"
    r"|does not match weight dtype|Found dtype|same scalar type"
)
_DEVICES_DIFFER = r"on device \w+(?::\d+)? is not on the expected device|expected all tensors to be on the same device"
ARGUMENTS: tuple[tuple[str, Explain], ...] = (
    (_FORWARD + r"missing (\d+) required (?:positional|keyword-only) arguments?: (.+)$", missing),
    (_FORWARD + r"got an unexpected keyword argument '(\w+)'", unexpected),
    (_FORWARD + r"takes ((?:from \d+ to )?\d+) positional arguments? but (\d+)", too_many),
    (r'Module \[(\w+)\] is missing the required "forward" function', no_forward),
    (r"^'(\w+)' object has no attribute '(\w+)'", no_attribute),
    (r"^(\w+)\(\): argument '\w+' \(position 1\) must be Tensor, not (\w+)", no_tensor),
    (
        r"^(\w+)\(\) received an invalid combination of arguments - got \((\w+)(?<!Tensor)(?<!Parameter)[,)]",
        no_tensor,
    ),
    (f"(?i){_DEVICES_DIFFER}|should be the same", device),
    (_DTYPES_DIFFER, dtype),
    (r"not implemented for '(\w+)'", not_for_dtype),
)
"""Patterns of the messages of torch or Python, each with the function that explains it."""
