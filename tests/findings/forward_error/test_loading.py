"""FT006 on messages of `load_state_dict`: names with a prefix, names that are not there, and other shapes."""

from __future__ import annotations

import pytest

from tests.helpers.crashes import explained, layer

SAYS = "net (Net) cannot load these weights into Net: "
SHAPES = (
    "\tsize mismatch for head.weight: copying a param with shape torch.Size([10, 8]) from checkpoint, the shape in"
    " current model is torch.Size([5, 8]).\n"
    "\tsize mismatch for head.bias: copying a param with shape torch.Size([10]) from checkpoint, the shape in current"
    " model is torch.Size([5])."
)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            '\tMissing key(s) in state_dict: "a.weight", "a.bias". \n'
            '\tUnexpected key(s) in state_dict: "module.a.weight", "module.a.bias". ',
            "the loaded names begin with 'module.', and the others do not; DataParallel and DistributedDataParallel"
            " save such names; load {name.removeprefix('module.'): tensor for name, tensor in state.items()}"
            " (not tried)",
        ),
        (
            '\tMissing key(s) in state_dict: "body.a". \n\tUnexpected key(s) in state_dict: "a". ',
            "the model's names begin with 'body.', and the others do not",
        ),
        (
            '\tMissing key(s) in state_dict: "a". \n\tUnexpected key(s) in state_dict: "b", "c". ',
            "1 name missing, a; 2 names that the model does not have, b and c",
        ),
        (SHAPES, "head.weight is 10×8, and the model's is 5×8; head.bias is 10, and the model's is 5"),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(lines: str, says: str) -> None:
    assert explained(layer("net", "Net"), f"Error(s) in loading state_dict for Net:\n{lines}") == SAYS + says
