"""audit redact."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.common import settings
from reconciler.cli.exits import DONE, say
from reconciler.cli.options import REASON, ByOption, DecisionArgument
from reconciler.domain.text import counted

if TYPE_CHECKING:
    from reconciler.audit.evidence.redacting import Redaction

_FIELD = "Field to remove, by its path in `audit show --format json`, such as version.tags.owner. May be repeated."


def redact(
    decision_id: DecisionArgument,
    field: Annotated[list[str], typer.Option(metavar="<field>", help=_FIELD)],
    reason: Annotated[str, typer.Option(metavar=REASON, help="Why; recorded. Do not repeat the value.")],
    person: ByOption = None,
) -> int:
    """Remove a value from a decision's evidence for good. The removal is recorded, and every proof still holds.

    The field's name and salted digest stay. Other places that show the value are listed, not changed.
    """
    from reconciler.audit import schema
    from reconciler.audit.database import Access
    from reconciler.audit.evidence.redacting import empty_write_ahead_log, redact

    if not reason.strip():
        raise typer.BadParameter("is empty: say why it is removed", param_hint="--reason")
    url = settings().audit.url.get_secret_value()
    with schema.opened_at_head(url, Access.WRITE) as engine:
        done = redact(engine, decision_id, field, reason, person or getpass.getuser())
        emptied = empty_write_ahead_log(engine)
    for path, digest in done.removed:
        print(f"removed {path} from the evidence of decision {done.decision_id}; its digest {digest} stays")
    _tell_what_is_left(done, emptied)
    return DONE


def _tell_what_is_left(done: Redaction, emptied: bool) -> None:
    if done.repeated_in:
        say(f"not removed: {', '.join(done.repeated_in)} of this decision show the value, or a part of it")
    if done.others:
        others = f"{counted(len(done.others), 'other decision')} about this version"
        say(f"not removed: {others} may have it in their evidence: {', '.join(done.others)}")
    own = "" if emptied else "its write-ahead log, "
    say(f"not reached: the registry, backups and copies of this database, {own}logs and reports")
