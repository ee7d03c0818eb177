"""People do anything in any order between two looks, on real servers, with the app and without; MLflow's own database
says what was held.

After each cycle the tables of MLflow are read at the moment of the look, and triggers in them count what moved. What
was held at a look must be a tenure, with the cause that the history of what people did demands.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.reporting import Asked, Reading
from reconciler.audit.reports import reports
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce, Times
from reconciler.demo.server import mlflow_server
from reconciler.domain.decision import Mode
from reconciler.failpoints import watching
from reconciler.policy.file import parse_policy
from reconciler.registry.app import AppRegistry
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Transport
from tests.builders import accuracy_policy
from tests.crash.conftest import LONG
from tests.crash.record import says_nothing_false
from tests.servers import label, python_of, tried

POLICY = accuracy_policy(targets='Production, "@champion"', keys="archive_existing: true")
TARGETS = ("Production", "@champion")
Held = tuple[str, str, str]
_numbers = itertools.count(1)

NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"

# What may happen to a model between two looks. "ask" is filed for a version that passes; the daemon approves.
ACTIONS = (
    "nothing", "ask", "ask badly", "ask and withdraw", "move", "move while asked", "take away", "take away and back",
    "archive", "rename", "delete", "recreate and move",
)  # fmt: skip

# With the app nobody can move a holder but by a request; what would is tried all the same.
ACTIONS_WITH_THE_APP = (
    "nothing", "ask", "ask badly", "ask and withdraw", "approve", "move", "take away", "archive", "rename", "delete",
    "recreate",
)  # fmt: skip

WITNESS = f"""
CREATE TABLE IF NOT EXISTS witness (seq INTEGER PRIMARY KEY, name TEXT, version TEXT, target TEXT, held INTEGER,
  at TEXT DEFAULT ({NOW}));
CREATE TRIGGER IF NOT EXISTS witness_stage AFTER UPDATE OF current_stage ON model_versions
WHEN NEW.current_stage <> OLD.current_stage BEGIN
  INSERT INTO witness (name, version, target, held) SELECT OLD.name, OLD.version, OLD.current_stage, 0
    WHERE OLD.current_stage = 'Production';
  INSERT INTO witness (name, version, target, held) SELECT NEW.name, NEW.version, NEW.current_stage, 1
    WHERE NEW.current_stage = 'Production';
END;
CREATE TRIGGER IF NOT EXISTS witness_version AFTER DELETE ON model_versions
WHEN OLD.current_stage = 'Production' BEGIN
  INSERT INTO witness (name, version, target, held) VALUES (OLD.name, OLD.version, OLD.current_stage, 0);
END;
CREATE TRIGGER IF NOT EXISTS witness_alias AFTER INSERT ON registered_model_aliases BEGIN
  INSERT INTO witness (name, version, target, held) VALUES (NEW.name, NEW.version, '@' || NEW.alias, 1);
END;
CREATE TRIGGER IF NOT EXISTS witness_alias_moved AFTER UPDATE OF version ON registered_model_aliases
WHEN NEW.version <> OLD.version BEGIN
  INSERT INTO witness (name, version, target, held) VALUES (OLD.name, OLD.version, '@' || OLD.alias, 0);
  INSERT INTO witness (name, version, target, held) VALUES (NEW.name, NEW.version, '@' || NEW.alias, 1);
END;
CREATE TRIGGER IF NOT EXISTS witness_alias_gone AFTER DELETE ON registered_model_aliases BEGIN
  INSERT INTO witness (name, version, target, held) VALUES (OLD.name, OLD.version, '@' || OLD.alias, 0);
END;
"""


@dataclass
class Place:
    """A server, and the database beneath it."""

    uri: str
    database: Path
    app: bool = False

    def call(self, method: str, path: str, **body: Any) -> Any:
        kind = "params" if method == "GET" else "json"
        url = f"{self.uri}/api/2.0/mlflow/{path}"
        answer = requests.request(method, url, timeout=30, **{kind: body})
        answer.raise_for_status()
        return answer.json()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    def held(self) -> set[Held]:
        """As MLflow's tables have it."""
        stages = "SELECT name, version, 'Production' FROM model_versions WHERE current_stage = 'Production'"
        aliases = "SELECT name, version, '@' || alias FROM registered_model_aliases WHERE alias = 'champion'"
        return {(name, str(version), target) for name, version, target in self.rows(f"{stages} UNION ALL {aliases}")}

    def watch(self) -> None:
        with closing(sqlite3.connect(self.database, timeout=30)) as connection:
            connection.executescript(WITNESS)


@dataclass
class People:
    """One model and what happens to it; and what of that must be found on record. A target of its own for each."""

    place: Place
    run_id: Callable[[str], str]
    target: str
    name: str = field(default_factory=lambda: f"model-{next(_numbers)}")
    versions: int = 0
    # Of the versions by number: whether an approval ever brought it there.
    approved: set[str] = field(default_factory=set)
    # Why each place is held, as of the next look.
    why: dict[Held, str] = field(default_factory=dict)
    asked: str | None = None
    # What held a target at the last look.
    looked: set[Held] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def begin(self) -> None:
        self.names.add(self.name)
        self.place.call("POST", "registered-models/create", name=self.name)
        self.versions, self.approved, self.asked = 0, set(), None
        for accuracy in ("0.95", "0.96"):
            self.version(accuracy)

    def version(self, accuracy: str) -> str:
        run = self.run_id(accuracy)
        self.place.call("POST", "model-versions/create", name=self.name, source=f"runs:/{run}/model", run_id=run)
        self.versions += 1
        return str(self.versions)

    @property
    def tag(self) -> str:
        kind = f"alias.{self.target[1:]}" if self.target.startswith("@") else f"stage.{self.target}"
        return f"transition_request.{kind}"

    def holder(self) -> str | None:
        held = [version for name, version, target in self.place.held() if (name, target) == (self.name, self.target)]
        return held[0] if held else None

    def other(self) -> str:
        """A version that does not hold it."""
        return "2" if self.holder() == "1" else "1"

    def at(self, version: str) -> Held:
        return self.name, version, self.target

    # --- what people do -----------------------------------------------------------------------------------------

    def do(self, action: str) -> None:
        getattr(self, action.replace(" ", "_"))()

    def nothing(self) -> None:
        pass

    def ask(self, version: str | None = None) -> None:
        """The daemon approves it in the next cycle, so that the look after that sees it."""
        version = version or self.other()
        self._file(version)
        self.asked = version

    def ask_badly(self) -> None:
        self._file(self.version("0.5"))

    def ask_and_withdraw(self) -> None:
        version = self.other()
        self._file(version)
        self.place.call("DELETE", "model-versions/delete-tag", name=self.name, version=version, key=self.tag)

    def move(self) -> None:
        version = self.other()
        self._move(version)
        self.why[self.at(version)] = "rollback" if version in self.approved else "bypass"

    def move_while_asked(self) -> None:
        """Filed and moved between two looks: the daemon approves it, after somebody has moved it already."""
        version = self.other()
        self._file(version)
        self._move(version)
        self.why[self.at(version)] = "person"
        self.approved.add(version)

    def take_away(self) -> None:
        version = self.holder()
        if version is None:
            return
        if self.target.startswith("@"):
            self.place.call("DELETE", "registered-models/alias", name=self.name, alias=self.target[1:])
        else:
            self._stage(version, "None")

    def archive(self) -> None:
        """Of an alias, by whoever takes it away."""
        version = self.holder()
        if version is not None and not self.target.startswith("@"):
            self._stage(version, "Archived")
        else:
            self.take_away()

    def take_away_and_back(self) -> None:
        """What comes and goes between two looks is not seen, so it is one tenure."""
        version = self.holder()
        if version is not None:
            self.take_away()
            self._move(version)

    def rename(self) -> None:
        held = self.holder()
        seen = held is not None and self.at(held) in self.looked
        new = f"{self.name}-renamed-{next(_numbers)}"
        self.place.call("POST", "registered-models/rename", name=self.name, new_name=new)
        self.name = new
        self.names.add(new)
        if held is not None:
            # A decision moved it after the last look, which no look has seen under the old name.
            self.why[self.at(held)] = "rename" if seen else "decision"
        else:
            # Nothing that was looked at tells that it is the same model.
            self.approved = set()
        assert self.holder() == held

    def delete(self) -> None:
        """The version that holds it; another takes its number's place never."""
        version = self.holder()
        if version is None:
            return
        if not self.target.startswith("@"):
            self._stage(version, "Archived")
        self.place.call("DELETE", "model-versions/delete", name=self.name, version=version)
        self.name_anew()

    def name_anew(self) -> None:
        self.name = f"model-{next(_numbers)}"
        self.begin()

    def recreate_and_move(self) -> None:
        """Another model under the same name: whatever was approved before was not this."""
        if (version := self.holder()) is not None and not self.target.startswith("@"):
            self._stage(version, "Archived")
        self.place.call("DELETE", "registered-models/delete", name=self.name)
        self.begin()
        self._move("1")
        self.why[self.at("1")] = "bypass"

    def _file(self, version: str) -> None:
        self.place.call("POST", "model-versions/set-tag", name=self.name, version=version, key=self.tag, value="please")

    def _move(self, version: str) -> None:
        if self.target.startswith("@"):
            self.place.call("POST", "registered-models/alias", name=self.name, alias=self.target[1:], version=version)
        else:
            body = {"name": self.name, "version": version, "stage": self.target, "archive_existing_versions": True}
            self.place.call("POST", "model-versions/transition-stage", **body)

    def _stage(self, version: str, stage: str) -> None:
        body = {"name": self.name, "version": version, "stage": stage, "archive_existing_versions": False}
        self.place.call("POST", "model-versions/transition-stage", **body)

    def cycle_is_over(self) -> None:
        """What was asked for is approved by now."""
        if self.asked is not None:
            self.why[self.at(self.asked)] = "decision"
            self.approved.add(self.asked)
            self.asked = None


class PeopleWithTheApp(People):
    """The same on a server with the app, whose wall refuses what is no request."""

    def _file(self, version: str) -> None:
        self.place.call("POST", "transition-requests/create", **self._of(version), comment="please")

    def _of(self, version: str) -> dict[str, str]:
        return {"name": self.name, "version": version, "stage": self.target}

    def ask_and_withdraw(self) -> None:
        version = self.other()
        self._file(version)
        self.place.call("DELETE", "transition-requests/delete", **self._of(version))

    def approve(self) -> None:
        version = self.other()
        self._file(version)
        archives = not self.target.startswith("@")
        self.place.call("POST", "transition-requests/approve", **self._of(version), archive_existing_versions=archives)
        self.why[self.at(version)] = "person"
        self.approved.add(version)

    def move(self) -> None:
        self._refused(lambda: self._move(self.other()))

    def take_away(self) -> None:
        if self.holder() is not None:
            self._refused(super().take_away)

    def archive(self) -> None:
        if self.holder() is not None:
            self._refused(super().archive)

    def rename(self) -> None:
        super().rename() if self.holder() is None else self._refused(super().rename)

    def delete(self) -> None:
        if (version := self.holder()) is not None:
            delete = lambda: self.place.call("DELETE", "model-versions/delete", name=self.name, version=version)  # noqa: E731
            self._refused(delete)

    def recreate(self) -> None:
        def remove() -> None:
            self.place.call("DELETE", "registered-models/delete", name=self.name)

        if self.holder() is not None:
            self._refused(remove)
        else:
            remove()
            self.begin()

    def _refused(self, act: Callable[[], None]) -> None:
        before = self.place.held()
        with pytest.raises(requests.HTTPError, match="403"):
            act()
        assert self.place.held() == before


class History:
    """A registry, its people, a daemon, and what was held at each look."""

    def __init__(self, place: Place, directory: Path) -> None:
        self.place = place
        self.url = f"sqlite:///{directory}/audit-{next(_numbers)}.db"
        schema.upgrade(self.url)
        self.engine: Engine = make_engine(self.url)
        transport = Transport(Endpoint(place.uri))
        # A registry of its own in the record; the models of earlier histories are left out by their names.
        registry = (AppRegistry if place.app else TagsRegistry)(place.uri, "", transport, transport)
        times = Times(full_look=timedelta(0))
        log = SqlAuditLog(self.engine, "test:1", place.uri)
        self.cycles = Cycle(registry, log, times=times, everything_is_due=True)
        loaded = parse_policy(POLICY, "policy.yaml")
        self.policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
        self.looks: list[set[Held]] = []
        self.expected: dict[Held, list[str]] = {}
        people = PeopleWithTheApp if place.app else People
        self.people = [people(place, self.run_id, target) for target in TARGETS]

    def run_id(self, accuracy: str) -> str:
        run: str = self.place.call("POST", "runs/create", experiment_id="0")["run"]["info"]["run_id"]
        metric = {"run_id": run, "key": "validation_accuracy", "value": float(accuracy), "timestamp": 1, "step": 0}
        self.place.call("POST", "runs/log-metric", **metric)
        self.place.call("POST", "runs/update", run_id=run, status="FINISHED", end_time=2)
        return run

    def cycle(self) -> None:
        def reached(name: str) -> None:
            if name == "looked":
                self.looks.append(self.place.held())

        before = self.looks[-1] if self.looks else set()
        with watching(reached):
            self.cycles.run(self.policy, Mode.ENFORCE)
        why = {held: cause for one in self.people for held, cause in one.why.items()}
        for held in sorted(self.looks[-1] - before):
            if held in why:
                self.expected.setdefault(held, []).append(why[held])
        for one in self.people:
            one.looked = self.looks[-1]
            one.cycle_is_over()

    def found(self) -> dict[Held, list[str]]:
        query = (
            "SELECT model, version, target, began_by FROM tenures WHERE NOT began_by = 'baseline' ORDER BY tenure_id"
        )
        # With the app, what earlier histories left is in the registry's own history, with who did it.
        names = {name for one in self.people for name in one.names}
        tenures: dict[Held, list[str]] = {}
        with self.engine.connect() as connection:
            held = [row for row in connection.execute(text(query)) if row.model in names]
            for model, version, target, began_by in held:
                tenures.setdefault((model, version, target), []).append(began_by)
        return tenures

    def witnessed(self) -> None:
        """What the triggers saw lies between the looks that the record names: no beginning and no end without one."""
        names = {name: one.names for one in self.people for name in one.names}
        bounds = "last_seen_without, first_seen_with, last_seen_with, first_seen_without"
        query = f"SELECT model, version, target, began_by, ended_by, {bounds} FROM tenures ORDER BY tenure_id"
        with self.engine.connect() as connection:
            tenures = [row for row in connection.execute(text(query)) if row.model in names]
        for one in tenures:
            same = names[one.model], one.version, one.target
            # A new name moves nothing.
            if one.began_by != "rename":
                assert self._saw(*same, 1, one.last_seen_without, one.first_seen_with), one
            if one.ended_by not in {None, "rename"}:
                assert self._saw(*same, 0, one.last_seen_with, one.first_seen_without), one

    def _saw(self, names: set[str], version: str, target: str, held: int, after: str | None, before: str) -> bool:
        query = "SELECT name, version, target, held, at FROM witness"
        return any(
            name in names and (seen, of, what) == (version, target, held) and (after or "") <= at <= before
            for name, seen, of, what, at in self.place.rows(query)
        )

    def population(self) -> int:
        """As the report counts it."""
        with self.engine.connect() as connection:
            answer = reports()["completeness"].answer(Reading(connection, Asked()))
        assert sum(answer.counts["by_cause"].values()) == answer.counts["tenures"]
        return int(answer.counts["tenures"])

    def open_now(self) -> set[Held]:
        query = "SELECT model, version, target FROM tenures WHERE first_seen_without IS NULL"
        with self.engine.connect() as connection:
            return {(model, version, target) for model, version, target in connection.execute(text(query))}

    def unexplained(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM unattributed")).scalar_one())


def happens(place: Place, directory: Path, steps: list[tuple[str, str]]) -> None:
    history = History(place, directory)
    for one in history.people:
        one.begin()
    history.cycle()
    for actions in steps:
        for one, action in zip(history.people, actions, strict=True):
            one.do(action)
        history.cycle()
    for _ in range(3):
        history.cycle()
    assert history.unexplained() == 0
    assert history.found() == history.expected, (steps, history.looks)
    assert history.open_now() == place.held()
    assert history.population() == len(history.looks[0]) + sum(map(len, history.expected.values())), steps
    history.witnessed()
    says_nothing_false(history.url)
    history.engine.dispose()


@pytest.fixture(params=[*(label(version) for version in tried()[:1]), "newest"], scope="module")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("server")
    python = {} if request.param == "newest" else {"python": python_of(request.param.removeprefix("mlflow-"))}
    with mlflow_server(directory, **python) as uri:
        place = Place(uri, next(directory.glob("*.db")))
        place.watch()
        yield place


@pytest.fixture(scope="module")
def place_with_the_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("app")
    targets = {"TRANSITION_REQUESTS_TARGETS": ",".join(TARGETS)}
    with mlflow_server(directory, "--app-name", "transition-requests", variables=targets) as uri:
        place = Place(uri, next(directory.glob("*.db")), app=True)
        place.watch()
        yield place


def steps_of(actions: tuple[str, ...]) -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(
        st.tuples(st.sampled_from(actions), st.sampled_from(actions)), min_size=1, max_size=12 if LONG else 6
    )


def at_random(place: Place, directory: Path, actions: tuple[str, ...]) -> None:
    @settings(
        max_examples=60 if LONG else 6, deadline=None, derandomize=not LONG,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(steps_of(actions))
    def anything(steps: list[tuple[str, str]]) -> None:
        happens(place, directory, steps)

    anything()
    moved = place.rows("SELECT count(*) FROM witness")[0][0]
    assert moved > 0


def test_every_tenure_that_spans_a_look_is_on_record_with_its_cause(place: Place, tmp_path: Path) -> None:
    at_random(place, tmp_path, ACTIONS)


def test_so_is_every_tenure_on_a_server_with_the_app(place_with_the_app: Place, tmp_path: Path) -> None:
    at_random(place_with_the_app, tmp_path, ACTIONS_WITH_THE_APP)


# What was found so.
RENAMED_AT_ONCE = [("ask", "ask"), ("rename", "rename"), ("move", "take away"), ("rename", "nothing")]


def test_what_is_asked_for_and_renamed_before_the_next_look_is_held_by_its_decision(
    place: Place, tmp_path: Path
) -> None:
    happens(place, tmp_path, RENAMED_AT_ONCE)
