"""Four replicas on PostgreSQL, killed and frozen at random, while people go on asking; and idling for a long time.

The quick run lasts 40 seconds. LONG_TESTS=1 makes it longer, NEMESIS_SECONDS says how long.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.log.verifying import verify
from reconciler.audit.reader import AuditReader, DecisionFilter
from tests import command
from tests.crash.conftest import LONG, POLICY
from tests.crash.record import says_nothing_false
from tests.databricks_double import Asked, Workspace, workspace
from tests.forker import Forked
from tests.postgres import PostgresServer

SECONDS = float(os.environ.get("NEMESIS_SECONDS", "600" if LONG else "40"))
REQUESTS, BURST = 500, 50
# The shortest lease that the settings allow with this timeout.
TIMEOUT, LEASE = 1.0, 14.0
# Far more than any machine needs; how long a request waits is asserted by itself.
_HANGS_AFTER = 500.0
_DECISION_ID = re.compile(r"\(decision ([0-9a-f-]{36}),")


class Replicas:
    """Real daemons, one process each."""

    def __init__(self, place: Path, url: str, uri: str, count: int, interval: float = 0.5) -> None:
        (place / "policy.yaml").write_text(POLICY)
        self._log = place / "log"
        self._environment = {
            **os.environ,
            "RECONCILER_REGISTRY__URI": uri,
            "RECONCILER_REGISTRY__TIMEOUT": str(TIMEOUT),
            "RECONCILER_REGISTRY__BUDGET": "1000",
            "RECONCILER_AUDIT__URL": url,
            "RECONCILER_POLICY": str(place / "policy.yaml"),
            "RECONCILER_MODE": "enforce",
            "RECONCILER_SCHEDULE__INTERVAL": str(interval),
            "RECONCILER_SCHEDULE__JITTER": "0",
            "RECONCILER_SCHEDULE__LEASE": str(LEASE),
            "RECONCILER_LOG__LEVEL": "error",
        }
        self.processes = [self._start() for _ in range(count)]

    def _start(self) -> Forked:
        return command.start("run", environment=self._environment, log=self._log)

    def kill(self, number: int) -> None:
        self.processes[number].kill()
        self.processes[number].wait()
        self.processes[number] = self._start()

    def freeze(self, number: int) -> None:
        self.processes[number].send_signal(signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        self.processes[number].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


@contextlib.contextmanager
def replicas(*arguments: Any, **named: Any) -> Iterator[Replicas]:
    started = Replicas(*arguments, **named)
    try:
        yield started
    finally:
        started.stop()


def until(condition: Callable[[], bool], what: str, within: float) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {within:g} s: {what}"
        time.sleep(0.2)


@pytest.mark.timeout(SECONDS + 1200)
def test_four_replicas_killed_and_frozen_lose_double_and_contradict_nothing(
    postgres: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = postgres.new_database()
    schema.upgrade(url)
    chance = random.Random(20261124)
    with workspace() as held, replicas(tmp_path, url, held.uri, 4) as four:
        start = _seconds_to_the_first_call(held)
        asked, strikes = _a_minute_of_trouble(held, four, chance)
        rows = AuditReader(make_engine(url))
        until(lambda: not held.requests, "every request resolved", _HANGS_AFTER)
        until(
            lambda: all(row["outcome"] for row in rows.decisions(DecisionFilter(), None)),
            "every decision with its outcome",
            _HANGS_AFTER,
        )
        decisions = rows.decisions(DecisionFilter(), None)
    _verify(held, asked, decisions)
    one_gapless_log(url)
    says_nothing_false(url)
    took = sorted(_seconds(row) for row in decisions)
    # Twice a lease: whoever takes over may be struck too. Half a minute: what could not be read again waits for that.
    # The rest for starts: somebody is struck every second or two, so that slow starters are seldom at work.
    assert took[-1] <= 2 * LEASE + 30 + max(15, 10 * start)
    with capsys.disabled():
        print(
            f"\n{len(decisions)} decisions, {dict(strikes)}: outcome within {took[len(took) // 2]:.2f} s (median), "
            f"{took[-1]:.1f} s (most; lease {LEASE:g} s); {dict(Counter(row['outcome'] for row in decisions))}; "
            f"{len(held.heard) - len(held.acts)} acts that the registry refused"
        )


def _seconds_to_the_first_call(held: Workspace) -> float:
    started = time.monotonic()
    until(lambda: bool(held.calls), "the first call of a replica", 120)
    return time.monotonic() - started


def _a_minute_of_trouble(held: Workspace, four: Replicas, chance: random.Random) -> tuple[list[Asked], Counter[str]]:
    # Slow acts, so that many are struck in the middle of one.
    held.wire = lambda method, path: time.sleep(0.1) if path.endswith(("/approve", "/reject")) else None  # type: ignore[func-returns-value]
    asked: list[Asked] = []
    strikes: Counter[str] = Counter()
    frozen: dict[int, float] = {}
    started = time.monotonic()
    next_strike = started + 3
    while (now := time.monotonic()) < started + SECONDS:
        while len(asked) < BURST * (1 + (now - started) // (SECONDS * BURST / REQUESTS)):
            model = f"m{len(asked) % 100}"
            version = held.version(model, chance.choice(["0.95", "0.5"]))
            asked.append(held.ask(model, version))
        for number in [number for number, until_ in frozen.items() if now >= until_]:
            four.thaw(number)
            del frozen[number]
        if now >= next_strike:
            next_strike = now + chance.uniform(0.5, 2.5)
            number = chance.randrange(4)
            if number not in frozen:
                strikes[_strike(four, number, frozen, now, chance)] += 1
        time.sleep(0.02)
    for number in frozen:
        four.thaw(number)
    return asked, strikes


def _strike(four: Replicas, number: int, frozen: dict[int, float], now: float, chance: random.Random) -> str:
    if chance.random() < 0.4 and len(frozen) < 2:
        four.freeze(number)
        frozen[number] = now + LEASE + 2
        return "SIGSTOP"
    four.kill(number)
    return "SIGKILL"


def _verify(held: Workspace, asked: list[Asked], decisions: list[dict[str, Any]]) -> None:
    by_place = Counter((row["model"], row["version"]) for row in decisions)
    assert set(by_place) == {(one.model, one.version) for one in asked}, "lost"
    assert set(by_place.values()) == {1}, "doubled"
    known = {row["decision_id"]: row for row in decisions}
    for kind, arguments in held.heard:
        found = _DECISION_ID.search(arguments["comment"])
        assert found is not None
        row = known[found.group(1)]
        assert (row["model"], row["version"]) == (arguments["name"], arguments["version"]), "unaudited"
        assert kind == ("APPROVED_REQUEST" if row["verdict"] == "approve" else "REJECTED_REQUEST"), "contradictory"
    assert {row["outcome"] for row in decisions} <= {"applied", "unattributed"}
    for row in decisions:
        stage = held.models[row["model"]][row["version"]].stage
        assert stage == ("Production" if row["verdict"] == "approve" else "None")


def one_gapless_log(url: str) -> None:
    """Whatever was killed meanwhile: no fork, no gap, and every row of history is in it once."""
    engine = make_engine(url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT entry, row_key FROM log_leaves ORDER BY leaf")).all()
        numbers = connection.scalars(text("SELECT leaf FROM log_leaves ORDER BY leaf")).all()
        decisions = connection.scalar(text("SELECT count(*) FROM decisions"))
        outcomes = connection.scalar(text("SELECT count(*) FROM outcomes"))
    assert list(numbers) == list(range(len(numbers)))
    assert len(set(found)) == len(found)
    assert Counter(entry for entry, _ in found) >= Counter(decisions=decisions, outcomes=outcomes)
    assert verify(engine).differences == ()
    engine.dispose()


def _seconds(row: dict[str, Any]) -> float:
    from reconciler.domain.times import parse_iso

    return (parse_iso(row["outcome_at"]) - parse_iso(row["decided_at"])).total_seconds()


FAULTS = ("reset before", "500", "truncated")
CYCLES, DECISIONS = (10_000, 2_000) if LONG else (400, 150)
# By then the caches of drivers are full, and each thread that looks has opened its connection.
WARM = 100


@pytest.mark.skipif("COVERAGE_PROCESS_CONFIG" in os.environ, reason="what `make coverage` collects grows")
@pytest.mark.timeout(3600 if LONG else 900)
def test_memory_and_descriptors_stay_flat_over_idle_cycles_and_decisions_with_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    chance = random.Random(1)
    with workspace() as held, replicas(tmp_path, url, held.uri, 1, interval=0.02) as one:
        held.version("m", "0.95")
        process = psutil.Process(one.processes[0].pid)
        until(lambda: _cycles(held) > CYCLES // 10, "the first idle cycles", 1200)
        held.wire = lambda method, path: chance.choice(FAULTS) if chance.random() < 0.05 else None
        before: dict[str, float] = {}
        for number in range(DECISIONS):
            held.ask("m", held.version("m", chance.choice(["0.95", "0.5"])), comment=f"{number}")
            until(lambda: len(held.requests) < 20, "the daemon keeps up", 240)
            if number == WARM:
                until(lambda: not held.requests, "the first of them", 240)
                before = _size(process)
        until(lambda: not held.requests, "every request resolved", 600)
        held.wire = lambda method, path: None
        done = _cycles(held)
        until(lambda: _cycles(held) > done + CYCLES, "the idle cycles after it", 2400)
        after = _size(process)
    with capsys.disabled():
        print(f"\n{CYCLES:,} idle cycles, {DECISIONS:,} decisions, 5 % of calls failing: {before} -> {after}")
    assert after["descriptors"] <= before["descriptors"] + 3
    # What is remembered of each version swept is the only thing that may grow.
    assert after["megabytes"] <= before["megabytes"] + 4


def _cycles(held: Workspace) -> int:
    return sum(path.endswith("/registered-models/search") for _, path, _ in list(held.calls))


def _size(process: psutil.Process) -> dict[str, float]:
    return {"megabytes": round(process.memory_info().rss / 1e6, 1), "descriptors": process.num_fds()}
