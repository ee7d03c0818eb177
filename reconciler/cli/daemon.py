"""The daemon's own commands: run, once, check, status, demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.exits import DONE, NEGATIVE, UNREACHABLE, say
from reconciler.cli.options import settings
from reconciler.cli.output import Format, write_json, write_rows

if TYPE_CHECKING:
    from reconciler.cycle import CycleSummary


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: mlflow-reconciler demo --serve")(demo)
    app.command(epilog="Example: RECONCILER_MODE=enforce mlflow-reconciler run")(run)
    app.command(epilog="Example: mlflow-reconciler once --dry-run")(once)
    app.command(epilog="Example: mlflow-reconciler check")(check)
    app.command(epilog="Example: mlflow-reconciler status --json")(status)


def demo(
    serve: Annotated[bool, typer.Option("--serve", help="Leave the server up until Ctrl-C.")] = False,
    directory: Annotated[Path | None, typer.Option(help="Where its files go (default: a temporary folder).")] = None,
) -> int:
    """Show the whole loop on an embedded MLflow server with sample models."""
    from reconciler.demo import run_demo

    return run_demo(serve, directory)


def run() -> int:
    """Run the daemon until SIGTERM or SIGINT."""
    from reconciler import bootstrap, logs

    configured = settings()
    logs.configure(configured.log.format, configured.log.level)
    return bootstrap.run_daemon(configured)


def once(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be decided; change nothing.")] = False,
) -> int:
    """Run one cycle: one sentence, one exit code."""
    from reconciler import bootstrap, logs
    from reconciler.daemon import log_cycle, log_event

    configured = settings()
    # Whoever runs one cycle by hand wants to see what was left alone, too.
    logs.configure(configured.log.format, "debug" if configured.log.level == "info" else configured.log.level)
    summary = bootstrap.run_once(configured, dry_run, log_event)
    log_cycle(summary)
    return _exit_code(summary)


def _exit_code(summary: CycleSummary) -> int:
    if summary.unavailable is not None:
        return UNREACHABLE
    return NEGATIVE if summary.in_error or summary.in_doubt else DONE


def check() -> int:
    """Check configuration, policy, database and registry: one line each."""
    from reconciler import bootstrap

    lines = bootstrap.check(settings())
    for line in lines:
        detail = line.detail.replace("\n", "; ")
        print(f"{'OK  ' if line.ok else 'FAIL'} {line.name}: {detail}")
    return DONE if all(line.ok for line in lines) else NEGATIVE


def status(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> int:
    """Tell the last cycle, what is open and what it waits for."""
    from reconciler import bootstrap

    with bootstrap.audit_reader(settings()) as reader:
        picture = {
            "daemons": reader.daemons(),
            "open_requests": reader.open_requests(),
            "unfinished": reader.unfinished(),
        }
    if as_json:
        write_json(picture, sys.stdout)
    else:
        _show(picture)
    return DONE


def _show(picture: dict[str, list[dict[str, Any]]]) -> None:
    daemons = picture["daemons"]
    if not daemons:
        print("no cycle has run yet")
    for daemon in daemons[:3]:
        print(f"last cycle of {daemon['name']}, {daemon['age_seconds']:.0f} s ago: {daemon['sentence']}")
    if picture["open_requests"]:
        columns = ("first_seen_at", "model", "version", "target", "requester", "waiting_code", "next_attempt_at")
        write_rows(picture["open_requests"], Format.TABLE, columns, sys.stdout)
    else:
        say("no request was open")
    for row in picture["unfinished"]:
        print(
            f"{row['outcome'] or 'pending'}: decision {row['decision_id']} on {row['model']} version {row['version']}:"
        )
        print(f"  {row['last_detail'] or row['outcome_detail'] or 'not acted on yet'}")
