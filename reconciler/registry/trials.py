"""Trials: each tries one kind of call that a cycle makes, once, for `check`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

# What a server may lack; a cycle works without it.
LOGGED_MODELS = "logged models"
WORKSPACES = "workspaces"
LISTS_OF_NAMES = "lists of names in a search (each request is read on its own)"


class Answer(Enum):
    """LACKING: the server has no such call; a cycle works without it. UNTRIED: there was nothing to try it on."""

    WORKS = "works"
    LACKING = "lacking"
    UNTRIED = "untried"


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The result of a trial. `lacking` names what the server lacks, for a list of such things."""

    detail: str
    answer: Answer = Answer.WORKS
    lacking: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """One kind of call to `server` (its address). `run` raises RegistryError if the call is refused or fails."""

    name: str
    server: str
    run: Callable[[], TrialResult]


def works(detail: str) -> TrialResult:
    return TrialResult(detail)


def untried(detail: str) -> TrialResult:
    return TrialResult(detail, Answer.UNTRIED)


def lacking(what: str, detail: str) -> TrialResult:
    return TrialResult(detail, Answer.LACKING, what)
