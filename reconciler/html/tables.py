"""Rows as cells of a page: numbers to the right, times in UTC, names of strangers as visible text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from reconciler.audit.reporting import Section
from reconciler.domain.text import visible
from reconciler.domain.times import duration_text, iso

_DIGEST: Final = re.compile("[0-9a-f]{64}")
_TITLES: Final = {
    "first_seen_with": "first seen", "last_seen_without": "last seen without", "last_seen_with": "last seen",
    "first_seen_without": "seen gone", "p50_seconds": "half within", "p95_seconds": "95 % within",
    "most_seconds": "longest", "longest_gap_seconds": "longest gap", "seconds": "length", "gap_seconds": "all gaps",
    "tenure_id": "tenure", "decision_id": "decision", "policy_digest": "policy", "percent": "observed %",
}  # fmt: skip
# A dossier, and a CSV, have all of it.
_MOST_OF_A_TEXT: Final = 600
# A longer word is broken where the column ends.
_WORD: Final = 24
_LONG: Final = frozenset(
    {"reason", "comment", "observed", "expected", "scope", "difference", "detail", "accepted_because"}
)


@dataclass(frozen=True, slots=True)
class Cell:
    """Args:
    kind: `text`, `long`, `number`, `moment`, `id`, or `word`, which may have a badge; "": nothing is in it.
    sort: by what it is sorted, where that is not its text.
    """

    text: str
    kind: str = "text"
    sort: str = ""
    href: str = ""
    badge: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    kind: str


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of a page.

    Args:
        note: what is not in it, and where that is.
        sortable: people may sort and filter it.
    """

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    sortable: bool = False


@dataclass(frozen=True, slots=True)
class Links:
    """Pages that there are, by the name of a model and by the id of a decision."""

    models: Mapping[str, str]
    decisions: Mapping[str, str]

    def of(self, name: str, value: str) -> str:
        if name == "model":
            return self.models.get(value, "")
        return self.decisions.get(value, "") if name in {"decision_id", "replaces"} else ""


NO_LINKS: Final = Links({}, {})


def grid(
    id: str, caption: str, columns: Sequence[str], rows: Iterable[Any], links: Links = NO_LINKS, **more: Any
) -> Grid:
    """A table of these fields of the rows, which are dataclasses or mappings."""
    cells = [[cell(name, _value(row, name), links) for name in columns] for row in rows]
    heads = [_column(name, [row[place] for row in cells]) for place, name in enumerate(columns)]
    # What is not there stands as what would be.
    filled = [
        [one if one.kind else replace(one, kind=head.kind) for one, head in zip(row, heads, strict=True)]
        for row in cells
    ]
    return Grid(id, caption, heads, filled, **more)


def _value(row: Any, name: str) -> Any:
    return row[name] if isinstance(row, Mapping) else getattr(row, name)


def _column(name: str, cells: Sequence[Cell]) -> Column:
    kinds = {one.kind for one in cells if one.kind}
    kind = "long" if "long" in kinds else min(kinds, default=_kind_of(name))
    title = _TITLES.get(name, name.replace("_", " "))
    return Column(f"{title} (UTC)" if kind == "moment" else title, kind)


def cell(name: str, value: Any, links: Links = NO_LINKS) -> Cell:
    if value is None or value == "":
        return Cell("–", "")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, datetime):
        return Cell(moment_text(value), "moment", iso(value))
    if name.endswith("seconds") and isinstance(value, int | float):
        return Cell(length_text(value), "number", repr(value))
    if isinstance(value, int | float):
        # Ids are no amounts, and are copied into commands.
        text = str(value) if name.endswith("_id") else f"{value:,}" if isinstance(value, int) else f"{value:,g}"
        return Cell(text, "number", repr(value))
    raw = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    # What is shown may be another text: escaped, or cut.
    return _text_cell(name, visible(raw, _MOST_OF_A_TEXT), links.of(name, raw))


def _kind_of(name: str) -> str:
    return "long" if name in _LONG else "text"


def _text_cell(name: str, text: str, href: str) -> Cell:
    if name in {"decision_id", "replaces"}:
        return Cell(text[:8], "id", text, href)
    if name.endswith("digest") and _DIGEST.fullmatch(text):
        return Cell(text[:12], "id", text, href)
    badge = _BADGES.get(text, "") if name in _WORDS else ""
    if badge or name in _WORDS:
        return Cell(text.replace("_", " "), "word", text, badge=badge)
    kind = "long" if max(map(len, text.split()), default=0) > _WORD else _kind_of(name)
    return Cell(text, kind, href=href)


_WORDS: Final = frozenset(
    {"verdict", "outcome", "effect", "counted_as", "standing", "result", "resolution", "state", "what"}
)
_BADGES: Final = {
    "approve": "good", "reject": "stopped", "passed": "good", "failed": "stopped", "exception": "bad", "open": "bad",
    "approved": "good", "rejected": "stopped", "gone": "quiet", "acknowledged": "quiet", "unexplained": "doubtful",
    "undetermined": "doubtful", "person_unknown": "doubtful", "running": "good", "paused": "doubtful",
    "stood_still": "bad", "database_gap": "bad", "registry_down": "bad",
}  # fmt: skip


def length_text(seconds: float) -> str:
    """`4d 12h`."""
    return duration_text(timedelta(seconds=round(seconds, 1 if seconds < 60 else 0)))


def moment_text(moment: datetime | None) -> str:
    """`2026-11-24 09:28:30`, of UTC."""
    return "the beginning" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def day_text(moment: datetime | None) -> str:
    return "the beginning" if moment is None else f"{moment.astimezone(UTC):%d %B %Y}".lstrip("0")


# --- sections of reports ---------------------------------------------------------------------------------------

# Where a page has more room than a terminal.
_WIDER: Final[Mapping[str, Sequence[str]]] = {
    "Decided": ("decided_at", "verdict", "model", "version", "target", "requester", "reason", "effect", "decision_id"),
    "Tenure": (
        "tenure_id", "counted_as", "model", "version", "target", "first_seen_with", "first_seen_without", "person",
        "decision_id", "accepted_by",
    ),
    "Bypass": (
        "tenure_id", "standing", "model", "version", "target", "last_seen_without", "first_seen_with",
        "first_seen_without", "approved_by", "accepted_by", "accepted_because",
    ),
}  # fmt: skip
# Of sections whose name says little beside the tables of other reports.
_HEADINGS: Final[Mapping[str, str]] = {
    "control": "How much of the period was observed", "watched": "What is looked at, and since when",
    "crossed": "By verdict, mode, outcome and effect", "by_model": "By model", "pending": "Without an outcome yet",
    "intervals": "States of the daemons", "times": "How long requests took", "changes": "What changed",
    "periods": "When each policy was in force", "under": "Decisions under each policy", "open": "Open requests",
    "models": "Models without a rule",
}  # fmt: skip
# Gets the rows that a page has no room for, with the first ones before them.
Rest = Callable[[Section, Iterator[Any]], str]


def section_grid(section: Section, most: int, links: Links, rest: Rest) -> Grid:
    """The first rows of a section.

    Args:
        rest: told of all rows where there are more, and says where they are.
    """
    rows = iter(section.rows)
    first = list(islice(rows, most))
    more = next(rows, None)
    note = ""
    if more is not None:
        where = rest(section, _again(first, more, rows))
        note = f"The first {most:,} rows. {where}"
    columns = _WIDER.get(section.row.__name__, section.columns)
    return grid(
        section.name,
        _HEADINGS.get(section.name, section.name.replace("_", " ").capitalize()),
        columns,
        first,
        links,
        note=note,
        sortable=len(first) > 8,
    )


def _again(first: Sequence[Any], more: Any, rows: Iterator[Any]) -> Iterator[Any]:
    yield from first
    yield more
    yield from rows
