"""Daemons killed while they tell, move and close, and people who withdraw and ask again at once.

What was really applied is read from triggers in MLflow's own database. 6 SIGKILLs for each protocol on each database,
100 with LONG_TESTS=1; REFILING_KILLS says how many.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import text

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.demo.server import mlflow_server
from tests.acceptance.conftest import DECISION, REQUEST, Server
from tests.crash.conftest import LONG
from tests.crash.record import says_nothing_false
from tests.crash.test_nemesis import LEASE, Replicas, one_gapless_log, replicas, until
from tests.mlflow_app.witness import Change, Witness
from tests.postgres import PostgresServer

KILLS = int(os.environ.get("REFILING_KILLS", "100" if LONG else "6"))
MODELS = 24
_ID = re.compile(r"\(decision ([0-9a-f-]{36}),")


@dataclass
class People:
    """They ask for version 1 of each model, and each time in other words."""

    server: Server
    chance: random.Random
    models: list[str] = field(default_factory=list)
    asked: int = 0

    def begin(self) -> None:
        for number in range(MODELS):
            self.models.append(f"m{number}")
            self.server.version(f"m{number}", metric=self.chance.choice([0.95, 0.95, 0.5]))

    def ask(self, models: Iterable[str]) -> None:
        for model in models:
            self.asked += 1
            _until_taken(partial(self.server.ask, model, f"please {self.asked}"))

    def ask_again_for_all_that_is_open(self) -> None:
        """Each is withdrawn first, or, where a request is a tag that anybody may write, sometimes overwritten."""
        for model in self.open():
            if self.server.protocol != "tags" or self.chance.random() < 0.5:
                _until_taken(partial(self._withdraw, model))
            self.ask([model])

    def _withdraw(self, model: str) -> None:
        body = {"name": model, "version": "1"}
        if self.server.protocol == "tags":
            self.server.call("DELETE", "model-versions/delete-tag", json=body | {"key": REQUEST})
        else:
            self.server.call("DELETE", "transition-requests/delete", json=body | {"stage": "Production"})

    def open(self) -> list[str]:
        query = {"filter": f"tags.`{REQUEST}` LIKE '%'", "max_results": 1000}
        found = self.server.call("GET", "model-versions/search", params=query).get("model_versions", [])
        return [row["name"] for row in found]


def _until_taken(change: Callable[[], object]) -> None:
    """A server that writes the same tag for somebody else at this moment answers 400; what is gone, or was asked for
    already, is left."""
    for _ in range(20):
        try:
            change()
        except requests.HTTPError as error:
            if error.response.json().get("error_code") in {"RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"}:
                return
            time.sleep(0.1)
        else:
            return
    change()


@contextmanager
def watched_server(place: Path, protocol: str, database: str) -> Iterator[tuple[Server, Witness]]:
    """MLflow, plain or with the app, on a database that is watched."""
    app = [] if protocol == "tags" else ["--app-name", "transition-requests"]
    variables = {"TRANSITION_REQUESTS_TARGETS": "Production"}
    started = mlflow_server(place, "--backend-store-uri", database, *app, variables=variables if app else {})
    with started as uri, closing(Witness(database)) as witness:
        witness.install()
        yield Server(uri, protocol), witness


@pytest.mark.timeout(KILLS * 20 + 300)
@pytest.mark.parametrize("protocol", ["tags", "transition-requests"])
@pytest.mark.parametrize(("database", "count"), [("sqlite", 1), ("postgresql", 3)])
def test_what_is_recorded_is_what_mlflows_own_database_saw(
    made: Callable[[str], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    database: str,
    count: int,
    protocol: str,
) -> None:
    url = made("audit")
    schema.upgrade(url)
    chance = random.Random(20261126)
    with watched_server(tmp_path / "mlflow", protocol, made("mlflow")) as (server, witness):
        people = People(server, chance)
        people.begin()
        with replicas(tmp_path, url, server.uri, count, interval=0.2) as daemons:
            for _ in range(KILLS):
                _kill_while_one_acts(people, daemons, witness, chance)
            reader = AuditReader(make_engine(url))
            until(lambda: not people.open(), "every request resolved", 3 * LEASE + 120)
            until(lambda: all(row["outcome"] for row in _rows(reader)), "every outcome", 3 * LEASE + 120)
            if protocol != "tags":
                until(lambda: _read_to(url) == _newest(witness), "all history read", 3 * LEASE + 120)
        rows, changes = _rows(reader), witness.changes()
        if protocol != "tags":
            assert _recorded(url) == _by_people(witness, {row["decision_id"] for row in rows})
    with capsys.disabled():
        ended = dict(Counter(row["outcome"] for row in rows))
        print(f"\n{protocol}, {database}, {count} daemons, {KILLS} SIGKILL: "
              f"{people.asked} requests, {len(rows)} decisions, {ended}")  # fmt: skip
    assert _wrong(rows, (_applied if protocol == "tags" else _committed)(changes)) == []
    one_gapless_log(url)
    says_nothing_false(url)


def _newest(witness: Witness) -> int:
    return int(witness.rows("SELECT max(number) FROM transition_requests_history")[0][0])


def _by_people(witness: Witness, ours: set[str]) -> list[tuple[int, str]]:
    """What MLflow's own database says that others did."""
    entries = witness.rows("SELECT number, what, decision_id FROM transition_requests_history ORDER BY number")
    return [(number, what) for number, what, id in entries if what != "filed" and id not in ours]


def _recorded(url: str) -> list[tuple[int, str]]:
    engine = make_engine(url)
    with engine.connect() as connection:
        query = text("SELECT source_number, resolution FROM resolutions ORDER BY id")
        found = [(number, what) for number, what in connection.execute(query)]
    engine.dispose()
    return sorted(found)


def _read_to(url: str) -> int:
    engine = make_engine(url)
    with engine.connect() as connection:
        number = connection.scalar(text("SELECT number FROM history_cursors"))
    engine.dispose()
    return number or 0


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path: Path, database: str) -> Callable[[str], str]:
    """Gives a new database its address."""
    if database == "sqlite":
        return lambda name: f"sqlite:///{tmp_path}/{name}.db"
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return lambda name: postgres.new_database()


def _rows(reader: AuditReader) -> list[dict[str, Any]]:
    return reader.decisions(DecisionFilter(), None)


def _kill_while_one_acts(people: People, daemons: Replicas, witness: Witness, chance: random.Random) -> None:
    told = _tellings(witness)
    people.ask(chance.sample(people.models, 6))
    until(lambda: _tellings(witness) > told, "a decision is told", 3 * LEASE + 60)
    # One decision is about three writes of 20 ms; ten are acted on, one after the other.
    time.sleep(chance.uniform(0, 0.3))
    daemons.kill(chance.randrange(len(daemons.processes)))
    people.ask_again_for_all_that_is_open()


def _tellings(witness: Witness) -> int:
    [(count,)] = witness.rows(f"SELECT count(*) FROM witness_changes WHERE what = '{DECISION}'")
    return int(count)


def _applied(changes: list[Change]) -> set[str]:
    """The decisions that the registry showed when their effect came, or whose effect held when their request went."""
    applied: set[str] = set()
    told: dict[str, str] = {}
    holders: set[str] = set()
    for change in changes:
        says = told.get(change.name, "")
        if change.thing == "version" and change.became == "Production":
            assert says.startswith("Approved"), f"a move without a decision beside it: {change}"
            holders.add(change.name)
            applied.add(_id_in(says))
        elif change.what == DECISION:
            told[change.name] = change.became
        elif change.what == REQUEST and change.kind != "insert" and _in_effect(says, change.name in holders):
            applied.add(_id_in(says))
    return applied


def _committed(changes: list[Change]) -> set[str]:
    """As `_applied`, with the app, which writes the decision, the move and the request's end in one transaction."""
    applied: set[str] = set()
    holders: set[str] = set()
    of_model: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        of_model[change.name].append(change)
        if change.thing == "version" and change.became == "Production":
            holders.add(change.name)
        if change.what == DECISION:
            assert _in_effect(change.became, change.name in holders), f"nothing moved: {change}"
            applied.add(_id_in(change.became))
    for seen in of_model.values():
        ends = [change.what for change in seen if change.kind == "delete" or change.what == DECISION]
        told = [at for at, what in enumerate(ends) if what == DECISION]
        assert all(REQUEST in ends[max(at - 1, 0) : at + 2] for at in told), f"no request ended: {seen}"
    return applied


def _in_effect(says: str, holds: bool) -> bool:
    return says.startswith("Rejected") or (says.startswith("Approved") and holds)


def _id_in(says: str) -> str:
    return _ID.findall(says)[-1]


def _wrong(rows: list[dict[str, Any]], applied: set[str]) -> list[tuple[str, str]]:
    """Decisions whose recorded outcome is not what the database saw."""
    return [
        (row["decision_id"], row["outcome"])
        for row in rows
        if row["outcome"] != ("applied" if row["decision_id"] in applied else "superseded")
    ]
