"""What the shell offers for a word that is being typed: names, codes and keys. Nothing here waits for torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fwdtrace.models.zoo import BUILT_INS

LIBRARIES = ("torchvision:", "timm:", "transformers:")


def specs(incomplete: str) -> list[str]:
    """The built-in models and the libraries; the shell itself offers files where none of these fits."""
    return _beginning([*(model.name for model in BUILT_INS), *LIBRARIES], incomplete)


def codes(incomplete: str) -> list[str]:
    """The codes of the findings, in letters of either case."""
    from fwdtrace.findings.explained import RULES

    return _beginning([rule.code for rule in RULES], incomplete)


def codes_in_a_list(incomplete: str) -> list[str]:
    """The same behind the last comma, and `any`."""
    return _in_a_list([*codes(""), "any"], incomplete)


def keys(known: Sequence[str]) -> Callable[[str], list[str]]:
    """A function that gives those of the keys that begin like a word."""

    def beginning(incomplete: str) -> list[str]:
        return _beginning(known, incomplete)

    return beginning


def keys_in_a_list(known: Sequence[str]) -> Callable[[str], list[str]]:
    """The same for keys behind the last comma."""

    def beginning(incomplete: str) -> list[str]:
        return _in_a_list(known, incomplete)

    return beginning


def _in_a_list(words: Iterable[str], incomplete: str) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [before + comma + word for word in _beginning(words, last) if word not in given]


def _beginning(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.lower().startswith(incomplete.lower())]
