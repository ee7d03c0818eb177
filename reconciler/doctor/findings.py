"""The findings of `check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """SKIP: not tried, so nothing is known; never used for something that was found to be in order."""

    OK = "OK"
    SKIP = "SKIP"
    WARN = "WARN"
    FAIL = "FAIL"


_WORST_FIRST = (Level.FAIL, Level.WARN, Level.SKIP, Level.OK)


@dataclass(frozen=True, slots=True)
class Finding:
    """What `check` found about one thing. `detail` ends with the remedy, if one is needed."""

    name: str
    level: Level
    detail: str


def ok(name: str, detail: str) -> Finding:
    return Finding(name, Level.OK, detail)


def skip(name: str, detail: str) -> Finding:
    return Finding(name, Level.SKIP, detail)


def warn(name: str, detail: str) -> Finding:
    return Finding(name, Level.WARN, detail)


def fail(name: str, detail: str) -> Finding:
    return Finding(name, Level.FAIL, detail.replace("\n", "; "))


def worst(findings: Sequence[Finding]) -> Level:
    levels = {finding.level for finding in findings}
    return next(level for level in _WORST_FIRST if level in levels)


def failed(findings: Sequence[Finding]) -> bool:
    return worst(findings) is Level.FAIL


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    return (f"{finding.level:4} {finding.name}: {finding.detail}" for finding in findings)
