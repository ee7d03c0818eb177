"""audit acknowledge and audit baseline: what a named person accepts."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.common import settings
from reconciler.cli.exits import DONE, NEGATIVE, say
from reconciler.cli.options import REASON, ByOption, FormatOption, ModelOption, NoHeadersOption, TargetOption, target_of
from reconciler.cli.shown.output import Format, Shape, write_rows
from reconciler.domain.text import counted
from reconciler.domain.times import iso

if TYPE_CHECKING:
    from reconciler.audit.database import Access

_LARGEST = 2**63 - 1
_COLUMNS = ("tenure_id", "model", "version", "target", "first_seen_with", "registry", "workspace")


def acknowledge(
    tenure_id: Annotated[int, typer.Argument(min=1, max=_LARGEST, help="The tenure's number, as `status` shows it.")],
    reason: Annotated[str, typer.Option(metavar=REASON, help="Why it is accepted; recorded.")],
    person: ByOption = None,
) -> int:
    """Record that a named person accepts a version that holds a target without a decision."""
    from reconciler.audit import schema
    from reconciler.audit.database import Access
    from reconciler.audit.holding.accepting import acknowledge

    _require_words(reason)
    with schema.opened_at_head(_url(), Access.WRITE) as engine:
        accepted = acknowledge(engine, tenure_id, reason, person or getpass.getuser())
    if accepted.by is not None:
        say(f"tenure {tenure_id} was acknowledged already, by {accepted.by}; this call changed nothing")
        return NEGATIVE
    print(f"acknowledged: {accepted.place} (tenure {tenure_id})")
    return DONE


def baseline(
    model: ModelOption = None,
    target: TargetOption = None,
    reason: Annotated[
        str | None, typer.Option(metavar=REASON, help="Accept everything listed, for this reason; recorded.")
    ] = None,
    person: ByOption = None,
    format: FormatOption = Format.TABLE,
    no_headers: NoHeadersOption = False,
) -> int:
    """List what already held a target at the first look and nobody has accepted; with --reason, accept it."""
    from reconciler.audit import schema
    from reconciler.audit.holding.accepting import accept_baselines, baselines

    if reason is not None:
        _require_words(reason)
    only = model, target_of(target, "--target") if target else None
    with schema.opened_at_head(_url(), _access(reason)) as engine:
        if reason is None:
            rows = baselines(engine, *only)
        else:
            rows = list(accept_baselines(engine, *only, reason, person or getpass.getuser()))
    shown = [row | {"first_seen_with": iso(row["first_seen_with"])} for row in rows]
    shape = Shape(format, not no_headers)
    if rows or not shape.for_people:
        write_rows(shown, shape, _COLUMNS, _COLUMNS, sys.stdout)
    say(_summary(len(rows), accepted=reason is not None))
    return DONE if rows or reason is None else NEGATIVE


def _access(reason: str | None) -> Access:
    from reconciler.audit.database import Access

    return Access.READ if reason is None else Access.WRITE


def _summary(count: int, *, accepted: bool) -> str:
    if accepted:
        return f"accepted {counted(count, 'tenure')}" if count else "nothing to accept"
    if not count:
        return "no baseline waits to be accepted"
    return f"{counted(count, 'tenure')}: accept what is right with --reason, if need be with --model and --target"


def _url() -> str:
    return settings().audit.url.get_secret_value()


def _require_words(reason: str) -> None:
    if not reason.strip():
        raise typer.BadParameter("is empty: say why it is accepted", param_hint="--reason")
