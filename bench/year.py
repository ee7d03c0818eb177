"""A year of history with a million decisions, in the log like all others, made in minutes.

    python -m bench.year sqlite:////var/tmp/year.db --decisions 1000000

A few hundred decisions are written as the daemon writes them; their rows are repeated under other names over a year,
each with five checks, its evidence, its outcome, and the entries of the log that these rows have. 20,000 tenures begin
in the third quarter. A database that is full may be measured by `bench proofs --url` and `bench reports --url`.
"""

from __future__ import annotations

import argparse
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select, update

from bench.audit import grow
from reconciler.audit.database import make_engine
from reconciler.audit.evidence.covering import covered_of
from reconciler.audit.evidence.tables import EvidenceRow
from reconciler.audit.holding.tables import AttributionRow, ObservationRow
from reconciler.audit.log.appending import Entry, entry_of, entry_of_decision, tree_of
from reconciler.audit.log.heads import HeadKeeper
from reconciler.audit.log.tables import LogLeafRow, LogNodeRow, LogStateRow
from reconciler.audit.tables import Base, DecisionCheckRow, DecisionRow, OutcomeRow
from reconciler.domain.proofs.merkle import leaf_hash

TENURES = 20_000
_BEGIN, _THIRD_QUARTER = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)
_YEAR, _DAY = timedelta(days=365), timedelta(days=1)
_WRITTEN, _CHECKS, _TOGETHER, _FIRST = 400, 5, 2000, 100_000_000
# What stands in a row that is repeated where each copy has something of its own.
_ID, _AT = 7_770_007_770, datetime(2001, 1, 1, 1, 1, 1, tzinfo=UTC)
_MARKS = {
    "decided_at": _AT,
    "at": _AT,
    "id": _ID,
    "decision_id": "%D",
    "request_key": "%K",
    "model": "%M",
    "version": "%V",
}
Rows = dict[type[Base], list[tuple[Any, ...]]]


class _Form(NamedTuple):
    """A decision that is repeated: its rows, and the text that its two entries hash."""

    decision: Mapping[str, Any]
    checks: Sequence[tuple[Any, ...]]
    evidence: tuple[Any, ...]
    outcome: Mapping[str, Any]
    of_decision: str
    of_outcome: str


class Year:
    def __init__(self, connection: Connection, many: int) -> None:
        self._many, self._sink = many, _Sink(connection)
        self._forms = list(_forms(connection))
        self.tree = tree_of(connection, int(connection.scalar(select(LogStateRow.size)) or 0))
        self._ids = random.Random(self.tree.size)

    def decisions(self, first: int, last: int) -> None:
        for begin in range(first, last, _TOGETHER):
            rows: Rows = {row: [] for row in (DecisionRow, DecisionCheckRow, EvidenceRow, OutcomeRow)}
            decided, ended = [], []
            for number in range(begin, min(begin + _TOGETHER, last)):
                of_decision, of_outcome = self._copy(number, rows)
                decided.append(of_decision)
                ended.append(of_outcome)
            self._write(rows, [*decided, *ended])

    def _copy(self, number: int, rows: Rows) -> tuple[tuple[str, str, bytes], tuple[str, str, bytes]]:
        form, id = self._forms[number % _WRITTEN], _FIRST + number
        decision_id, key = (
            str(uuid.UUID(int=self._ids.getrandbits(128), version=4)),
            f"{self._ids.getrandbits(256):064x}",
        )
        at = _BEGIN + timedelta(milliseconds=int(_YEAR / timedelta(milliseconds=1) * number / self._many))
        model, version = f"model-{number % 1000}", str(1 + number // 1000)
        own = {"id": id, "decision_id": decision_id, "request_key": key, "decided_at": at, "at": at}
        own |= {"model": model, "version": version}
        rows[DecisionRow].append(tuple(own.get(name, cell) for name, cell in form.decision.items()))
        rows[DecisionCheckRow].extend((decision_id, *check) for check in form.checks)
        rows[EvidenceRow].append((decision_id, *form.evidence))
        rows[OutcomeRow].append(tuple(own.get(name, cell) for name, cell in form.outcome.items()))
        when = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
        # In the order of their names.
        told = form.of_decision % (when, decision_id, id, model, key, version)
        ended = form.of_outcome % (when, decision_id, id)
        return (
            ("decisions", decision_id, leaf_hash(told.encode())),
            ("outcomes", str(id), leaf_hash(ended.encode())),
        )

    def tenures(self, connection: Connection) -> None:
        """Most of them last a day."""
        registry = self._forms[0].decision["registry"]
        decision_ids = connection.scalars(
            select(DecisionRow.decision_id).where(DecisionRow.decided_at >= _THIRD_QUARTER).limit(TENURES)
        ).all()
        held, left, causes = [], [], []
        for number, decision_id in enumerate(decision_ids, 1):
            begin = _THIRD_QUARTER + timedelta(seconds=390 * number)
            place = {"registry": registry, "workspace": "", "model": f"model-{number % 1000}", "version": f"{number}"}
            place |= {"target": "Production", "first_look": False, "sign": "", "continues_id": None, "created_ms": None}
            seen = {"not_since": begin, "tenure_id": None, "seen": "held"}
            held.append({"id": number, "at": begin, **place, **seen})
            if number % 20:
                ended = {"not_since": begin, "tenure_id": number, "seen": "left"}
                left.append({"id": 1_000_000 + number, "at": begin + _DAY, **place, **ended})
            bypass = number % 100 == 0
            cause: dict[str, Any] = {
                "cause": "bypass" if bypass else "decision",
                "by_approval": not bypass,
                "detail": "",
            }
            cause |= {"decision_id": None if bypass else decision_id, "resolution_id": None}
            cause |= {"person": None, "person_assurance": None}
            causes.append({"id": number, "at": begin, "observation_id": number, **cause})
        made_of: dict[type[Base], list[dict[str, Any]]] = {ObservationRow: [*held, *left], AttributionRow: causes}
        for row, made in made_of.items():
            names = [column.name for column in row.__table__.columns]
            rows: Rows = {row: [tuple(values[name] for name in names) for values in made]}
            self._write(
                rows, [(e.table, e.row_key, leaf_hash(e.content)) for e in (entry_of(row, one) for one in made)]
            )

    def _write(self, rows: Rows, entries: Sequence[tuple[str, str, bytes]]) -> None:
        leaves, nodes = [], []
        for table, key, hash_ in entries:
            leaves.append((self.tree.size, table, key, hash_))
            nodes += [(*node, above) for node, above in self.tree.add(hash_)]
        for row, cells in {**rows, LogLeafRow: leaves, LogNodeRow: nodes}.items():
            self._sink.write(row, cells)


def _forms(connection: Connection) -> Iterator[_Form]:
    def read(row: type[Base], key: str) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        written = row.__table__.columns[key].in_(select(DecisionRow.decision_id).where(DecisionRow.id < _FIRST))
        for one in connection.execute(select(row.__table__).where(written)).all():
            found.setdefault(getattr(one, key), []).append(one._asdict())
        return found

    decisions, checks = read(DecisionRow, "decision_id"), read(DecisionCheckRow, "decision_id")
    evidence, outcomes = read(EvidenceRow, "evidence_key"), read(OutcomeRow, "decision_id")
    covered = covered_of(connection, list(decisions))
    for id, [decision] in decisions.items():
        ordered = sorted(checks[id], key=lambda check: int(check["position"]))
        five = [{**ordered[at % len(ordered)], "position": at} for at in range(_CHECKS)]
        [kept], [outcome] = evidence[id], outcomes[id]
        marked = {name: _MARKS.get(name, cell) for name, cell in decision.items()}
        ended = {name: _MARKS.get(name, cell) for name, cell in outcome.items()}
        yield _Form(
            decision,
            [tuple(check[name] for name in check if name != "decision_id") for check in five],
            tuple(kept[name] for name in kept if name != "evidence_key"),
            outcome,
            _text(entry_of_decision(marked, five, covered[id]), 6),
            _text(entry_of(OutcomeRow, ended), 3),
        )


def _text(entry: Entry, marks: int) -> str:
    """What an entry hashes, with `%s` in place of each mark."""
    text = entry.content.decode().replace("%", "%%")
    for mark in (f"{_AT:%Y-%m-%dT%H:%M:%S}.000Z", *(f'"%%{letter}"' for letter in "DKMV"), str(_ID)):
        text = text.replace(mark, '"%s"' if mark.startswith('"') else "%s")
    assert text.count("%s") == marks, text
    return text


class _Sink:
    """Rows by thousands, past all triggers: as a copy that is restored writes them."""

    def __init__(self, connection: Connection) -> None:
        self._driver: Any = connection.connection.dbapi_connection
        self._sqlite = connection.dialect.name == "sqlite"

    def write(self, row: type[Base], rows: Sequence[tuple[Any, ...]]) -> None:
        columns = ", ".join(column.name for column in row.__table__.columns)
        if self._sqlite:
            into = f"INSERT INTO {row.__tablename__} ({columns}) VALUES ({', '.join('?' * len(row.__table__.columns))})"
            self._driver.executemany(into, [tuple(map(_of_sqlite, cells)) for cells in rows])
            return
        with self._driver.cursor() as cursor, cursor.copy(f"COPY {row.__tablename__} ({columns}) FROM STDIN") as copy:
            for cells in rows:
                copy.write_row(cells)


@contextmanager
def _without_triggers(connection: Connection) -> Iterator[None]:
    """Until the transaction ends."""
    ask = connection.exec_driver_sql
    if connection.dialect.name != "sqlite":
        ask("SET LOCAL session_replication_role = replica")
        yield
        return
    triggers = ask("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all()
    for name, _ in triggers:
        ask(f"DROP TRIGGER {name}")
    ask("PRAGMA cache_size = -400000")
    yield
    for _, statement in triggers:
        ask(statement)


def _of_sqlite(cell: Any) -> Any:
    if cell.__class__ is datetime:
        return f"{cell:%Y-%m-%dT%H:%M:%S}.{cell.microsecond // 1000:03d}Z"
    return cell


def make(url: str, many: int, heads: Path) -> None:
    """Makes a year, with the head of the last day but one, and the last one, in a file.

    Raises:
        ValueError: the year would be shorter than what it is made of.
    """
    if many < 2 * _WRITTEN:
        raise ValueError(f"at least {2 * _WRITTEN} decisions")
    grow(url, _WRITTEN)
    engine = make_engine(url)
    keeper, third_quarter, yesterday = HeadKeeper(engine, heads), many * 3 // 4, many - many // 365
    for first, last in ((_WRITTEN, third_quarter), (third_quarter, yesterday), (yesterday, many)):
        with engine.begin() as connection, _without_triggers(connection):
            year = Year(connection, many)
            year.decisions(first, last)
            if last == third_quarter:
                year.tenures(connection)
            connection.execute(update(LogStateRow).values(size=year.tree.size))
        if last > third_quarter:
            keeper.keep()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE" if connection.dialect.name == "sqlite" else "VACUUM ANALYZE")
    engine.dispose()


def decisions_in(url: str) -> tuple[str, int]:
    """The kind of a database, and how many decisions are in it."""
    engine = make_engine(url)
    with engine.connect() as connection:
        many = connection.scalar(select(func.count()).select_from(DecisionRow.__table__))
    engine.dispose()
    return engine.dialect.name, int(many or 0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.year", description=__doc__)
    parser.add_argument("url", help="of an empty database")
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--heads", type=Path, required=True, help="the file for the heads of the log")
    asked = parser.parse_args()
    make(asked.url, asked.decisions, asked.heads)


if __name__ == "__main__":
    main()
