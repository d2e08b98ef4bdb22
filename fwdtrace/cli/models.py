"""`fwdtrace models`: the built-in models, one line each, or the names of the models of a library such as timm."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

from fwdtrace.cli.declared import argument, option
from fwdtrace.errors import FwdtraceError
from fwdtrace.models.spec import nearest
from fwdtrace.models.zoo import BUILT_INS


def models(
    pattern: Annotated[
        str, argument(metavar="PATTERN", help="Only names like this, 'vit*'; all if there is none.")
    ] = "*",
    source: Annotated[
        str | None, option(metavar="NAME", help="List the models of torchvision, timm or transformers.")
    ] = None,
) -> None:
    """List the built-in models, or those of a library.

    Example: fwdtrace models --source timm 'vit*'
    """
    summaries = {model.name: model.summary for model in BUILT_INS}
    if source is not None:
        from fwdtrace.models.sources import names_of

        summaries = dict.fromkeys(names_of(source), "")
    names = [name for name in summaries if fnmatchcase(name, pattern)]
    if not names:
        near = nearest(pattern, summaries) if source is not None else _of_a_library(pattern)
        raise FwdtraceError(f"no {source or 'built-in'} model is named like {pattern!r}{near}")
    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {summaries[name]}".rstrip())


def _of_a_library(pattern: str) -> str:
    """What to write for the models of an installed library that are named so, or begin so."""
    from fwdtrace.models.sources import LIBRARIES, names_of

    begins = pattern if "*" in pattern else f"{pattern}*"
    for library in LIBRARIES:
        try:
            if any(fnmatchcase(name, begins) for name in names_of(library)):
                return f"; write fwdtrace models --source {library} '{begins}'"
        except FwdtraceError:  # a library that is not there, or cannot be imported, has nothing to offer
            continue
    return nearest(pattern, (model.name for model in BUILT_INS))
