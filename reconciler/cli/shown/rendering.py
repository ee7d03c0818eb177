"""Any report, as text for people, CSV, JSON or JSON lines: rows are written as they are read."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from itertools import chain, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TextIO

from reconciler.cli.shown.columns import Part, for_machines, parts_of, rows_of
from reconciler.cli.shown.decision_lines import decisions_text
from reconciler.cli.shown.output import Format, Shape, row_writer
from reconciler.cli.shown.tables import write_record, write_table
from reconciler.domain.text import visible
from reconciler.domain.times import duration_text, iso

if TYPE_CHECKING:
    from reconciler.audit.reporting import Answer, Matter, Section

_WIDTH: Final = 80
_DIGEST: Final = re.compile("[0-9a-f]{64}")
# The widths of a table's columns are those of so many rows.
_OF_A_TABLE: Final = 200
# Kinds of rows that people read in another form than a table.
_AS_LINES: Final[Mapping[str, Callable[[list[dict[str, Any]]], str]]] = {
    "Decided": lambda rows: decisions_text(rows, _WIDTH)
}


def write_report(matter: Matter, answer: Answer, shape: Shape, stream: TextIO) -> None:
    """CSV, and a table without names of columns, have the rows of the first section."""
    if shape.for_people:
        _write_text(matter, answer, stream)
        return
    writer, above = row_writer(shape, stream), _above(matter, answer)
    if shape.format is Format.JSONL:
        # The first line; each row names its section.
        writer.write(above)
    writer.facts(above)
    is_whole = shape.format in (Format.JSON, Format.JSONL)
    for section in answer.sections if is_whole else answer.sections[:1]:
        named = {"section": section.name} if shape.format is Format.JSONL else {}
        writer.begin((*named, *section.fields), section.columns, section.name)
        writer.write_parts(_named(named.values(), _parts(section, section.rows)))
    writer.end()


def write_section(section: Section, rows: Iterable[Any], stream: TextIO) -> None:
    """As CSV, these rows of a section."""
    writer = row_writer(Shape(Format.CSV), stream)
    writer.begin(section.fields)
    writer.write_parts(_parts(section, rows))
    writer.end()


def _above(matter: Matter, answer: Answer) -> dict[str, Any]:
    told = {"opinion": answer.opinion, "qualified": bool(answer.qualifications)}
    more = {"qualifications": list(answer.qualifications), "counts": dict(answer.counts)}
    return _plain(matter) | told | more


def _named(names: Iterable[str], parts: Iterable[Part]) -> Iterator[Part]:
    """With columns before the others whose cells are all the same."""
    return ([*([name] * len(part[0]) for name in names), *part] for part in parts)


def _parts(section: Section, rows: Iterable[Any]) -> Iterator[Part]:
    from reconciler.audit.streaming import Typed

    return rows.by_column() if isinstance(rows, Typed) else parts_of(map(attrgetter(*section.fields), rows))


def _plain(value: Any) -> dict[str, Any]:
    return {field.name: for_machines(getattr(value, field.name)) for field in fields(value)}


# --- for people ----------------------------------------------------------------------------------------------


def _write_text(matter: Matter, answer: Answer, stream: TextIO) -> None:
    for line in _opening(matter, answer):
        stream.write(f"{line}\n")
    write_record(_head_of(matter), stream)
    for name, count in _flat(answer.counts):
        stream.writelines(f"{line}\n" for line in _wrapped(f"{name}: {count}", "  "))
    # What is read line by line is the longest, and hides nothing behind it.
    for section in sorted(answer.sections, key=lambda section: section.row.__name__ in _AS_LINES):
        _write_section(section, stream)


def _opening(matter: Matter, answer: Answer) -> Iterator[str]:
    yield from _wrapped(f"{matter.report}: {matter.question}")
    yield ""
    yield from _wrapped(answer.opinion)
    for sentence in answer.qualifications:
        yield from _wrapped(f"qualified: {sentence}", "  ")
    yield ""


def head_sentence(matter: Matter, answer: Answer) -> str:
    """What stands above a report, in one line."""
    head = "; ".join(f"{name} {value}" for name, value in _head_of(matter).items() if value)
    qualified = "".join(f" (qualified: {sentence})" for sentence in answer.qualifications)
    return visible(f"{matter.report}: {answer.opinion}{qualified}; {head}")


def _head_of(matter: Matter) -> dict[str, Any]:
    log = matter.log
    return {
        "period": f"{_moment(matter.since)} to {_moment(matter.until)}" if matter.until else None,
        "at": _moment(matter.at) if matter.at else None,
        "models": matter.model,
        "target": matter.target,
        "registries": ", ".join(matter.registries),
        "database": matter.database,
        "log": f"{log['origin']}, {log['size']} entries, root {log['root']}, epoch {log['epoch']}" if log else "empty",
        "made_at": f"{_moment(matter.made_at)} by mlflow-reconciler {matter.product_version}",
    }


def _moment(moment: datetime | None) -> str:
    return "the beginning" if moment is None else f"{iso(moment)[:19].replace('T', ' ')} UTC"


def _flat(counts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """`verdicts: 3 approve, 1 reject`; a count by itself as it is."""
    for name, count in counts.items():
        if isinstance(count, Mapping):
            parts = ", ".join(
                f"{_cell(name, many)} {visible(_short(what) or '').replace('_', ' ')}"
                for what, many in count.items()
                if many
            )
            yield _heading(name).replace("_", " "), parts or "none"
        elif count:
            yield name.replace("_", " "), str(count)


def _short(what: str | None) -> str | None:
    """A digest by its beginning, any other word as it is."""
    return what[:12] if what and _DIGEST.fullmatch(what) else what


def _write_section(section: Section, stream: TextIO) -> None:
    values = chain.from_iterable(map(rows_of, _parts(section, section.rows)))
    rows = (dict(zip(section.fields, row, strict=True)) for row in values)
    title = f"\n{section.name.replace('_', ' ')}\n"
    for part in iter(lambda: list(islice(rows, _OF_A_TABLE)), []):
        stream.write(title)
        if (as_lines := _AS_LINES.get(section.row.__name__)) is not None:
            stream.write(as_lines(part) + "\n")
        else:
            columns = [_heading(name) for name in _shown_columns(section, part)]
            write_table([_for_people(row) for row in part], columns, stream)
        title = ""


def _shown_columns(section: Section, part: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """Models of two workspaces may have one name."""
    several = len({row.get("workspace") for row in part}) > 1 and "workspace" not in section.columns
    return ("workspace", *section.columns) if several else section.columns


def _for_people(row: Mapping[str, Any]) -> dict[str, Any]:
    return {_heading(name): _cell(name, value) for name, value in row.items()}


def _heading(name: str) -> str:
    """Of a column of seconds, in which people are shown durations."""
    return "lasted" if name == "seconds" else name.removesuffix("_seconds")


def _cell(name: str, value: Any) -> Any:
    if name.endswith("digest"):
        return _short(value)
    if name.endswith("seconds") and value is not None:
        return duration_text(timedelta(seconds=round(value)))
    return value


def _wrapped(text: str, indent: str = "") -> Iterable[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ") or [""]
