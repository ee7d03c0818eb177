"""Which rows give the hashes that the log has of them, by the hundred thousand: cells become bytes without detours.

This only ever says that a row agrees, and never that one does not: what is not plain is left to `log.reading`, which
reads a row by itself and tells what is wrong with it. A row agrees where the bytes that were made of its cells have the
hash of its entry, and each kind of cell has a form of its own: none can pass for another.

Some hundred rows are taken column by column, so that what a column may hold is asked once for all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from itertools import compress
from json.encoder import encode_basestring_ascii
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, Connection, Integer
from sqlalchemy.exc import DBAPIError

from reconciler.audit.cells import Real, Truth
from reconciler.audit.database import texts_only
from reconciler.audit.evidence.covering import covered_at_once
from reconciler.audit.log.appending import ENTRIES, REST_ON_EVIDENCE
from reconciler.audit.log.canonical import FORMAT, Damaged
from reconciler.audit.log.reading import TABLES, cell_of
from reconciler.audit.statements import chunks, driver_rows
from reconciler.audit.tables import Base, DecisionCheckRow, DecisionRow, UtcMillis
from reconciler.domain.times import iso

# By name, each with as many cells as there are rows.
Columns = Mapping[str, Sequence[Any]]
_NOTHING: Final = type(None)
# What a cell of another kind than its column's raises.
_OTHERWISE: Final = (TypeError, ValueError, KeyError, AttributeError, Damaged)


def agreeing(connection: Connection, leaves: Sequence[Any]) -> set[int]:
    """The numbers of the entries whose rows are as they were recorded, as far as that can be told at once.

    Args:
        leaves: rows of `log_leaves`.
    """
    wanted: dict[str, dict[str, tuple[int, bytes]]] = defaultdict(dict)
    for number, entry, row_key, hash_ in leaves:
        if isinstance(row_key, str):
            wanted[entry][row_key] = number, hash_
    found: set[int] = set()
    for table, of_table in wanted.items():
        if table in TABLES:
            for key, hash_ in _hashes(connection, TABLES[table], of_table):
                number, expected = of_table.get(key, (-1, b""))
                if hash_ == expected:
                    found.add(number)
    return found


def _hashes(connection: Connection, row: type[Base], keys: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """The hash of the entry of each row that is plain, by its key."""
    driver: Any = connection.dialect.loaded_dbapi
    with texts_only(connection):
        for some in chunks(keys):
            try:
                yield from list(_contents(connection, row, some))
            except (driver.Error, *_OTHERWISE):
                # One cell that is no text ends the reading of all of them, as one of another kind does.
                continue
            except DBAPIError:
                if connection.dialect.name != "sqlite":
                    raise


# --- rows ----------------------------------------------------------------------------------------------------


def _contents(connection: Connection, row: type[Base], keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    columns = _columns(connection, row, ENTRIES[row], [cell_of(row, key) for key in keys])
    if row in REST_ON_EVIDENCE:
        columns = _with_the_rest(connection, row, columns)
    # The zero byte is that of `leaf_hash`.
    begin, end = f'\0{{"format":"{FORMAT}","row":', f',"table":"{row.__tablename__}"}}'
    for key, text in zip(columns[ENTRIES[row]], _objects(connection, row, columns), strict=True):
        yield str(key), sha256(f"{begin}{text}{end}".encode()).digest()


def _columns(connection: Connection, row: type[Base], key: str, keys: Sequence[Any], order: str = "") -> Columns:
    """Cells as the driver has them, of the rows with one of these keys."""
    names = [column.name for column in row.__table__.columns]
    rows = driver_rows(connection, row, names, key, keys, order)
    return dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))


def _with_the_rest(connection: Connection, row: type[Base], columns: Columns) -> Columns:
    """With what else belongs into their entries; rows whose evidence is not plain are left out."""
    found = covered_at_once(connection, columns[REST_ON_EVIDENCE[row]])
    covered = [found.get(key) for key in columns[REST_ON_EVIDENCE[row]]]
    whole = {name: tuple(compress(column, covered)) for name, column in columns.items()}
    whole["evidence"] = tuple(filter(None, covered))
    if row is DecisionRow:
        checks = _checks(connection, whole["decision_id"])
        whole["checks"] = tuple(f"[{','.join(checks[id])}]" for id in whole["decision_id"])
    return whole


def _checks(connection: Connection, decision_ids: Sequence[Any]) -> dict[str, list[str]]:
    """The checks of each decision as JSON, in their order."""
    columns = _columns(connection, DecisionCheckRow, "decision_id", decision_ids, "decision_id, position")
    checks: dict[str, list[str]] = defaultdict(list)
    # Its id stands in the decision that they are part of.
    bare = {name: column for name, column in columns.items() if name != "decision_id"}
    for id, text in zip(columns["decision_id"], _objects(connection, DecisionCheckRow, bare), strict=True):
        checks[id].append(text)
    return checks


def _objects(connection: Connection, row: type[Base], columns: Columns) -> Iterator[str]:
    """Each row as an object of JSON, its members in the order of their names. Raises one of `_OTHERWISE`."""
    form, texts = "", list[Sequence[str]]()
    for name in sorted(columns):
        column, kind = columns[name], _kinds(row.__tablename__, connection.dialect.name)[name]
        classes = set(map(type, column))
        if not classes - {_NOTHING} <= kind.classes:
            raise Damaged("holds a cell of another kind than its column's")
        if classes == {_NOTHING}:
            continue
        member = f',"{name}":'
        if _NOTHING in classes:
            form += "%s"
            texts.append(["" if cell is None else member + kind.text(cell) for cell in column])
        else:
            form += f"{member}%s"
            texts.append([*map(kind.text, column)])
    return (f"{{{(form % members)[1:]}}}" for members in zip(*texts, strict=True))


# --- cells ---------------------------------------------------------------------------------------------------


class _Kind(NamedTuple):
    """The classes of a column's cells, and how each becomes JSON."""

    classes: frozenset[type]
    text: Callable[[Any], str]


@cache
def _kinds(table: str, dialect: str) -> Mapping[str, _Kind]:
    kinds = {column.name: _kind(column, dialect) for column in Base.metadata.tables[table].columns}
    # These are JSON already.
    return kinds | dict.fromkeys(("checks", "evidence"), _Kind(frozenset({str}), str))


def _kind(column: Column[Any], dialect: str) -> _Kind:
    if isinstance(column.type, Truth):
        return _Kind(frozenset({int, bool}), _TRUTHS.__getitem__)
    if isinstance(column.type, Real):
        return _Kind(frozenset({float}), _real)
    if isinstance(column.type, Integer):
        return _Kind(frozenset({int}), int.__repr__)
    if isinstance(column.type, UtcMillis) and dialect != "sqlite":
        return _Kind(frozenset({datetime}), _moment)
    # SQLite keeps times as the texts that they are hashed as.
    return _Kind(frozenset({str}), encode_basestring_ascii)


_TRUTHS: Final = {0: "false", 1: "true"}


def _real(cell: float) -> str:
    return f'"{float.__repr__(cell)}"'


def _moment(cell: datetime) -> str:
    return f'"{iso(cell.astimezone(UTC))}"'
