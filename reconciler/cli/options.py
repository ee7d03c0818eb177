"""What several commands share: options, and the parsing of times and targets."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from reconciler.cli import completing
from reconciler.cli.shown.output import Format
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.domain.times import parse_duration, parse_iso

# What the help shows in the place of a value.
TIME: Final = "<time>"
DURATION: Final = "<duration>"
REASON: Final = "<text>"


def _model(name: str) -> str:
    if not name:
        raise typer.BadParameter("is empty: name a registered model")
    return name


ModelArgument = Annotated[
    str,
    typer.Argument(help="The registered model's name.", callback=_model, autocompletion=completing.models),
]
DecisionArgument = Annotated[
    str,
    typer.Argument(help="The decision's id, or its first characters.", autocompletion=completing.decisions),
]
VersionArgument = Annotated[str, typer.Argument(help="The version's number.")]
TargetArgument = Annotated[
    str,
    typer.Argument(help="A stage (Production) or an alias (@champion).", autocompletion=completing.targets),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
WaitingTimeOption = Annotated[
    str, typer.Option("--timeout", metavar=DURATION, help="How long --wait waits, such as 90s, 10m or 1h.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(metavar="<glob>", help="Name of the model; * matches anything.", autocompletion=completing.models),
]
TargetOption = Annotated[
    str | None,
    typer.Option(metavar="<target>", help="A stage or an alias such as @champion.", autocompletion=completing.targets),
]
FormatOption = Annotated[Format, typer.Option("--format", help="Output format.")]
_ROWS_ONLY = "Leave out the column names of a table or a CSV. JSON is not affected."
NoHeadersOption = Annotated[bool, typer.Option("--no-headers", help=_ROWS_ONLY)]


def _place(text: str) -> Path:
    if not text:
        raise typer.BadParameter("is empty: name a file or a directory")
    return Path(text)


def place_option(*names: str, help: str, metavar: str = "<path>") -> Any:
    """Where a command writes. An empty value, of a variable that is not set, would be the current directory."""
    return typer.Option(*names, parser=_place, metavar=metavar, help=help)


class PageFormat(StrEnum):
    """The words of `Format` that fit what is no list of rows."""

    TABLE = "table"
    JSON = "json"


PageFormatOption = Annotated[PageFormat | None, typer.Option("--format", help="Output format (default: table).")]
SinceOption = Annotated[
    str | None,
    typer.Option(
        metavar=TIME, help="Start of the period (UTC): 2026-11-24, 2026-11-24T09:00, or 7d for the last seven days."
    ),
]
UntilOption = Annotated[
    str | None, typer.Option(metavar=TIME, help="End of the period, exclusive; same format as --since.")
]


# MLflow keeps version numbers as 32-bit integers in every database.
_LARGEST_VERSION = 2**31 - 1


def target_of(text: str, option: str = "target") -> Target:
    try:
        return Target.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def version_of(text: str) -> str:
    """A version's number, refused here where no registry can have it.

    Raises:
        NotFound: no version has so large a number.
    """
    from reconciler.ports import NotFound

    if not re.fullmatch("[0-9]+", text):
        raise typer.BadParameter(f"{text!r} is not a version number: use digits only, such as 7", param_hint="version")
    if len(text) > len(str(_LARGEST_VERSION)) or int(text) > _LARGEST_VERSION:
        raise NotFound(f"there is no version {visible_name(text)}: the largest version number is {_LARGEST_VERSION}")
    return text


def wants_json(format: StrEnum | None, as_json: bool) -> bool:
    """Whether JSON is wanted, by --format or by --json, which is short for it."""
    if as_json and format not in (None, "json"):
        raise typer.BadParameter("--json is --format json: use one of the two", param_hint="--format")
    return as_json or format == "json"


def duration_of(text: str, option: str = "--timeout") -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def moment(text: str | None, option: str) -> datetime | None:
    """A time, or a duration back from now."""
    if text is None:
        return None
    try:
        return parse_iso(text)
    except ValueError:
        pass
    try:
        return datetime.now(UTC) - parse_duration(text)
    except ValueError:
        message = f"{text!r} is not a time: use 2026-11-24, 2026-11-24T09:00 or 7d"
        raise typer.BadParameter(message, param_hint=option) from None


def period(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """From when, and until when; None where it has no such bound."""
    begins, ends = moment(since, "--since"), moment(until, "--until")
    if begins and ends:
        need_some_time(begins, ends)
    return begins, ends


def need_some_time(begins: datetime, ends: datetime) -> None:
    """Raises BadParameter where a period has no moment."""
    if begins > ends:
        raise typer.BadParameter("the period ends before it begins", param_hint="--until")
    if begins == ends:
        empty = "the period ends as it begins, and is empty: --until is the first moment behind it"
        raise typer.BadParameter(empty, param_hint="--until")


ByOption = Annotated[
    str | None, typer.Option("--by", metavar="<name>", help="Name to record (default: your user name on this machine).")
]
