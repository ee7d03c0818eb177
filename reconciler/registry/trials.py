"""A trial: one kind of call that a cycle makes, tried once for `check`; and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

# What a server may lack, and a cycle does without.
LOGGED_MODELS = "logged models"
WORKSPACES = "workspaces"
LISTS_OF_NAMES = "lists of names in a search (each request is read by itself)"


class Answer(Enum):
    """LACKING: the server has no such call, and a cycle does without. UNTRIED: there was nothing to try it on."""

    WORKS = "works"
    LACKING = "lacking"
    UNTRIED = "untried"


@dataclass(frozen=True, slots=True)
class Tried:
    """`lacking` names what the server has not, for a list of such things."""

    said: str
    answer: Answer = Answer.WORKS
    lacking: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """One kind of call to `server` (its address). `run` raises RegistryError where it is refused or fails."""

    name: str
    server: str
    run: Callable[[], Tried]


def works(said: str) -> Tried:
    return Tried(said)


def untried(said: str) -> Tried:
    return Tried(said, Answer.UNTRIED)


def lacking(what: str, said: str) -> Tried:
    return Tried(said, Answer.LACKING, what)
