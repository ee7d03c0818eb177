"""audit report: which reports there are, and any of them."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from reconciler.cli import completing
from reconciler.cli.common import settings
from reconciler.cli.exits import DONE, say
from reconciler.cli.options import (
    DURATION,
    TIME,
    ModelOption,
    NoHeadersOption,
    SinceOption,
    TargetOption,
    UntilOption,
    duration_of,
    moment,
    need_some_time,
    place_option,
    target_of,
)
from reconciler.cli.pages import page_of, require_libraries, write_folder
from reconciler.cli.shown.output import Format, Shape, write_rows
from reconciler.cli.shown.terminal import progress_bar
from reconciler.domain.text import quoted

if TYPE_CHECKING:
    from reconciler.audit.reporting import Answer, Asked, Reading, Report
    from reconciler.settings.model import Settings

_GAP = "5m"


class ReportFormat(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    HTML = "html"


NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Names of reports. Without a name, the reports are listed.",
        autocompletion=completing.reports,
    ),
]
AtOption = Annotated[
    str | None, typer.Option(metavar=TIME, help="For as-of: the moment, same format as --since (default: now).")
]
LongerOption = Annotated[
    str, typer.Option("--longer-than", metavar=DURATION, help="Report gaps in the control that are longer than this.")
]
OutputOption = Annotated[
    Path | None, place_option(help="A file, or a directory that gets one file per report and day (default: stdout).")
]
SectionOption = Annotated[
    str | None,
    typer.Option(
        help="Only this list of the report, such as gaps. A CSV holds one list (default: the first).",
        autocompletion=completing.sections,
    ),
]
HtmlOption = Annotated[
    Path | None,
    place_option(
        "--html",
        metavar="<directory>",
        help="Write every report as HTML pages, with one for each model and decision (needs the extra `report`).",
    ),
]
ReportFormatOption = Annotated[ReportFormat | None, typer.Option("--format", help="Output format (default: table).")]


def report(
    names: NamesArgument = None,
    since: SinceOption = None,
    until: UntilOption = None,
    at: AtOption = None,
    model: ModelOption = None,
    target: TargetOption = None,
    longer_than: LongerOption = _GAP,
    section: SectionOption = None,
    output: OutputOption = None,
    html: HtmlOption = None,
    format: ReportFormatOption = None,
    no_headers: NoHeadersOption = False,
) -> int:
    """Report on a period, or list the reports. Each report is one snapshot, and states its period, database and log."""
    from reconciler.audit.reporting import Asked
    from reconciler.audit.reports import reports

    known, shape = reports(), _shape(format, no_headers)
    if not names and html is None:
        return _list(known.values(), shape)
    chosen = [_known(name, known) for name in names or ()]
    asked = Asked(
        moment(since, "--since"),
        moment(until, "--until"),
        model,
        target_of(target, "--target") if target else None,
        moment(at, "--at"),
        duration_of(longer_than, "--longer-than"),
    )
    _refuse(chosen, asked)
    if html is not None:
        _refuse_beside_html(names=names, at=at, section=section, output=output, format=format, no_headers=no_headers)
        return _write_pages(asked, html)
    if len(chosen) > 1 and (output is None or not output.is_dir()):
        raise typer.BadParameter("several reports need a directory: name an existing one", param_hint="--output")
    with _reading(settings(), asked) as reading:
        for one in chosen:
            _write(one, reading, shape, output, section)
    return DONE


def _write_pages(asked: Asked, place: Path) -> int:
    require_libraries()
    with _reading(settings(), asked) as reading:
        write_folder(reading, place)
    return DONE


def _shape(format: ReportFormat | None, no_headers: bool) -> Shape | None:
    """How rows are printed; None: as a page."""
    if format is not ReportFormat.HTML:
        return Shape(Format(format or ReportFormat.TABLE), not no_headers)
    if no_headers:
        raise typer.BadParameter("applies to rows, and an HTML page has none: leave it out", param_hint="--no-headers")
    return None


def _list(known: Iterable[Report], shape: Shape | None) -> int:
    listed = [{"name": one.name, "question": one.question} for one in known]
    if shape is None:
        raise typer.BadParameter("name a report, or write all with --html DIRECTORY", param_hint="--format")
    if shape.for_people:
        print("\n".join(f"{one['name']:13} {one['question']}" for one in listed))
    else:
        write_rows(listed, shape, ("name", "question"), ("name", "question"), sys.stdout)
    return DONE


def tell(settings: Settings, name: str) -> None:
    """Prints a report of everything that is on record."""
    from reconciler.audit.reporting import Asked
    from reconciler.audit.reports import reports

    with _reading(settings, Asked()) as reading:
        _write(reports()[name], reading, Shape(), None, None)


def _refuse_beside_html(**others: object) -> None:
    for name, value in others.items():
        if value:
            hint = "name" if name == "names" else f"--{name.replace('_', '-')}"
            raise typer.BadParameter("cannot be combined with --html, which writes every report", param_hint=hint)


def _known(name: str, known: Mapping[str, Report]) -> Report:
    if name not in known:
        raise typer.BadParameter(f"{quoted(name)} is not one of: {', '.join(known)}", param_hint="name")
    return known[name]


def _refuse(chosen: Sequence[Report], asked: Asked) -> None:
    """What cannot be asked."""
    now = datetime.now(UTC)
    if asked.since and asked.until:
        need_some_time(asked.since, asked.until)
    elif asked.since and asked.since >= now:
        raise typer.BadParameter("is in the future", param_hint="--since")
    if asked.at and asked.at > now:
        raise typer.BadParameter("is in the future", param_hint="--at")
    for one in chosen:
        if one.of_a_moment and (asked.since or asked.until):
            raise typer.BadParameter(f"{one.name} is about a moment: use --at", param_hint="--since")
        if asked.at and not one.of_a_moment:
            raise typer.BadParameter(f"{one.name} is about a period: use --since and --until", param_hint="--at")


@contextlib.contextmanager
def _reading(settings: Settings, asked: Asked) -> Iterator[Reading]:
    from reconciler.audit.on_record import not_on_record
    from reconciler.audit.reporting import Reading
    from reconciler.bootstrap.audit_reader import audit_snapshot

    with audit_snapshot(settings) as connection:
        reading = Reading(connection, asked, settings.plugins.named())
        for sentence in not_on_record(reading):
            say(sentence)
        yield reading


def _write(report: Report, reading: Reading, shape: Shape | None, output: Path | None, section: str | None) -> None:
    from reconciler.audit.reporting import matter_of
    from reconciler.cli.shown.rendering import head_sentence, write_report

    if shape is None:
        _write_page(report, reading, output, section)
        return
    with progress_bar(f"counting for {report.name}"):
        matter, answer = matter_of(report, reading), report.answer(reading)
    if section is not None:
        answer = _only(section, answer)
    ending = "txt" if shape.format is Format.TABLE else str(shape.format)
    writing = progress_bar(f"writing {report.name}", beside_rows=output is None)
    with writing, _stream(report, ending, output, reading.now) as stream:
        write_report(matter, answer, shape, stream)
    if not shape.for_people and shape.format in (Format.TABLE, Format.CSV):
        # Rows have no room for what stands above them.
        say(head_sentence(matter, answer))


def _write_page(report: Report, reading: Reading, output: Path | None, section: str | None) -> None:
    if section is not None:
        raise typer.BadParameter("an HTML page has every list: leave it out", param_hint="--section")
    require_libraries()
    with progress_bar(f"drawing {report.name}"):
        page = page_of(report, reading)
    with _stream(report, "html", output, reading.now) as stream:
        stream.write(page)


def _only(section: str, answer: Answer) -> Answer:
    """The same, with the rows of one section."""
    names = [one.name for one in answer.sections]
    if section not in names:
        raise typer.BadParameter(f"{quoted(section)} is not one of: {', '.join(names)}", param_hint="--section")
    return replace(answer, sections=[answer.sections[names.index(section)]])


@contextlib.contextmanager
def _stream(report: Report, ending: str, output: Path | None, now: datetime) -> Iterator[TextIO]:
    """Stdout, or a file that takes its place when it is whole."""
    from reconciler.cli.written.files import put

    if output is None:
        yield sys.stdout
        return
    path = output / f"{report.name}-{now:%Y-%m-%d}.{ending}" if output.is_dir() else output
    with put(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="\n", write_through=False)
        yield text
        text.flush()
        text.detach()
    say(f"wrote {path}")
