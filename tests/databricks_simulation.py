"""A daemon that sweeps a Databricks workspace in simulated time: hours pass in seconds, and no network is needed.

Everything of the product runs but the HTTP exchange itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import requests

from reconciler.domain.place import ModelVersion
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.ports import Listing, RegistryError
from reconciler.registry.budget import Budget
from reconciler.registry.databricks import DatabricksRegistry, Looked, SweepTiming
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.transport import Timing, Transport
from tests.databricks_double import Version, Workspace

SCOPE = Scope.of_all_models([Target.parse("Production")])
SWEEP_FOR = timedelta(seconds=48)


class Clock:
    """Seconds that pass only when somebody sleeps or a call takes its time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Simulated(Transport):
    """Exchanges with a workspace in memory; notes when each call went out."""

    def __init__(self, held: Workspace, budget: Budget, clock: Clock) -> None:
        super().__init__(Endpoint("http://simulated.test"), pace=budget, timing=Timing(clock, clock.sleep))
        self._held, self._clock = held, clock
        self.sent: list[float] = []

    def _exchange(
        self, method: str, path: str, ends: float, arguments: Mapping[str, Any], raw_up_to: int | None
    ) -> tuple[requests.Response, bytes]:
        self.calls += 1
        self.sent.append(self._clock())
        self._clock.sleep(self._held.latency)
        reply = requests.Response()
        asked = dict(arguments.get("params") or arguments.get("json") or {})
        reply.status_code, data = self._held.serve(method, path, asked)
        reply.headers.update({"Content-Type": "application/json", **self._held.headers(reply.status_code)})
        return reply, json.dumps(data).encode()


@dataclass(frozen=True)
class Size:
    models: int
    versions: int


class Simulation:
    """A daemon that lists every minute. `remark` is that of the last list, or why there is none."""

    remark: str | None = None

    def __init__(self, size: Size, per_second: float, full: timedelta) -> None:
        self.clock, self.held = Clock(), Workspace()
        each = size.versions // size.models
        for number in range(size.models):
            self.held.models[f"m{number}"] = {str(version): Version() for version in range(1, each + 1)}
        self.budget = Budget(per_second, self.clock, self.clock.sleep)
        self.transport = Simulated(self.held, self.budget, self.clock)
        self.registry = DatabricksRegistry(
            "x",
            [self.transport],
            self.transport,
            self.budget,
            SweepTiming(full, SWEEP_FOR, clock=self.clock),
            look_all=self._look,
        )

    def _look(self, model_versions: Sequence[ModelVersion]) -> Iterator[Looked]:
        for model_version in model_versions:
            yield model_version, self.registry.requests_on(self.transport, model_version)

    def cycle(self) -> set[str]:
        """The models of the requests that were seen; the next cycle is a minute after this one."""
        started = self.clock()
        self.transport.begin(None)
        try:
            listing = self.registry.open_requests(SCOPE)
        except RegistryError as error:
            listing = Listing([], str(error))
        self.remark = listing.remark
        found = {listed.request.model for listed in listing.requests}
        self.clock.now = max(self.clock.now, started + 60)
        return found

    def cycles_until(self, model: str) -> int:
        return next(count for count in range(1, 100) if model in self.cycle())

    def most_in_a_second(self) -> int:
        sent = self.transport.sent
        return max(sum(start <= at < start + 1 for at in sent[index : index + 200]) for index, start in enumerate(sent))
