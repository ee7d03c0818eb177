"""audit list, show and report."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from reconciler.cli.exits import DONE
from reconciler.cli.options import FormatOption, SinceOption, UntilOption, moment, settings, target_of
from reconciler.cli.output import Format, write_json, write_rows

app = typer.Typer(no_args_is_help=True, help="Decisions, one decision whole, a report for a period.")

REGISTER = (
    "decision_id", "decided_at", "registry", "workspace", "model", "version", "target", "requester",
    "requester_assurance", "requested_at", "comment", "verdict", "reason_code", "reason", "mode", "policy_digest",
    "rule", "outcome", "outcome_at", "outcome_detail",
)  # fmt: skip


class VerdictChoice(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


ModelOption = Annotated[str | None, typer.Option(help="A model's name; * stands for anything.")]
TargetOption = Annotated[str | None, typer.Option(help="A stage or an alias such as @champion.")]
VerdictOption = Annotated[VerdictChoice | None, typer.Option(help="approve or reject.")]
RequesterOption = Annotated[str | None, typer.Option(help="Who asked; * stands for anything.")]


@app.command("list", epilog="Example: mlflow-reconciler audit list --model 'fraud*' --since 30d --format csv")
def list_decisions(
    format: FormatOption = Format.TABLE,
    model: ModelOption = None,
    target: TargetOption = None,
    verdict: VerdictOption = None,
    requester: RequesterOption = None,
    mode: Annotated[str | None, typer.Option(help="observe, approve-only or enforce.")] = None,
    outcome: Annotated[str | None, typer.Option(help="applied, failed, superseded, unattributed, observed.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many, the newest.")] = None,
) -> int:
    """List decisions, the newest first."""
    from reconciler import bootstrap
    from reconciler.audit.reader import DecisionFilter
    from reconciler.audit.reports import decisions_text

    only = DecisionFilter(
        model=model,
        target=target_of(target) if target else None,
        verdict=verdict,
        requester=requester,
        mode=mode,
        outcome=outcome,
        since=moment(since),
        until=moment(until),
    )
    with bootstrap.audit_reader(settings()) as reader:
        rows = reader.decisions(only, limit)
    if format is Format.TABLE:
        print(decisions_text(rows) if rows else "no decisions")
    else:
        write_rows(rows, format, REGISTER, sys.stdout)
    return DONE


@app.command(epilog="Example: mlflow-reconciler audit show 6f1c09ab --format json")
def show(
    decision_id: Annotated[str, typer.Argument(help="A decision's id, or the beginning of it.")],
    format: FormatOption = Format.TABLE,
) -> int:
    """Show one decision whole: request, evidence, checks, outcomes."""
    from reconciler import bootstrap

    with bootstrap.audit_reader(settings()) as reader:
        whole = reader.decision(decision_id)
    if format is Format.TABLE:
        _show(whole)
    elif format is Format.JSON:
        write_json(whole, sys.stdout)
    else:
        write_rows([whole], format, list(whole), sys.stdout)
    return DONE


def _show(whole: dict[str, Any]) -> None:
    for name in REGISTER:
        print(f"{name.replace('_', ' '):20} {'-' if whole[name] is None else whole[name]}")
    print("\nchecks")
    write_rows(whole["checks"], Format.TABLE, ("result", "check", "expected", "observed", "source"), sys.stdout)
    print("outcomes")
    write_rows(whole["outcomes"], Format.TABLE, ("at", "outcome", "detail"), sys.stdout)


@app.command(epilog="Example: mlflow-reconciler audit report --since 2026-10-01 --until 2026-11-01")
def report(format: FormatOption = Format.TABLE, since: SinceOption = None, until: UntilOption = None) -> int:
    """Report a period: totals, why versions failed, and every decision."""
    from reconciler import bootstrap
    from reconciler.audit.reports import report_text

    with bootstrap.audit_reader(settings()) as reader:
        made = reader.report(moment(since), moment(until))
    if format is Format.JSON:
        write_json(made, sys.stdout)
    elif format is Format.TABLE:
        print(report_text(made))
    else:
        write_rows(made["register"], format, REGISTER, sys.stdout)
    return DONE
