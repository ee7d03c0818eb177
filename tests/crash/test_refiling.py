"""Daemons killed while they tell, move and close, and people who withdraw and ask again at once.

What was really applied is read from triggers in MLflow's own database. 20 SIGKILLs for each database, 200 with
LONG_TESTS=1; REFILING_KILLS says how many.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.demo.server import mlflow_server
from tests.acceptance.conftest import DECISION, REQUEST, Server
from tests.crash.conftest import LONG
from tests.crash.test_nemesis import LEASE, Replicas, one_gapless_log, replicas, until
from tests.mlflow_app.witness import Change, Witness

KILLS = int(os.environ.get("REFILING_KILLS", "200" if LONG else "20"))
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
            _until_taken(partial(self.server.tag, model, f"please {self.asked}"))

    def ask_again_for_all_that_is_open(self) -> None:
        for model in self.open():
            if self.chance.random() < 0.5:
                body = {"name": model, "version": "1", "key": REQUEST}
                _until_taken(partial(self.server.call, "DELETE", "model-versions/delete-tag", json=body))
            self.ask([model])

    def open(self) -> list[str]:
        query = {"filter": f"tags.`{REQUEST}` LIKE '%'", "max_results": 1000}
        found = self.server.call("GET", "model-versions/search", params=query).get("model_versions", [])
        return [row["name"] for row in found]


def _until_taken(change: Callable[[], object]) -> None:
    """A server that writes the same tag for somebody else at this moment answers 400; a tag may have gone: 404."""
    for _ in range(20):
        try:
            change()
        except requests.HTTPError as error:
            if error.response.status_code == 404:
                return
            time.sleep(0.1)
        else:
            return
    change()


@contextmanager
def watched_server(place: Path) -> Iterator[tuple[Server, Witness]]:
    with mlflow_server(place) as uri, closing(Witness(f"sqlite:///{place}/mlflow.db")) as witness:
        witness.install()
        yield Server(uri), witness


@pytest.mark.timeout(KILLS * 20 + 300)
@pytest.mark.parametrize(("database", "count"), [("sqlite", 1), ("postgresql", 3)])
def test_what_is_recorded_is_what_mlflows_own_database_saw(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str], database: str, count: int
) -> None:
    url = f"sqlite:///{tmp_path}/audit.db" if database == "sqlite" else _postgres(request)
    schema.upgrade(url)
    chance = random.Random(20261126)
    with watched_server(tmp_path / "mlflow") as (server, witness):
        people = People(server, chance)
        people.begin()
        with replicas(tmp_path, url, server.uri, count, interval=0.2) as daemons:
            for _ in range(KILLS):
                _kill_while_one_acts(people, daemons, witness, chance)
            reader = AuditReader(make_engine(url))
            until(lambda: not people.open(), "every request resolved", 3 * LEASE + 120)
            until(lambda: all(row["outcome"] for row in _rows(reader)), "every outcome", 3 * LEASE + 120)
        rows, changes = _rows(reader), witness.changes()
    with capsys.disabled():
        print(f"\n{database}, {count} daemons, {KILLS} SIGKILL: {people.asked} requests, {len(rows)} decisions, "
              f"{dict(Counter(row['outcome'] for row in rows))}")  # fmt: skip
    assert _wrong(rows, _applied(changes)) == []
    one_gapless_log(url)


def _postgres(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("postgres").new_database()
    return url


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
