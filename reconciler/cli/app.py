"""The commands by name. Each imports what it needs when it runs: `--help` stays quick."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from reconciler import __version__
from reconciler.cli import audit, daemon, db, policy, requests
from reconciler.cli.exits import DONE, USAGE, guarded, say
from reconciler.cli.options import Common, LogFormat, LogLevel

app = typer.Typer(
    name="mlflow-reconciler",
    help="Protected aliases and a flight recorder for MLflow, with no inbound port.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
daemon.register(app)
requests.register(app)
app.add_typer(policy.app, name="policy")
app.add_typer(audit.app, name="audit")
app.add_typer(db.app, name="db")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"mlflow-reconciler {__version__}")
        raise typer.Exit


@app.callback(epilog="Example: mlflow-reconciler --config config.yaml once --dry-run")
def before(
    config: Annotated[
        Path | None,
        typer.Option(help="The configuration (default $RECONCILER_CONFIG, else /etc/mlflow-reconciler/config.yaml)."),
    ] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="Log format.")] = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="Lowest level to log.")] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    Common.config, Common.log_format, Common.log_level = config, log_format, log_level


def main() -> None:
    """Runs one command and leaves with its exit code."""
    sys.exit(guarded(_run))


_COMMON = ("--config", "--log-format", "--log-level")


def common_first(arguments: Sequence[str]) -> list[str]:
    """`once --config FILE` means the same as `--config FILE once`, up to a `--`."""
    first: list[str] = []
    rest = list(arguments)
    ends = rest.index("--") if "--" in rest else len(rest)
    at = 0
    while at < ends:
        name, has_value, _ = rest[at].partition("=")
        length = 0 if name not in _COMMON else 1 if has_value else 2
        first += rest[at : at + length]
        del rest[at : at + length]
        ends, at = ends - length, at + (not length)
    return first + rest


def _run() -> int:
    try:
        code = app(common_first(sys.argv[1:]), standalone_mode=False)
    except TyperException as error:
        # A mistake in the command line; it knows how to tell the usage.
        _speak_plainly(error)
        show = getattr(error, "show", None)
        show() if show is not None else say(str(error))
        return USAGE
    except typer.Exit as leave:
        return leave.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    return code if isinstance(code, int) else DONE


def _speak_plainly(error: TyperException) -> None:
    """Where pydantic found that a value is wrong, its words are told in ours."""
    from pydantic import ValidationError

    from reconciler.domain.mistakes import typed_and_wrong

    if isinstance(error.__cause__, ValidationError):
        error.message = typed_and_wrong(error.__cause__.errors()[0])
