"""What a call would do to something that is protected, and the sentence that says how to ask instead."""

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
    """What is touched; a label of the counter, so there are few and they stay."""

    TARGET = "target"
    MODEL = "model"
    ORIGIN = "origin"
    BYTES = "bytes"
    TAG = "tag"
    PROMPT = "prompt"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Change:
    """One protected thing that would change.

    Attributes:
        what: starts a sentence, such as "Moving a version into Production".
        model: the registered model, by the name it has now.
        version: the version that a note about the change is put on; None where none will be left.
        target: what is protected; None for a tag of ours and for the mark of a prompt.
        instead: what the caller should do, without a full stop.
        takes: the version becomes a holder of `target`.
        moved_to: the workspace and name that the model will have.
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
        return f"have the version moved out of {held} by a transition request (to Archived, say) first"
    return f"have {held} moved to another version by a transition request first"


def is_our_tag(key: str) -> bool:
    return folded(key).startswith((REQUEST_PREFIX, DECISION_PREFIX))


def protected_alias(name: str, targets: Targets) -> Target | None:
    """The protected alias that this name is, or is taken for by a database that compares without case or accents."""
    wanted = folded(name)
    return next((target for target in targets if not target.is_stage and folded(target.name) == wanted), None)


@lru_cache(maxsize=4096)
def folded(text: str) -> str:
    """One spelling of all that MySQL's and SQL Server's collations hold equal: no case, accents, end blanks."""
    plain = "".join(part for part in unicodedata.normalize("NFKD", text) if not unicodedata.combining(part))
    return plain.casefold().rstrip()
