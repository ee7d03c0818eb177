"""What brought a version to a target, and what took it away."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.domain.holding.tenures import Sign
from reconciler.domain.request import NOBODY, Requester


class Cause(StrEnum):
    """Why a tenure began or ended.

    Of beginnings only: `ROLLBACK` (a return to what held by approval before), `BASELINE` (it held when first looked
    at), `BYPASS`. Of ends only: `DELETED`, `UNGOVERNED`, `UNRECORDED` (somebody moved it without a record).
    `UNDETERMINED`: a person's approval may have gone unseen.
    """

    DECISION = "decision"
    PERSON = "person"
    ADMINISTRATOR = "administrator"
    RENAME = "rename"
    ROLLBACK = "rollback"
    BASELINE = "baseline"
    BYPASS = "bypass"
    DELETED = "deleted"
    UNGOVERNED = "ungoverned"
    UNRECORDED = "unrecorded"
    UNDETERMINED = "undetermined"


_APPROVED = frozenset({Cause.DECISION, Cause.PERSON, Cause.ADMINISTRATOR, Cause.ROLLBACK, Cause.BASELINE})


def is_approved(cause: Cause | None) -> bool | None:
    """Whether what began so may be what others are compared with; None: it cannot be told."""
    return True if cause in _APPROVED else False if cause is Cause.BYPASS else None


@dataclass(frozen=True, slots=True)
class Found:
    """What the record has that may explain a beginning or an end.

    Args:
        decision_id: a decision of ours that took effect in time; `pending`: one that may be taking effect.
        resolution_id: what a person did in time; `changed`: as an administrator, without a request.
        moved_as: the name that the model had when either moved it, where it has another one since.
        open: a request for this was open when it was first seen.
        held_by_approval: the version held the target by approval before.
        continued_by_approval: it is a renamed model's, and held by approval under its old name.
        continues_bypass: it was a bypass under its old name, which nobody had approved since or accepted.
        first_look: it was there when the target was first looked at.
        looked_again: a later look, and a whole list of requests after it, are over.
        people_hide: a person's approval may have left no trace.
    """

    sign: Sign = Sign.NONE
    decision_id: str | None = None
    moved_as: str = ""
    pending: bool = False
    resolution_id: int | None = None
    person: Requester | None = None
    changed: bool = False
    open: bool = False
    held_by_approval: bool = False
    continued_by_approval: bool = False
    continues_bypass: bool = False
    first_look: bool = False
    looked_again: bool = False
    people_hide: bool = False


@dataclass(frozen=True, slots=True)
class Explained:
    """The cause, and whether the tenure that it began rests on an approval."""

    cause: Cause
    by_approval: bool = False
    decision_id: str | None = None
    resolution_id: int | None = None
    person: Requester | None = None
    detail: str = ""


def began_by(found: Found) -> Explained | None:
    """Why a tenure began. None: it is not known yet."""
    if found.sign is Sign.RENAMED:
        # A new name ends no bypass.
        return Explained(
            Cause.RENAME, found.continued_by_approval, detail=str(Cause.BYPASS) if found.continues_bypass else ""
        )
    if (recorded := _recorded(found)) is not None:
        return recorded
    if found.open and found.looked_again and not found.pending:
        return Explained(Cause.PERSON, True, person=NOBODY, detail="it was moved while its request was open")
    if found.first_look:
        return Explained(Cause.BASELINE)
    if found.held_by_approval:
        return Explained(Cause.ROLLBACK, True) if found.looked_again else None
    if found.pending or not found.looked_again:
        return None
    return Explained(Cause.UNDETERMINED if found.people_hide else Cause.BYPASS)


def ended_by(found: Found) -> Explained | None:
    """Why a tenure ended. None: it is not known yet."""
    if found.sign is Sign.RENAMED:
        return Explained(Cause.RENAME)
    if found.sign is Sign.UNGOVERNED:
        return Explained(Cause.UNGOVERNED)
    if (recorded := _recorded(found)) is not None:
        return recorded
    if found.pending or not found.looked_again:
        return None
    if found.sign is Sign.DELETED:
        return Explained(Cause.DELETED)
    return Explained(Cause.UNDETERMINED if found.people_hide else Cause.UNRECORDED)


def _recorded(found: Found) -> Explained | None:
    detail = f"the model was named {found.moved_as} then" if found.moved_as else ""
    if found.decision_id is not None:
        return Explained(Cause.DECISION, True, found.decision_id, detail=detail)
    if found.resolution_id is None:
        return None
    cause = Cause.ADMINISTRATOR if found.changed else Cause.PERSON
    return Explained(cause, not found.changed, None, found.resolution_id, found.person, detail)
