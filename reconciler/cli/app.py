"""The commands by name. Each imports what it needs when it runs: `--help` stays quick."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from reconciler import __version__
from reconciler.cli import audit, daemon, db, policy, requests, setting_up
from reconciler.cli.commands import Commands
from reconciler.cli.common import Common, LogFormat, LogLevel
from reconciler.cli.exits import DONE, USAGE, say

app = typer.Typer(
    cls=Commands,
    name="mlflow-reconciler",
    help="Protected aliases and a flight recorder for MLflow, with no inbound port.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
daemon.register(app)
requests.register(app)
setting_up.register(app)
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
        typer.Option(
            help="Configuration file (default $RECONCILER_CONFIG, else /etc/mlflow-reconciler/config.yaml).",
            # Whether it can be read is told with the configuration.
            readable=False,
        ),
    ] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="Log format.")] = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="Lowest level to log.")] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    Common.config, Common.log_format, Common.log_level = config, log_format, log_level


def run_typed(typed: Sequence[str]) -> int:
    """Runs the command of a command line, and returns its exit code."""
    try:
        code = app(typed, prog_name=app.info.name, standalone_mode=False)
    except TyperException as error:
        _tell_mistake(error, typed)
        return USAGE
    except typer.Exit as leave:
        return leave.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except SystemExit as leave:
        # Typer exits 1 where the reader of our output went away (`| head`), which would be a negative answer.
        if isinstance(leave.__context__, BrokenPipeError):
            raise leave.__context__ from None
        raise
    return code if isinstance(code, int) else DONE


def _tell_mistake(error: TyperException, typed: Sequence[str]) -> None:
    from reconciler.cli.usage import usage_sentence

    # No command was given, so the whole help is shown.
    nothing_typed = type(error).__name__ == "NoArgsIsHelpError"
    say(error.message if nothing_typed else usage_sentence(error, app, typed))
