"""The findings as a person reads them: those of one code at one line are one, with the modules that they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fwdtrace.render.paths import in_braces
from fwdtrace.trace import Finding, Site, Trace
from fwdtrace.trace.text import first_few, multiplied, name_of

MOST_NAMES = 3
MOST_MESSAGES = 3
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Said:
    """What findings say that differ at most in the name of a module and in numbers: that of the first, in its words.

    `names` are the modules that several of them are about, `""` for a single one.
    """

    message: str
    times: int
    names: str

    @property
    def how_many(self) -> str:
        """`×24: blocks.{0…23}.conv`; `""` for a single one."""
        if self.times == 1:
            return ""
        return f"{multiplied(self.times)}: {self.names}" if self.names else multiplied(self.times)


@dataclass(frozen=True, slots=True)
class Group:
    """The findings of one code at one line, or of one code that have no line and say the same."""

    code: str
    name: str
    site: Site | None
    findings: tuple[Finding, ...]
    said: tuple[Said, ...]

    @property
    def title(self) -> str:
        """`FT001 direct-forward`."""
        return f"{self.code} {self.name}"

    @property
    def messages(self) -> list[str]:
        """What is said, each paragraph a text; of several kinds the first few, each with how many there are of it."""
        texts: list[str] = []
        for said in self.said[:MOST_MESSAGES]:
            texts += [said.how_many] if said.times > 1 else []
            texts += said.message.splitlines()
        left = sum(said.times for said in self.said[MOST_MESSAGES:])
        return [*texts, f"…{left:,} more, --json has all"] if left else texts


def grouped(trace: Trace) -> list[Group]:
    """The findings of a trace in groups, in order of the first of each."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in trace.findings:
        site = finding.site
        where = (site.file, site.line) if site else ("", _kind(trace, finding))
        groups.setdefault((finding.code, finding.name, *where), []).append(finding)
    return [
        Group(found[0].code, found[0].name, found[0].site, tuple(found), tuple(_said(trace, found)))
        for found in groups.values()
    ]


def _said(trace: Trace, findings: list[Finding]) -> Iterator[Said]:
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(_kind(trace, finding), []).append(finding)
    for alike in kinds.values():
        names = in_braces(dict.fromkeys(filter(None, (_subject(trace, finding) for finding in alike))))
        several = first_few(names, MOST_NAMES) if len(alike) > 1 else ""
        yield Said(alike[0].message, len(alike), several)


def _kind(trace: Trace, finding: Finding) -> str:
    """The message without the name of the module and without numbers."""
    subject = _subject(trace, finding)
    message = finding.message.replace(subject, "{}") if subject else finding.message
    return _NUMBER.sub("#", message)


def _subject(trace: Trace, finding: Finding) -> str:
    return "" if finding.call is None else name_of(trace.call(finding.call))
