"""Of many rows few are in memory, and what a report asks of the database does not grow faster than they do."""

from __future__ import annotations

import tracemalloc
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, text

from bench.costs import cost, statements
from reconciler.audit.database import make_engine, one_state
from reconciler.audit.holding.tables import AttributionRow, ObservationRow
from reconciler.audit.reporting import Asked, Reading, matter_of
from reconciler.audit.reports import reports
from reconciler.audit.tables import DecisionRow, OutcomeRow
from reconciler.cli.shown.output import Format, Shape
from reconciler.cli.shown.rendering import write_report, write_section
from reconciler.html.folder import Folder
from tests.html.test_folder import Elements
from tests.reports.conftest import new_database
from tests.store.test_observations import Looking

NAMES = sorted(reports())
# Of so many decisions evidence is read at once.
TOGETHER = 200
FEW, MANY = 1_000, 10_000


class Nowhere:
    """A stream that keeps nothing but how much was written."""

    written = 0

    def write(self, text: str) -> int:
        self.written += len(text)
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def add(engine: Engine, count: int) -> None:
    """As many decisions more, and a tenure for each, of which half are bypasses that are over."""
    with engine.begin() as connection:
        [decision] = connection.execute(select(DecisionRow.__table__).limit(1)).mappings()
        [held] = connection.execute(select(ObservationRow.__table__).limit(1)).mappings()
        last = connection.execute(text("SELECT max(id) FROM observations")).scalar_one()
        rows: dict[Any, list[dict[str, Any]]] = {
            row: [] for row in (DecisionRow, OutcomeRow, ObservationRow, AttributionRow)
        }
        ended = []
        for number in range(last + 1, last + 1 + count):
            id, place = str(uuid.uuid4()), {"model": f"model-{number % 50}", "version": str(number)}
            rows[DecisionRow].append({**decision, **place, "decision_id": id, "request_key": id, "id": number + 10**6})
            rows[OutcomeRow].append({"decision_id": id, "outcome": "applied", "at": held["at"], "detail": ""})
            rows[ObservationRow].append({**held, **place, "id": number})
            end = {"id": number + count, "seen": "left", "tenure_id": number, "not_since": held["at"]}
            ended.append({**held, **place, **end})
            cause = {"observation_id": number, "at": held["at"], "by_approval": False, "detail": ""}
            rows[AttributionRow].append({**cause, "cause": "bypass" if number % 2 else "baseline"})
        rows[ObservationRow] += ended
        for row, new in rows.items():
            connection.execute(insert(row), new)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))


@contextmanager
def traced() -> Iterator[list[int]]:
    """The most bytes of Python that the block needed at a time."""
    peak = [0]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield peak
        peak[0] = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def written(engine: Engine, name: str, format: Format = Format.JSON, asked: Asked | None = None) -> int:
    """The whole report, by connections whose clock no test has set."""
    report, stream = reports()[name], Nowhere()
    with one_state(engine) as connection:
        reading = Reading(connection, asked or Asked())
        out: Any = stream
        write_report(matter_of(report, reading), report.answer(reading), Shape(format), out)
    return stream.written


@dataclass
class Grown:
    """What reports needed of few rows and of many."""

    engine: Engine
    sent: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in NAMES})
    costs: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in NAMES})
    # Of a period in which nothing was decided.
    coverage: list[int] = field(default_factory=list)

    def measure(self) -> None:
        for name in NAMES:
            self.sent[name].append(len(statements(self.engine, lambda: written(self.engine, name))))  # noqa: B023
            self.costs[name].append(cost(self.engine, lambda: written(self.engine, name)))  # noqa: B023
        lately = Asked(since=datetime.now(UTC))
        self.coverage.append(cost(self.engine, lambda: written(self.engine, "coverage", asked=lately)))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def grown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grown]:
    url = new_database(request, tmp_path_factory, request.param)
    engine = make_engine(url)
    looking = Looking(engine)
    looking.clock.passes(-timedelta(days=1))
    looking.registry.file("fraud", "1")
    looking.cycles(3)
    looking.move("2")
    looking.cycles(3)
    grown = Grown(make_engine(url))
    for count in (FEW, MANY - FEW):
        add(engine, count)
        grown.measure()
    engine.dispose()
    yield grown
    grown.engine.dispose()


@pytest.mark.parametrize("name", NAMES)
def test_a_report_of_many_rows_asks_as_often_and_costs_as_much_for_each(grown: Grown, name: str) -> None:
    few, many = grown.sent[name]
    # Whether somebody ran a run stands in the evidence, which is read in parts, twice.
    assert many == few or (name == "duties" and many - few <= 2 * 2 * MANY // TOGETHER)
    once, tenfold = grown.costs[name]
    assert tenfold < 15 * once


def test_which_models_rules_match_costs_the_same_however_much_was_decided_about_them(grown: Grown) -> None:
    few, many = grown.coverage
    assert many < 2 * few


@pytest.mark.parametrize("name", NAMES)
def test_of_many_rows_few_are_in_memory(grown: Grown, name: str) -> None:
    with traced() as peak:
        written(grown.engine, name)
    assert peak[0] < 4_000_000


@pytest.mark.parametrize("format", [Format.CSV, Format.JSONL, Format.TABLE])
def test_no_format_needs_all_rows_at_once(grown: Grown, format: Format) -> None:
    # What a first table needs is loaded.
    written(grown.engine, "coverage", format)
    with traced() as peak:
        assert written(grown.engine, "decisions", format) > 1_000_000
    assert peak[0] < 4_000_000


# What the queries find is held against a truth on both databases.
@pytest.mark.parametrize("grown", ["sqlite"], indirect=True)
def test_pages_of_many_rows_have_a_size_that_does_not_grow_with_them(grown: Grown, tmp_path: Path) -> None:
    """What is longer than a page is a CSV beside it, which has every row."""
    with one_state(grown.engine) as connection:
        made = Folder(tmp_path, Reading(connection, Asked()), (), write_section).write(lambda done, of: None)
    assert made.bytes < 5_000_000
    assert 10 < made.models < 50
    there = {path.name for path in tmp_path.iterdir()}
    for path in tmp_path.glob("*.html"):
        assert Elements(path.read_text()).addresses <= there, path.name
    assert sum(1 for _ in (tmp_path / "decisions-register.csv").open()) == MANY + 2
    assert sum(1 for _ in (tmp_path / "bypasses-bypasses.csv").open()) == MANY // 2 + 2
