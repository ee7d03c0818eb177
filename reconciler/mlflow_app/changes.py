"""What a call would do to something that is protected, and the message that says how to request it instead."""

from __future__ import annotations

import shlex
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from reconciler.domain.tag_format import DECISION_PREFIX, REQUEST_PREFIX
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name

Targets = frozenset[Target]

USE_THE_CALLS = "use the transition-requests calls, or `mlflow-reconciler request`"


class Kind(StrEnum):
    """What is touched. A label of the refusals' counter: keep the values few and stable."""

    TARGET = "target"
    MODEL = "model"
    ORIGIN = "origin"
    BYTES = "bytes"
    TAG = "tag"
    PROTECTED_TAG = "protected_tag"
    PROMPT = "prompt"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Change:
    """One protected thing that would change.

    Attributes:
        what: starts a sentence, such as "Moving a version into Production".
        model: the registered model, by the name it has now.
        version: the version that a note about the change goes on; None if none will be left.
        target: what is protected; None for a tag, ours or a protected one, and for the tag that marks a prompt.
        instead: what the caller should do, without a full stop.
        takes: the version becomes a holder of `target`.
        moved_to: the workspace and name that the model will have.
        values: of a protected tag, what a note says beside `what`.
        of_prompt: of a protected tag, whether the model is a prompt: its approvers may be others.
    """

    kind: Kind
    what: str
    workspace: str
    model: str
    version: int | None
    target: Target | None
    instead: str
    takes: bool = False
    moved_to: tuple[str, str] | None = None
    values: str = ""
    of_prompt: bool = False

    @property
    def refusal(self) -> str:
        if self.target is None:
            return f"{self.what} is not allowed: {self.instead}."
        directly = "" if self.kind in {Kind.BYTES, Kind.ORIGIN} else " directly"
        return f"{self.what}{directly} is not allowed, since {self.target} is protected: {self.instead}."


def how_to_ask(model: str, version: str, target: Target) -> str:
    command = f"mlflow-reconciler request create {shlex.quote(visible_name(model))} {version} {target}"
    return f"file a transition request (POST api/2.0/mlflow/transition-requests/create, or `{command}`)"


def first_move_out(held: Target) -> str:
    if held.is_stage:
        return f"first request a transition that moves the version out of {held} (to Archived, say)"
    return f"first request a transition that moves {held} to another version"


def is_our_tag(key: str) -> bool:
    return folded(key).startswith((REQUEST_PREFIX, DECISION_PREFIX))


def protected_alias(name: str, targets: Targets) -> Target | None:
    """The protected alias that this name equals, also to a database that ignores case or accents; None if none."""
    wanted = folded(name)
    return next((target for target in targets if not target.is_stage and folded(target.name) == wanted), None)


@lru_cache(maxsize=4096)
def folded(text: str) -> str:
    """One spelling for names that MySQL's and SQL Server's collations treat as equal: no case, accents, end blanks."""
    plain = "".join(part for part in unicodedata.normalize("NFKD", text) if not unicodedata.combining(part))
    return plain.casefold().rstrip()
