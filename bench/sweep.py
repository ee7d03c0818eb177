"""What a sweep of a large Databricks workspace costs the daemon, in simulated time against a double in memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tests.databricks_double import Throttle
from tests.databricks_simulation import Simulation, Size

MODELS, VERSIONS, PER_SECOND = 1000, 100_000, 40
# One call at a time fits the budget: the simulation has one thread.
LATENCY, FULL = 0.02, timedelta(hours=2)
# A limit of the workspace below the budget of the daemon: it is answered 429, and slows down.
ALLOWED, PAUSE = 25, 5


class Sweeping:
    """A daemon that sweeps; `calls` and `cpu` are those of its last cycle, without the double's CPU."""

    def __init__(self) -> None:
        self._simulation = Simulation(Size(MODELS, VERSIONS), PER_SECOND, FULL)
        self._simulation.held.latency = LATENCY
        self._exchange = self._simulation.transport._exchange
        self._of_the_double = 0.0
        self._looked_at: set[tuple[str, str]] = set()
        self._simulation.transport._exchange = self._timed  # type: ignore[method-assign]

    def _timed(self, method: str, path: str, ends: float, arguments: Mapping[str, Any], raw_up_to: int | None) -> Any:
        began = time.process_time()
        asked = arguments.get("params") or {}
        if "version" in asked:
            self._looked_at.add((asked["name"], asked["version"]))
        answered = self._exchange(method, path, ends, arguments, raw_up_to)
        self._of_the_double += time.process_time() - began
        return answered

    def throttle(self) -> Throttle:
        throttle = self._simulation.held.throttle = Throttle(ALLOWED, PAUSE, self._simulation.clock)
        return throttle

    def cycle(self) -> None:
        sent, self._of_the_double = len(self._simulation.transport.sent), 0.0
        began = time.process_time()
        self._simulation.cycle()
        self.cpu = time.process_time() - began - self._of_the_double
        self.calls = len(self._simulation.transport.sent) - sent

    def until_all_are_looked_at(self) -> int:
        """The number of cycles that it takes."""
        for count in range(1, 1000):
            self.cycle()
            if len(self._looked_at) == VERSIONS:
                return count
        raise AssertionError(f"{len(self._looked_at)} of {VERSIONS}: {self._simulation.remark}")


def measure() -> list[str]:
    """Rows of the table."""
    sweeping = Sweeping()
    cycles = sweeping.until_all_are_looked_at()
    spent = []
    for _ in range(20):
        sweeping.cycle()
        spent.append((sweeping.cpu, sweeping.calls))
    cpus = sorted(cpu for cpu, _ in spent)
    throttle = sweeping.throttle()
    for _ in range(10):
        sweeping.cycle()
    size = f"{VERSIONS:,} versions of {MODELS:,} models"
    return [
        f"| Databricks, {size}, {PER_SECOND} calls a second that take {LATENCY} s: cycles of a minute until all "
        f"were looked at | {cycles} |",
        f"| CPU of such a cycle, median of 20 (least, most) | {cpus[10]:.2f} s ({cpus[0]:.2f}, {cpus[-1]:.2f}) |",
        f"| calls of a cycle | {spent[-1][1]:,} |",
        f"| 429 answers in ten cycles if the workspace allows {ALLOWED} a second | {len(throttle.refused)} |",
    ]


if __name__ == "__main__":
    print("\n".join(measure()))
