"""audit list and show; the other commands are in files of their own."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from reconciler.cli import completing
from reconciler.cli.accepting import acknowledge, baseline
from reconciler.cli.commands import Commands
from reconciler.cli.common import settings
from reconciler.cli.dossiers import dossier, sample
from reconciler.cli.exits import DONE
from reconciler.cli.options import (
    DecisionArgument,
    FormatOption,
    ModelOption,
    NoHeadersOption,
    SinceOption,
    TargetOption,
    UntilOption,
    period,
    target_of,
)
from reconciler.cli.redacting import redact
from reconciler.cli.reperforming import reperform
from reconciler.cli.reports import report
from reconciler.cli.shown.output import Format, Shape, write_json, write_parts, write_rows
from reconciler.cli.shown.terminal import progress_bar
from reconciler.cli.verifying import verify
from reconciler.domain.decision import Mode, OutcomeKind

app = typer.Typer(
    cls=Commands, no_args_is_help=True, help="List decisions, show one in full, report on a period, verify the log."
)

REGISTER = (
    "decision_id", "decided_at", "registry", "workspace", "model", "version", "target", "requester",
    "requester_assurance", "requested_at", "comment", "verdict", "reason_code", "reason", "mode", "policy_digest",
    "rule", "outcome", "outcome_at", "outcome_detail", "effect", "decider", "judgement", "replaces",
)  # fmt: skip


# Those of a table without names, for scripts.
_PLAIN = "decision_id", "decided_at", "model", "version", "target", "verdict", "reason_code", "outcome", "effect"

# More than any database holds, and a number that each of them takes.
_MOST = 1_000_000_000


class VerdictChoice(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


VerdictOption = Annotated[VerdictChoice | None, typer.Option(help="approve or reject.")]
RequesterOption = Annotated[
    str | None,
    typer.Option(
        metavar="<glob>", help="Name of the requester; * matches anything.", autocompletion=completing.requesters
    ),
]


@app.command("list", epilog="Example: mlflow-reconciler audit list --model 'fraud*' --since 30d --format csv")
def list_decisions(
    format: FormatOption = Format.TABLE,
    no_headers: NoHeadersOption = False,
    model: ModelOption = None,
    target: TargetOption = None,
    verdict: VerdictOption = None,
    requester: RequesterOption = None,
    mode: Annotated[Mode | None, typer.Option(help="Mode of the decision.")] = None,
    outcome: Annotated[OutcomeKind | None, typer.Option(help="Outcome, such as applied.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[
        int | None, typer.Option(metavar="<n>", min=1, max=_MOST, help="Show at most this many, newest first.")
    ] = None,
) -> int:
    """List decisions, the newest first."""
    from reconciler.audit.reader import DecisionFilter
    from reconciler.bootstrap.audit_reader import audit_reader
    from reconciler.cli.shown.decision_lines import print_decisions

    begins, ends = period(since, until)
    filters = DecisionFilter(
        model=model,
        target=target_of(target, "--target") if target else None,
        verdict=_text(verdict),
        requester=requester,
        mode=_text(mode),
        outcome=_text(outcome),
        since=begins,
        until=ends,
    )
    shape = Shape(format, not no_headers)
    with audit_reader(settings()) as reader, progress_bar("reading decisions", beside_rows=True):
        if shape.for_people:
            print_decisions(reader.each_decision(filters, limit))
        else:
            write_parts(reader.by_column(filters, limit), shape, REGISTER, _PLAIN, sys.stdout)
    return DONE


def _text(choice: StrEnum | None) -> str | None:
    """Plain text, since a database driver may treat an Enum in its own way."""
    return None if choice is None else str(choice)


@app.command(epilog="Example: mlflow-reconciler audit show 6f1c09ab --format json")
def show(
    decision_id: DecisionArgument,
    format: FormatOption = Format.TABLE,
    no_headers: NoHeadersOption = False,
) -> int:
    """Show one decision in full: request, checks, outcomes, evidence, policy."""
    from reconciler.cli.explaining import with_json_errors

    shape = Shape(format, not no_headers)
    if format is Format.JSON:
        return with_json_errors(lambda: _show_as(shape, decision_id))
    return _show_as(shape, decision_id)


def _show_as(shape: Shape, decision_id: str) -> int:
    from reconciler.bootstrap.audit_reader import audit_reader
    from reconciler.cli.shown.decision import show_decision

    with audit_reader(settings()) as reader:
        whole = reader.decision(decision_id)
    if shape.for_people:
        show_decision(whole, REGISTER)
    elif shape.format is Format.JSON:
        write_json(whole, sys.stdout)
    else:
        write_rows([whole], shape, list(whole), _PLAIN, sys.stdout)
    return DONE


_REPORT = "audit report completeness --since 2026-07-01 --until 2026-10-01"
app.command(epilog=f"Example: mlflow-reconciler {_REPORT}")(report)
app.command(epilog="Example: mlflow-reconciler audit verify --head audit.heads --key audit.pub")(verify)
app.command(epilog="Example: mlflow-reconciler audit dossier 6f1c09ab --head audit.heads --output dossier.json")(
    dossier
)
_SAMPLE = "audit sample --since 2026-07-01 --until 2026-10-01 --seed q3 --output q3.zip"
app.command(epilog=f"Example: mlflow-reconciler {_SAMPLE}")(sample)
_REDACT = "audit redact 6f1c09ab --field version.tags.owner --reason 'ticket 71'"
app.command(epilog=f"Example: mlflow-reconciler {_REDACT}")(redact)
_ACKNOWLEDGE = "audit acknowledge 12 --reason 'emergency, ticket 71'"
app.command(epilog=f"Example: mlflow-reconciler {_ACKNOWLEDGE}")(acknowledge)
_BASELINE = "audit baseline --model 'fraud*' --reason 'reviewed on 1 March'"
app.command(epilog=f"Example: mlflow-reconciler {_BASELINE}")(baseline)
app.command(epilog="Example: mlflow-reconciler audit reperform --since 2026-07-01 --until 2026-10-01")(reperform)
