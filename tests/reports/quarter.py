"""A quarter at a company with eight models, for what is looked at: the pages' tests and the pictures in docs/.

    python -m tests.reports.quarter sqlite:////tmp/quarter.db

A daemon looks twice a day; people ask, approve, move versions by hand, pause it and change its policy, by a seed.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final

from sqlalchemy import Engine

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.holding.accepting import acknowledge
from reconciler.audit.running.pauses import PAUSE, RESUME, note_pause
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce, Times
from reconciler.domain.decision import Mode
from reconciler.domain.request import Assurance, Requester
from reconciler.domain.target import Target
from reconciler.policy.file import parse_policy
from reconciler.ports import Resolution, Resolved
from tests.fake_registry import FakeRegistry
from tests.store.database_clock import DatabaseClock

MODELS: Final = (
    "churn", "credit-risk", "document-ocr", "fraud-detector", "ltv-forecast", "pricing", "recommender", "search-ranker",
)  # fmt: skip
PEOPLE: Final = ("ada", "grace", "ida", "katherine", "mary")
HALF_A_DAY: Final = timedelta(hours=12)
DAYS: Final = 91
PRODUCTION: Final = Target.parse("Production")
POLICY: Final = """\
version: 1
rules:
  - name: accuracy
    targets: [Production]
    require: [{{metric: validation_accuracy, min: {least}, on_missing: abstain}}]
"""


class Quarter:
    """Args:
    models: who takes part; other names are how a test attacks.
    days: it ends now.
    """

    def __init__(self, engine: Engine, models: tuple[str, ...] = MODELS, days: int = DAYS, seed: int = 3) -> None:
        self.engine, self.models = engine, models
        self.chance = random.Random(seed)
        self.clock = DatabaseClock(engine)
        self.registry = FakeRegistry(uri="https://mlflow.example.com", keeps_history=True)
        log = SqlAuditLog(engine, "ml-ops-1:4711", self.registry.uri)
        times = Times(interval=HALF_A_DAY, full_look=timedelta(0))
        self.daemon = Cycle(self.registry, log, times=times, everything_is_due=True)
        self.mode = Mode.OBSERVE
        self.in_force(0.9)
        self.newest = dict.fromkeys(models, 0)
        self.to_come: list[tuple[int, Callable[[], None]]] = [
            (10, self._enforces), (38, self._pauses), (41, self._resumes), (45, partial(self.in_force, 0.92)),
            (80, self._accepts),
        ]  # fmt: skip
        self.clock.passes(-days * 2 * HALF_A_DAY)
        for model in models:
            self._holds(model, self._version(model, "0.94"))
        for half in range(2 * days):
            self._half_a_day(half, half * DAYS / days / 2)

    def in_force(self, least: float) -> None:
        loaded = parse_policy(POLICY.format(least=least), "policy.yaml")
        self.policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)

    def _half_a_day(self, half: int, day: float) -> None:
        self._once(day)
        if 61 <= day < 65:  # Nobody starts the daemon again after the host went down.
            self.clock.passes(HALF_A_DAY)
            return
        if self.chance.random() < 0.75:
            self._asks(self.chance.choice(self.models))
        self._somebody(half)
        self.clock.passes(HALF_A_DAY)
        assert self.daemon.run(self.policy, self.mode).unavailable is None
        if self.mode is Mode.OBSERVE:
            self.registry.requests.clear()

    def _once(self, day: float) -> None:
        """What happens once; the days are those of a whole quarter, of which a shorter one skips some."""
        while self.to_come and self.to_come[0][0] <= day:
            self.to_come.pop(0)[1]()

    def _enforces(self) -> None:
        self.mode = Mode.ENFORCE

    def _pauses(self) -> None:
        note_pause(self.engine, PAUSE, "release freeze", "grace")

    def _resumes(self) -> None:
        note_pause(self.engine, RESUME, "the freeze is over", "grace")

    def _somebody(self, half: int) -> None:
        model = self.models[half % len(self.models)]
        if half % 37 == 30:
            self._holds(model, self._version(model, "0.9"))
        elif half % 29 == 20:
            self._approves(model, self.chance.choice(PEOPLE))
        elif half % 71 == 60:
            self._told(model, self._version(model, "0.93"), "root", Resolution.CHANGED, "")

    def _accepts(self) -> None:
        with self.engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT min(tenure_id) FROM tenures WHERE began_by = 'bypass'").scalar()
        if found is not None:
            acknowledge(self.engine, found, "emergency, ticket 71", "mary")

    # --- how it is done -----------------------------------------------------------------------------------------

    def _version(self, model: str, accuracy: str) -> str:
        self.newest[model] += 1
        self.registry.accuracy[model, str(self.newest[model])] = accuracy
        return str(self.newest[model])

    def _holds(self, model: str, version: str) -> None:
        self.registry.holders[model, PRODUCTION] = version

    def _asks(self, model: str) -> str:
        accuracy = f"{min(self.chance.gauss(0.925, 0.018), 0.999):.4f}"
        version = self._version(model, accuracy)
        self._file(model, version, accuracy)
        return version

    def _file(self, model: str, version: str, accuracy: str) -> str:
        request = self.registry.file(model, version, accuracy=accuracy)
        before = timedelta(seconds=self.chance.lognormvariate(7.5, 1.6))
        who = Requester(self.chance.choice(PEOPLE), Assurance.AUTHENTICATED)
        asked = replace(request, requested_at=self.clock.now() + HALF_A_DAY - before, requester=who)
        self.registry.requests[model, version, PRODUCTION] = asked
        return asked.id

    def _approves(self, model: str, person: str) -> None:
        version = self._version(model, "")
        id = self._file(model, version, "")
        del self.registry.requests[model, version, PRODUCTION]
        self._told(model, version, person, Resolution.APPROVED, id)

    def _told(self, model: str, version: str, person: str, what: Resolution, request_id: str) -> None:
        who, number = Requester(person, Assurance.AUTHENTICATED), len(self.registry.history) + 1
        said = ("so", self.clock.now(), request_id, None)
        self.registry.history.append(Resolved(number, what, model, version, str(PRODUCTION), who, *said))
        self._holds(model, version)


def lived(url: str, models: tuple[str, ...] = MODELS, days: int = DAYS) -> None:
    """Makes the database of such a quarter."""
    schema.upgrade(url)
    engine = make_engine(url)
    Quarter(engine, models, days)
    engine.dispose()


if __name__ == "__main__":
    lived(sys.argv[1])
