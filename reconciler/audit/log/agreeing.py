"""Which rows give the hashes that the log has of them, by the hundred thousand: cells become bytes without detours.

This only ever says that a row agrees, and never that one does not: what is not plain is left to `log_reading`, which
reads a row by itself and tells what is wrong with it. A row agrees where the bytes that were made of its cells have the
hash of its entry, and each kind of cell has a form of its own: none can pass for another.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from json.encoder import encode_basestring_ascii
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, Connection, Integer, Row, bindparam, text
from sqlalchemy.exc import DBAPIError

from reconciler.audit.cells import Real, Truth
from reconciler.audit.evidence.storing import digests_at_once
from reconciler.audit.log.appending import ENTRIES, REST_ON_EVIDENCE
from reconciler.audit.log.canonical import FORMAT, Damaged, bytes_of
from reconciler.audit.log.reading import TABLES, cell_of
from reconciler.audit.tables import Base, DecisionCheckRow, DecisionRow, UtcMillis
from reconciler.domain.times import iso

Convert = Callable[[Any], str]
Cells = Sequence[Any]
_BETWEEN: Final = '","'
# What a cell of another kind than its column's raises.
_OTHERWISE: Final = (TypeError, ValueError, KeyError, AttributeError, Damaged)


def agreeing(connection: Connection, leaves: Sequence[Row[Any]]) -> set[int]:
    """The numbers of the entries whose rows are as they were recorded, as far as that can be told at once."""
    by_table: dict[str, list[Row[Any]]] = defaultdict(list)
    for leaf in leaves:
        by_table[leaf.entry].append(leaf)
    found: set[int] = set()
    for table, some in by_table.items():
        if table in TABLES:
            found |= _of_table(connection, TABLES[table], some)
    return found


def _of_table(connection: Connection, row: type[Base], leaves: Sequence[Row[Any]]) -> set[int]:
    contents: dict[str, str] = {}
    try:
        with _texts_as_texts(connection):
            contents.update(_contents(connection, row, [leaf.row_key for leaf in leaves]))
    except DBAPIError:
        # A cell of SQLite that is no text at all ends the reading of all of them.
        if connection.dialect.name != "sqlite":
            raise
    return {
        leaf.leaf
        for leaf in leaves
        if (content := contents.get(leaf.row_key)) is not None
        and sha256(b"\x00" + content.encode()).digest() == bytes_of(leaf.hash)
    }


@contextlib.contextmanager
def _texts_as_texts(connection: Connection) -> Iterator[None]:
    """At the speed of SQLite's driver, which calls no function of ours for each."""
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name != "sqlite":
        yield
        return
    before, driver.text_factory = driver.text_factory, str
    try:
        yield
    finally:
        driver.text_factory = before


# --- rows ----------------------------------------------------------------------------------------------------


class _Form(NamedTuple):
    """How a row becomes JSON: its columns in the order of their names, which stand there as `names` have them."""

    columns: tuple[str, ...]
    names: tuple[str, ...]
    converts: tuple[Convert, ...]

    def of(self, cells: Cells) -> str:
        parts = zip(self.names, self.converts, cells, strict=True)
        members = [name + convert(cell) for name, convert, cell in parts if cell is not None]
        return f"{{{','.join(members)}}}"


def _contents(connection: Connection, row: type[Base], keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The canonical text of each row that is plain, by its key."""
    table, key, form = row.__tablename__, ENTRIES[row], _form(connection, row)
    at = form.columns.index(key)
    found = {str(cells[at]): cells for cells in _read(connection, row, key, [cell_of(row, one) for one in keys])}
    whole = _with_the_rest(connection, row, form, found) if row in REST_ON_EVIDENCE else found.items()
    for name, cells in whole:
        with contextlib.suppress(*_OTHERWISE):
            yield name, f'{{"format":"{FORMAT}","row":{form.of(cells)},"table":"{table}"}}'


def _read(connection: Connection, row: type[Base], key: str, keys: Cells) -> list[list[Any]]:
    """Cells as the driver has them, of the rows with one of these keys, in the order of the form."""
    form, columns = _form(connection, row), row.__table__.columns
    named = ", ".join(name if name in columns else "NULL" for name in form.columns)
    order = " ORDER BY decision_id, position" if row is DecisionCheckRow else ""
    extra = "decision_id, " if row is DecisionCheckRow else ""
    query = text(f"SELECT {extra}{named} FROM {row.__tablename__} WHERE {key} IN :keys{order}")  # noqa: S608  our own names
    rows = connection.execute(query.bindparams(bindparam("keys", expanding=True)), {"keys": list(keys)})
    return [list(found) for found in rows.all()]


def _with_the_rest(
    connection: Connection, row: type[Base], form: _Form, rows: Mapping[str, list[Any]]
) -> Iterator[tuple[str, Cells]]:
    """Rows with what else belongs into their entries; those whose evidence is not plain are left out."""
    at, place = form.columns.index(REST_ON_EVIDENCE[row]), form.columns.index("evidence")
    digests = digests_at_once(connection, [str(cells[at]) for cells in rows.values()])
    checks = _checks(connection, list(rows)) if row is DecisionRow else {}
    for name, cells in rows.items():
        if (of_it := digests.get(cells[at])) is None:
            continue
        cells[place] = f'["{_BETWEEN.join(of_it)}"]'
        if row is DecisionRow:
            cells[form.columns.index("checks")] = f"[{','.join(checks[name])}]"
        yield name, cells


def _checks(connection: Connection, decision_ids: Sequence[str]) -> dict[str, list[str]]:
    """The checks of each decision as JSON, in their order. One that is not plain makes no decision agree."""
    form = _form(connection, DecisionCheckRow)
    checks: dict[str, list[str]] = defaultdict(list)
    for decision_id, *cells in _read(connection, DecisionCheckRow, "decision_id", decision_ids):
        try:
            checks[decision_id].append(form.of(cells))
        except _OTHERWISE:
            checks[decision_id].append("")
    return checks


# --- cells ---------------------------------------------------------------------------------------------------


def _form(connection: Connection, row: type[Base]) -> _Form:
    return _made(row.__tablename__, connection.dialect.name, row in REST_ON_EVIDENCE)


@cache
def _made(table: str, dialect: str, rests_on_evidence: bool) -> _Form:
    converts = {column.name: _convert(column, dialect) for column in Base.metadata.tables[table].columns}
    if rests_on_evidence:
        converts["evidence"] = str
    if table == DecisionRow.__tablename__:
        converts["checks"] = str
    if table == DecisionCheckRow.__tablename__:
        # It stands in its decision.
        del converts["decision_id"]
    ordered = tuple(sorted(converts))
    return _Form(ordered, tuple(f'"{name}":' for name in ordered), tuple(converts[name] for name in ordered))


def _convert(column: Column[Any], dialect: str) -> Convert:
    if isinstance(column.type, Truth):
        return _truth
    if isinstance(column.type, Real):
        return _real
    if isinstance(column.type, Integer):
        return int.__repr__
    if isinstance(column.type, UtcMillis) and dialect != "sqlite":
        return _moment
    # SQLite keeps times as the texts that they are hashed as.
    return encode_basestring_ascii


def _truth(cell: Any) -> str:
    if cell.__class__ not in {int, bool}:
        raise TypeError
    return _TRUTHS[cell]


_TRUTHS: Final = {0: "false", 1: "true"}


def _real(cell: Any) -> str:
    return f'"{float.__repr__(cell)}"'


def _moment(cell: datetime) -> str:
    return f'"{iso(cell.astimezone(UTC))}"'
