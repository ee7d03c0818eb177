"""How the schema of a database differs from the one that the migrations make, each difference by name.

What they make is stored in `expected/`, one file for each kind of database, so that a check needs no second database.
`make schema` writes the files, and a test compares them with the migrations.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from reconciler.audit.integrity.catalogue import Catalogue, Item, catalogue
from reconciler.domain.text import visible

EXPECTED = Path(__file__).with_name("expected")
# An auditor's own views, and functions, do no harm, nor do words about anything.
_MAY_BE_ADDED = {"view", "function", "comment"}
_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Difference:
    """`found` is None where the item is missing, `expected` where it is none of ours."""

    item: Item
    found: str | None
    expected: str | None

    def __str__(self) -> str:
        name = visible(str(self.item), 300)
        if self.expected is None:
            return f"{name} is not of this schema: find out who added it, and drop it"
        restore = "put it back as a new database has it"
        if self.found is None:
            return f"{name} is missing: {restore}"
        return f"{name} was changed, it reads `{_part(self.found, self.expected)}`: {restore}"

    @property
    def hides_rows(self) -> bool:
        """Whether rows can be read at all: where a column is gone, they cannot."""
        return self.found is None and self.item.kind in {"table", "column"}


def _part(found: str, expected: str) -> str:
    """What was found, from shortly before the place where it differs."""
    same = next((at for at, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), len(expected))
    begin = 0 if len(found) <= _SHOWN else max(0, same - 40)
    shown = found[begin : begin + _SHOWN]
    return visible(("… " if begin else "") + shown + (" …" if begin + _SHOWN < len(found) else ""), 300)


def differences(connection: Connection) -> list[Difference]:
    found, wanted = catalogue(connection), expected(connection.dialect.name)
    differing = {item for item in found.keys() | wanted.keys() if found.get(item) != wanted.get(item)}
    # Of a table that is missing, or none of ours, nothing else is told.
    apart = {item.name for item in found.keys() ^ wanted.keys() if item.kind == "table"}
    told = (
        Difference(item, found.get(item), wanted.get(item))
        for item in sorted(differing, key=lambda item: (item.table, item))
        if (item.kind == "table" or item.table not in apart) and not _is_told_by_another(item, differing)
    )
    return [one for one in told if one.expected is not None or one.item.kind not in _MAY_BE_ADDED]


def _is_told_by_another(item: Item, differing: Collection[Item]) -> bool:
    """Words about a column or a view that is another itself, or is gone."""
    about = Item("column", item.name, item.table), Item("view", item.table)
    return item.kind == "comment" and any(one in differing for one in about)


# --- the files -----------------------------------------------------------------------------------------------


def expected(dialect: str) -> Catalogue:
    """The schema of a new database of this kind."""
    stored = json.loads((EXPECTED / f"{dialect}.json").read_text(encoding="utf-8"))
    return dict(_items(stored))


def _items(stored: dict[str, dict[str, dict[str, str]]]) -> Iterator[tuple[Item, str]]:
    for table, kinds in stored.items():
        for kind, named in kinds.items():
            for name, told in named.items():
                yield Item(kind, name, table), told


def as_file(found: Catalogue) -> str:
    """A schema as a file of `EXPECTED` has it: by table, kind and name."""
    stored: dict[str, dict[str, dict[str, str]]] = {}
    for item, told in found.items():
        stored.setdefault(item.table, {}).setdefault(item.kind, {})[item.name] = told
    return json.dumps(stored, indent=1, sort_keys=True, ensure_ascii=True) + "\n"
