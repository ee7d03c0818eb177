"""The daemon's own commands: run, once, check, status, demo."""

from __future__ import annotations

import getpass
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.exits import DONE, NEGATIVE, UNREACHABLE, say
from reconciler.cli.options import Common, settings
from reconciler.cli.output import Format, write_json, write_rows
from reconciler.cli.service import install_service
from reconciler.domain.times import parse_duration

if TYPE_CHECKING:
    from reconciler.cycle import CycleSummary


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: mlflow-reconciler demo --serve")(demo)
    app.command(epilog="Example: RECONCILER_MODE=enforce mlflow-reconciler run")(run)
    app.command(epilog="Example: mlflow-reconciler once --dry-run")(once)
    app.command(epilog="Example: mlflow-reconciler check")(check)
    app.command(epilog="Example: mlflow-reconciler status --max-age 5m")(status)
    app.command(epilog='Example: mlflow-reconciler pause --reason "release freeze"')(pause)
    app.command(epilog="Example: mlflow-reconciler resume")(resume)
    app.command("install-service", epilog="Example: mlflow-reconciler install-service --dry-run")(install_service)


def demo(
    serve: Annotated[bool, typer.Option("--serve", help="Leave the server up until Ctrl-C.")] = False,
    directory: Annotated[Path | None, typer.Option(help="Where its files go (default: a temporary folder).")] = None,
) -> int:
    """Show the whole loop on an embedded MLflow server with sample models."""
    from reconciler.demo import run_demo

    return run_demo(serve, directory)


def run() -> int:
    """Run the daemon until SIGTERM or SIGINT."""
    from reconciler import logs, running

    configured = settings()
    logs.configure(configured.log.format, configured.log.level)
    return running.run_daemon(Common.config, configured)


def once(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be decided; change nothing.")] = False,
) -> int:
    """Run one cycle: one sentence, one exit code."""
    from reconciler import bootstrap, logs
    from reconciler.daemon import log_cycle, log_every_event
    from reconciler.settings import config_path, refuse_writable_by_others

    configured = settings()
    for path in (config_path(Common.config), configured.policy):
        if path is not None:
            refuse_writable_by_others(path)
    logs.configure(configured.log.format, configured.log.level)
    summary = bootstrap.run_once(configured, dry_run, log_every_event)
    log_cycle(summary)
    return _exit_code(summary)


def _exit_code(summary: CycleSummary) -> int:
    if summary.unavailable is not None:
        return UNREACHABLE
    return NEGATIVE if summary.in_error or summary.in_doubt else DONE


def check(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> int:
    """Check what a daemon needs: one line each, OK, WARN or FAIL, with the remedy."""
    from reconciler import doctor

    findings = doctor.check(settings(), Common.config)
    if as_json:
        write_json([asdict(finding) for finding in findings], sys.stdout)
    else:
        print("\n".join(doctor.lines(findings)))
    return NEGATIVE if doctor.worst(findings) is doctor.Level.FAIL else DONE


def status(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    max_age: Annotated[
        str | None, typer.Option(help="A monitoring check: exit 1 unless a cycle went well within, say, 5m.")
    ] = None,
) -> int:
    """Tell the last cycle, what is open and what it waits for."""
    from reconciler import bootstrap
    from reconciler.audit.picture import picture_of

    with bootstrap.audit_reader(settings()) as reader:
        picture = picture_of(reader)
    if max_age is not None:
        return _monitored(picture, parse_duration(max_age).total_seconds())
    if as_json:
        write_json(picture, sys.stdout)
    else:
        _show(picture)
    return DONE


def _monitored(picture: dict[str, Any], seconds: float) -> int:
    """One line, and 0 or 1."""
    newest = min(picture["daemons"], key=lambda one: float(one["age_seconds"]), default=None)
    if newest is None:
        print("no cycle has run yet")
        return NEGATIVE
    late = newest["age_seconds"] > seconds
    print(f"{'late' if late else 'ok' if newest['ok'] else 'not ok'}: {_told(newest)}")
    return NEGATIVE if late or not newest["ok"] else DONE


def _told(daemon: dict[str, Any]) -> str:
    return f"last cycle of {daemon['name']}, {daemon['age_seconds']:.0f} s ago: {daemon['sentence']}"


def pause(
    reason: Annotated[str, typer.Option(help="Why; kept, and shown until somebody resumes.")],
    person: Annotated[str | None, typer.Option("--by", help="Who (default: the user of this machine).")] = None,
) -> int:
    """Stop all daemons on this database from acting; they go on listing and judging."""
    from reconciler.audit.store import PAUSE

    return _noted(PAUSE, reason, person, "paused: no replica acts from now on", "acts are paused already")


def resume(
    reason: Annotated[str, typer.Option(help="Why; kept.")] = "",
    person: Annotated[str | None, typer.Option("--by", help="Who (default: the user of this machine).")] = None,
) -> int:
    """Let daemons act again."""
    from reconciler.audit.store import RESUME

    return _noted(RESUME, reason, person, "resumed: what is open is decided by the next cycle", "acts are not paused")


def _noted(action: str, reason: str, person: str | None, done: str, already: str) -> int:
    from reconciler.audit import schema
    from reconciler.audit.engine import make_engine
    from reconciler.audit.store import note_pause

    engine = make_engine(settings().audit.url.get_secret_value())
    try:
        schema.require_head(engine)
        changed = note_pause(engine, action, reason, person or getpass.getuser())
    finally:
        engine.dispose()
    say(done if changed else already)
    return DONE if changed else NEGATIVE


def _show(picture: dict[str, Any]) -> None:
    if picture["paused"]:
        paused = picture["paused"]
        print(f"acts are paused since {paused['at']} by {paused['person']}: {paused['reason']}")
    for daemon in picture["daemons"][:5]:
        print(_told(daemon))
        if daemon["problem"]:
            print(f"  {daemon['problem']}")
        print(f"  policy {daemon['policy_digest'][:12]} since {daemon['policy_since']}, clock skew {_skew(daemon)}")
    if not picture["daemons"]:
        print("no cycle has run yet")
    else:
        print(f"replicas alive: {picture['replicas_alive']}")
    _show_open(picture)
    for row in picture["unfinished"]:
        print(
            f"{row['outcome'] or 'pending'}: decision {row['decision_id']} on {row['model']} version {row['version']}:"
        )
        print(f"  {row['last_detail'] or row['outcome_detail'] or 'not acted on yet'}")


def _skew(daemon: dict[str, Any]) -> str:
    return "not known" if daemon["skew_ms"] is None else f"{daemon['skew_ms'] / 1000:+.0f} s"


def _show_open(picture: dict[str, Any]) -> None:
    if not picture["open_requests"]:
        say("no request was open")
        return
    ages = ", ".join(f"{count} {age}" for age, count in picture["open"]["by_age"].items())
    waits = ", ".join(f"{count} {code}" for code, count in picture["open"]["by_wait"].items())
    print(f"open: {ages}; waiting: {waits or 'none'}; set aside: {picture['open']['set_aside']}")
    columns = ("first_seen_at", "model", "version", "target", "requester", "waiting_code", "next_attempt_at")
    write_rows(picture["open_requests"], Format.TABLE, columns, sys.stdout)
