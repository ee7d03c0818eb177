"""What reports cost on a million decisions: each as it is typed, of a quarter, as JSON.

    make bench BENCH_ARGS='reports --write'
    make bench BENCH_ARGS='reports --decisions 100000'

A few hundred decisions are written as the daemon writes them, and copied by SQL over a year, with five checks each;
20,000 tenures begin in the third quarter. Copies have no evidence, and are not in the log: of the reports only `duties`
needs either.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from bench.audit import grow
from bench.commands import cost_of
from bench.sections import Section, table

_SECTION = Section(
    "reports",
    "Reports of a quarter",
    "Each as it is typed, as JSON, start-up of about 0.4 s included; a quarter has a fourth of the decisions. Seconds\n"
    "are those of the processor. Made by `make bench BENCH_ARGS='reports --write'`.",
)
_QUARTER = ("--since", "2025-07-01", "--until", "2025-10-01")
_NAMES = ("completeness", "bypasses", "drift", "operated", "policies", "decisions")
_TENURES, _FIRST, _SEED = 20_000, 100_000_000, 400
_AT = "strftime('%Y-%m-%dT%H:%M:%S.000Z', {}, 'unixepoch')"
_YEAR, _THIRD_QUARTER = 1735689600, 1751328000


def copy(path: Path, many: int) -> None:
    """Copies what is there until there are so many decisions."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        ask = connection.execute
        for (name,) in ask("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            ask(f"DROP TRIGGER {name}")
        for setting in ("foreign_keys = OFF", "synchronous = OFF", "cache_size = -400000"):
            ask(f"PRAGMA {setting}")
        ask("BEGIN")
        ask(
            "CREATE TEMP TABLE n AS "
            "WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < ?) SELECT i FROM k",
            (many,),
        )
        _copy_decisions(connection, many)
        _add_tenures(connection)
        ask("COMMIT")
        ask("ANALYZE")


def _copy_decisions(connection: sqlite3.Connection, many: int) -> None:
    id = "printf('%08x-0000-4000-8000-%012x', (i * 2654435761) & 4294967295, i)"
    others = {
        "id": f"{_FIRST} + i", "decision_id": id, "request_key": "printf('%064x', i)",
        "version": "'' || (1 + i / 1000)",
        "decided_at": _AT.format(f"{_YEAR} + i * 31536000.0 / {many}"), "model": "'model-' || (i % 1000)",
    }  # fmt: skip
    of_one = f"FROM n JOIN decisions d ON d.id = (SELECT min(id) FROM decisions) + i % {_SEED - 1}"
    _insert(connection, "decisions", others, of_one)
    connection.execute(
        "INSERT INTO outcomes (decision_id, outcome, at, detail) "
        f"SELECT decision_id, 'applied', decided_at, 'shown' FROM decisions WHERE id > {_FIRST}"
    )
    of_each = (
        f"FROM (SELECT decision_id AS copied FROM decisions WHERE id > {_FIRST}) CROSS JOIN "
        "(SELECT 0 AS place UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) "
        "JOIN (SELECT * FROM decision_checks LIMIT 1) d"
    )
    _insert(connection, "decision_checks", {"decision_id": "copied", "position": "place"}, of_each)


def _add_tenures(connection: sqlite3.Connection) -> None:
    """Most of them last a day."""
    begin = _AT.format(f"{_THIRD_QUARTER} + i * 390")
    columns = "id, at, registry, workspace, model, version, target, seen, not_since, tenure_id, first_look, sign"
    place = "registry, workspace, 'model-' || (i % 1000), '' || i, 'Production'"
    connection.execute(
        f"INSERT INTO observations ({columns}) SELECT 1000000 + i, {begin}, {place}, 'held', {begin}, NULL, 0, '' "
        f"FROM n CROSS JOIN (SELECT registry, workspace FROM decisions LIMIT 1) WHERE i <= {_TENURES}"
    )
    later = "strftime('%Y-%m-%dT%H:%M:%S.000Z', at, '+1 day')"
    connection.execute(
        f"INSERT INTO observations ({columns}) SELECT id + 1000000, {later}, registry, workspace, model, version, "
        f"target, 'left', at, id, 0, '' FROM observations WHERE id > 1000000 AND id % 20 > 0"
    )
    decision = f"(SELECT decision_id FROM decisions d WHERE d.id = {_FIRST} - 1000000 + o.id)"
    connection.execute(
        "INSERT INTO attributions (at, observation_id, cause, by_approval, decision_id, detail) "
        "SELECT at, id, CASE WHEN id % 100 = 0 THEN 'bypass' ELSE 'decision' END, id % 100 > 0, "
        f"CASE WHEN id % 100 > 0 THEN {decision} END, '' FROM observations o WHERE id > 1000000 AND seen = 'held'"
    )


def _insert(connection: sqlite3.Connection, table: str, others: dict[str, str], source: str) -> None:
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(others.get(name, f"d.{name}") for name in names)
    connection.execute(f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} {source}")


def measure(url: str) -> Iterator[tuple[str, str]]:
    for name in _NAMES:
        yield f"`audit report {name}`", _cost(url, "audit", "report", name, *_QUARTER, "--format", "json")
    yield (
        "`audit list` of a model since August",
        _cost(url, "audit", "list", "--model", "model-7", "--since", "2025-08-01"),
    )
    yield "`audit show` by eight digits of an id", _cost(url, "audit", "show", "9e3779b1")


def _cost(url: str, *arguments: str) -> str:
    cost = cost_of(url, *arguments)
    return f"{cost.cpu:.1f} s, {cost.memory} MB"


def main(arguments: Sequence[str]) -> None:
    parser = _SECTION.parser(__doc__)
    parser.add_argument("--decisions", type=int, default=1_000_000)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.db"
        grow(f"sqlite:///{path}", _SEED)
        copy(path, asked.decisions)
        what = f"SQLite, {asked.decisions:,} decisions, {_TENURES:,} tenures"
        _SECTION.make(asked, table(what, "processor, memory", measure(f"sqlite:///{path}")))
