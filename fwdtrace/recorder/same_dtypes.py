"""Without values torch looks at fewer dtypes than with them: what raises then raises without them as well."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fwdtrace.recorder.dispatch_mode import DispatchMode
from fwdtrace.recorder.frames import frame_role

_ATEN = torch.ops.aten
_NORMS = {_ATEN.native_layer_norm.default, _ATEN.native_batch_norm.default, _ATEN.native_group_norm.default}
_CHECKED = {_ATEN.mm.default, _ATEN.addmm.default, _ATEN.convolution.default, *_NORMS}
_HALVES = (torch.float16, torch.bfloat16)


class SameDtypes(DispatchMode):
    """Raises where a product or a norm is given different dtypes, as long as the block runs."""

    @frame_role("stand-in")
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function, if the dtypes are those that it takes."""
        if function in _CHECKED:
            dtypes = list(dict.fromkeys(each.dtype for each in args if isinstance(each, Tensor)))
            if len(dtypes) > 1 and not _may_be_mixed(function, dtypes):
                got = " and ".join(map(str, dtypes))
                raise RuntimeError(
                    f"expected the operands of {function.overloadpacket} to have the same dtype, but got {got}"
                )
        return function(*args, **(kwargs or {}))


def _may_be_mixed(function: Any, dtypes: list[torch.dtype]) -> bool:
    """Whether an op takes these dtypes together: a norm of halves its parameters as float32; under autocast, any."""
    torch.autocast_increment_nesting()
    if torch.autocast_decrement_nesting() > 0:  # it converts what has values alone
        return True
    return function in _NORMS and dtypes[0] in _HALVES and dtypes[1:] == [torch.float32]
