"""run: the daemon, which runs for months and so starts without the command-line parser (typer, 8 MB)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reconciler.cli.common import COMMON_OPTIONS, Common, LogFormat, LogLevel, settings


def run() -> int:
    """Run the daemon until SIGTERM or SIGINT."""
    from reconciler import logs
    from reconciler.daemon import in_force

    configured = settings()
    logs.configure(configured.log.format, configured.log.level)
    return in_force.run_daemon(Common.config, configured)


def asks_for_run(typed: Sequence[str]) -> bool:
    """Whether the command line, common options first, is `run` with valid options, which are then put into Common.

    Anything else, be it another command, a call for help or a mistake, is left to typer.
    """
    *options, command = typed or [""]
    given = _given(options)
    if command != "run" or given is None:
        return False
    config, log_format, log_level = (given.get(name) for name in ("--config", "--log-format", "--log-level"))
    try:
        Common.log_format = LogFormat(log_format) if log_format else None
        Common.log_level = LogLevel(log_level) if log_level else None
    except ValueError:
        return False
    Common.config = Path(config) if config else None
    return True


def _given(options: Sequence[str]) -> dict[str, str] | None:
    """Values by option, the last of several; None where a value is missing, or looks like an option itself."""
    given: dict[str, str] = {}
    left = list(options)
    while left:
        name, has_value, value = left.pop(0).partition("=")
        if not has_value and left:
            value = left.pop(0)
        if name not in COMMON_OPTIONS or not value or value.startswith("-"):
            return None
        given[name] = value
    return given
