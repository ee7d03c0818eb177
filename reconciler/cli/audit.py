"""audit list, show and report; the other commands are in files of their own."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from reconciler.cli.accepting import acknowledge, baseline
from reconciler.cli.common import settings
from reconciler.cli.dossiers import dossier, sample
from reconciler.cli.exits import DONE, say
from reconciler.cli.files import put
from reconciler.cli.options import DecisionArgument, FormatOption, SinceOption, UntilOption, moment, target_of
from reconciler.cli.output import Format, write_json, write_rows
from reconciler.cli.redacting import redact
from reconciler.cli.verifying import verify
from reconciler.domain.decision import Mode, OutcomeKind

app = typer.Typer(no_args_is_help=True, help="List decisions, show one in full, report on a period, verify the log.")

REGISTER = (
    "decision_id", "decided_at", "registry", "workspace", "model", "version", "target", "requester",
    "requester_assurance", "requested_at", "comment", "verdict", "reason_code", "reason", "mode", "policy_digest",
    "rule", "outcome", "outcome_at", "outcome_detail", "effect", "decider", "judgement", "replaces",
)  # fmt: skip


# More than any database holds, and a number that each of them takes.
_MOST = 1_000_000_000


class VerdictChoice(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


ModelOption = Annotated[str | None, typer.Option(help="Model name; * matches anything.")]
TargetOption = Annotated[str | None, typer.Option(help="A stage or an alias such as @champion.")]
VerdictOption = Annotated[VerdictChoice | None, typer.Option(help="approve or reject.")]
RequesterOption = Annotated[str | None, typer.Option(help="Requester; * matches anything.")]


@app.command("list", epilog="Example: mlflow-reconciler audit list --model 'fraud*' --since 30d --format csv")
def list_decisions(
    format: FormatOption = Format.TABLE,
    model: ModelOption = None,
    target: TargetOption = None,
    verdict: VerdictOption = None,
    requester: RequesterOption = None,
    mode: Annotated[Mode | None, typer.Option(help="Mode it was decided in.")] = None,
    outcome: Annotated[OutcomeKind | None, typer.Option(help="Outcome, such as applied.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int | None, typer.Option(min=1, max=_MOST, help="Show at most this many, newest first.")] = None,
) -> int:
    """List decisions, the newest first."""
    from reconciler.audit.reader import DecisionFilter
    from reconciler.audit.reports import decisions_text
    from reconciler.bootstrap.audit_reader import audit_reader

    filters = DecisionFilter(
        model=model,
        target=target_of(target, "--target") if target else None,
        verdict=_text(verdict),
        requester=requester,
        mode=_text(mode),
        outcome=_text(outcome),
        since=moment(since, "--since"),
        until=moment(until, "--until"),
    )
    with audit_reader(settings()) as reader:
        rows = reader.decisions(filters, limit)
    if format is Format.TABLE:
        print(decisions_text(rows) if rows else "no decisions")
    else:
        write_rows(rows, format, REGISTER, sys.stdout)
    return DONE


def _text(choice: StrEnum | None) -> str | None:
    """Plain text, since a database driver may treat an Enum in its own way."""
    return None if choice is None else str(choice)


@app.command(epilog="Example: mlflow-reconciler audit show 6f1c09ab --format json")
def show(
    decision_id: DecisionArgument,
    format: FormatOption = Format.TABLE,
) -> int:
    """Show one decision in full: request, checks, outcomes, evidence, policy."""
    from reconciler.cli.explaining import with_json_errors

    if format is Format.JSON:
        return with_json_errors(lambda: _show_as(format, decision_id))
    return _show_as(format, decision_id)


def _show_as(format: Format, decision_id: str) -> int:
    from reconciler.bootstrap.audit_reader import audit_reader
    from reconciler.cli.showing import show_decision

    with audit_reader(settings()) as reader:
        whole = reader.decision(decision_id)
    if format is Format.TABLE:
        show_decision(whole, REGISTER)
    elif format is Format.JSON:
        write_json(whole, sys.stdout)
    else:
        write_rows([whole], format, list(whole), sys.stdout)
    return DONE


@app.command(epilog="Example: mlflow-reconciler audit report --since 2026-10-01 --until 2026-11-01")
def report(
    format: FormatOption = Format.TABLE,
    since: SinceOption = None,
    until: UntilOption = None,
    output: Annotated[
        Path | None, typer.Option(help="A file, or a directory in which the report is named by date (default: stdout).")
    ] = None,
) -> int:
    """Report a period: totals, why versions failed, and every decision."""
    from reconciler.bootstrap.audit_reader import audit_reader

    with audit_reader(settings()) as reader:
        content = reader.report(moment(since, "--since"), moment(until, "--until"))
    text = io.StringIO()
    _write_report(content, format, text)
    if output is None:
        sys.stdout.write(text.getvalue())
    else:
        say(f"wrote {_put(text.getvalue(), output, format)}")
    return DONE


def _write_report(content: dict[str, Any], format: Format, stream: TextIO) -> None:
    from reconciler.audit.reports import report_text

    if format is Format.JSON:
        write_json(content, stream)
    elif format is Format.TABLE:
        print(report_text(content), file=stream)
    else:
        write_rows(content["register"], format, REGISTER, stream)


def _put(text: str, output: Path, format: Format) -> Path:
    """Replaces the file atomically, so that a reader never gets a partial report."""
    ending = "txt" if format is Format.TABLE else str(format)
    path = output / f"report-{datetime.now(UTC):%Y-%m-%d}.{ending}" if output.is_dir() else output
    with put(path) as file:
        file.write(text.encode())
    return path


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
