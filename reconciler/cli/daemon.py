"""The daemon's own commands: run, once, check, demo; status, pause and install-service are registered with them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.common import Common, settings
from reconciler.cli.exits import DONE, NEGATIVE, UNREACHABLE
from reconciler.cli.options import JsonOption, NoHeadersOption, place_option, wants_json
from reconciler.cli.pausing import pause, resume
from reconciler.cli.running import run
from reconciler.cli.service import install_service
from reconciler.cli.shown.output import Format, Shape, write_rows
from reconciler.cli.shown.terminal import Colour, painted, progress_bar
from reconciler.cli.status import status

if TYPE_CHECKING:
    from reconciler.cycle import CycleSummary
    from reconciler.doctor import Finding


_FIELDS = "name", "level", "detail"
_COLOURS = {"OK": Colour.GOOD, "SKIP": Colour.QUIET, "WARN": Colour.DOUBTFUL, "FAIL": Colour.BAD}


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
    serve: Annotated[bool, typer.Option("--serve", help="Keep the server running until Ctrl-C.")] = False,
    directory: Annotated[Path | None, place_option(help="Directory for its files (default: a temporary one).")] = None,
) -> int:
    """Show the whole loop on an embedded MLflow server with sample models.

    Needs an MLflow server in the same environment: install mlflow-reconciler[server].
    """
    from reconciler.cli.pages import pages_of_everything
    from reconciler.cli.reports import tell
    from reconciler.cli.shown.terminal import spinner
    from reconciler.cli.written.signals import ended_in_order
    from reconciler.demo import run_demo

    # The server that it started would go on. Ctrl-C is how `--serve` is meant to end.
    with ended_in_order((signal.SIGTERM, signal.SIGHUP)):
        return run_demo(serve, directory, lambda settings: tell(settings, "decisions"), pages_of_everything, spinner)


def once(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be decided; change nothing.")] = False,
) -> int:
    """Run one cycle, and report it in one sentence and one exit code."""
    from reconciler import logs
    from reconciler.bootstrap.cycles import run_once
    from reconciler.daemon.schedule import log_cycle, log_every_event
    from reconciler.settings.load import config_path, refuse_writable_by_others

    configured = settings()
    for path in (config_path(Common.config), configured.policy):
        if path is not None:
            refuse_writable_by_others(path)
    logs.configure(configured.log.format, configured.log.level)
    summary = run_once(configured, dry_run, log_every_event)
    log_cycle(summary)
    return _exit_code(summary)


def _exit_code(summary: CycleSummary) -> int:
    if summary.unavailable is not None:
        return UNREACHABLE
    return NEGATIVE if summary.in_error or summary.in_doubt or summary.unlisted else DONE


def check(
    as_json: JsonOption = False,
    format: Annotated[Format | None, typer.Option("--format", help="Output format (default: table).")] = None,
    no_headers: NoHeadersOption = False,
) -> int:
    """Check everything that a daemon needs: OK, WARN or FAIL with a remedy, or SKIP if it could not be tried."""
    from reconciler import doctor

    shape = Shape(Format.JSON if wants_json(format, as_json) else format or Format.TABLE, not no_headers)
    with progress_bar("checking"):
        findings = doctor.check(settings(), Common.config)
    if shape.for_people:
        show_findings(findings)
    else:
        write_rows([asdict(finding) for finding in findings], shape, _FIELDS, _FIELDS, sys.stdout)
    return NEGATIVE if doctor.worst(findings) is doctor.Level.FAIL else DONE


def show_findings(findings: Sequence[Finding]) -> None:
    from reconciler.doctor.findings import lines

    for finding, line in zip(findings, lines(findings), strict=True):
        print(painted(line[:4], _COLOURS[str(finding.level)]) + line[4:])
