"""How long a daemon waits when it is told to stop, and how often it tells systemd that it lives, without waiting."""

from __future__ import annotations

import gc
import itertools
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest

from reconciler.cycle import CycleSummary
from reconciler.daemon.schedule import Daemon, wait_for
from reconciler.daemon.systemd import Notifier
from reconciler.domain.decision import Mode
from tests.manager import Manager

# A daemon that does not stop would hold the suite up forever.
pytestmark = pytest.mark.timeout(120)


class Left(Exception):
    """The process would have ended here."""


def leave(code: int) -> NoReturn:
    raise Left(code)


class OneLongCycle:
    """Its cycle asks the process to stop, and then goes on until it is let go.

    The signal is handed to the cycle's own thread, as the kernel may do: that wakes nobody else.
    """

    interval = timedelta(hours=1)
    jitter = timedelta(0)

    def __init__(self) -> None:
        self.go = threading.Event()
        self.signed_off = 0

    def one_cycle(self) -> CycleSummary:
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        self.go.wait()
        return CycleSummary(Mode.ENFORCE)

    def ask_to_reload(self) -> None:
        pass

    def sign_off(self) -> None:
        self.signed_off += 1


class NothingToDo(OneLongCycle):
    def one_cycle(self) -> CycleSummary:
        return CycleSummary(Mode.ENFORCE)


@pytest.fixture
def work() -> Iterator[OneLongCycle]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    work = OneLongCycle()
    yield work
    work.go.set()
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_a_daemon_waits_ten_seconds_for_its_cycle_and_leaves_in_the_middle_of_it(
    work: OneLongCycle, caplog: pytest.LogCaptureFixture
) -> None:
    waited: list[float] = []

    def over(cycle: threading.Event, seconds: float) -> bool:
        waited.append(seconds)
        return cycle.is_set()

    with pytest.raises(Left, match="^0$"):
        Daemon(work, threading.Event(), Notifier({}), over, leave).serve()
    assert (waited, work.signed_off, work.go.is_set()) == ([10.0], 1, False)
    assert caplog.messages == ["the registry did not answer in time: exiting; the next start settles what is open"]


def test_a_cycle_that_ends_while_the_daemon_waits_ends_the_daemon(
    work: OneLongCycle, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def ends_meanwhile(cycle: threading.Event, seconds: float) -> bool:
        work.go.set()
        return cycle.wait()

    Daemon(work, threading.Event(), Notifier({}), ends_meanwhile, leave).serve()
    assert (work.signed_off, caplog.messages[-1]) == (1, "stopped")


def test_a_second_signal_while_the_daemon_waits_ends_it_without_a_word(
    work: OneLongCycle, caplog: pytest.LogCaptureFixture
) -> None:
    def signalled(cycle: threading.Event, seconds: float) -> bool:
        # Of the signal that began this, it is another wish after a second.
        signalling = threading.Timer(1.0, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM))
        signalling.start()
        return wait_for(cycle, math.inf)

    with pytest.raises(Left, match="^130$"):
        Daemon(work, threading.Event(), Notifier({}), signalled, leave).serve()
    assert (work.signed_off, work.go.is_set(), caplog.messages) == (0, False, [])


def test_progress_is_told_five_times_in_the_watchdogs_time_however_often_it_is_made(tmp_path: Path) -> None:
    now = [100.0]
    with closing(Manager(str(tmp_path / "notify"))) as manager:
        environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "10000000"}
        notifier = Notifier(environ, lambda: now[0])
        for tenth in range(100):
            now[0] = 100 + tenth / 10
            notifier.progress()
        assert manager.beats() == 5


def test_between_two_cycles_progress_is_made_three_times_in_the_watchdogs_time() -> None:
    work = NothingToDo()
    scheduler = Daemon(work, threading.Event(), Notifier({"WATCHDOG_USEC": "9000000"}))._schedule()
    every = [job.trigger.interval for job in scheduler.get_jobs()]
    scheduler.shutdown()
    assert sorted(every) == [timedelta(seconds=3), work.interval]


class AskedWithinACycle(OneLongCycle):
    """Its first cycle ends only once SIGHUP has come and was followed; the second one asks the process to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.cycles = 0
        self.reloaded = threading.Event()

    def one_cycle(self) -> CycleSummary:
        self.cycles += 1
        os.kill(os.getpid(), signal.SIGHUP if self.cycles == 1 else signal.SIGTERM)
        if self.cycles == 1:
            assert self.reloaded.wait(60)
            # The schedule has had its chance to drop what was asked of it.
            assert not self.go.wait(1)
        return CycleSummary(Mode.ENFORCE)

    def ask_to_reload(self) -> None:
        self.reloaded.set()


def test_a_hangup_within_a_cycle_is_followed_by_another_cycle_and_not_an_interval_later(work: OneLongCycle) -> None:
    asked = AskedWithinACycle()
    Daemon(asked, threading.Event(), Notifier({})).serve()
    assert (asked.cycles, asked.signed_off) == (2, 1)


class ManyObjects(OneLongCycle):
    """Its cycle makes fifty thousand objects, and counts how often Python looks through those that live."""

    collections = 0

    def one_cycle(self) -> CycleSummary:
        gc.callbacks.append(self._collected)
        kept = [[number] for number in range(50_000)]
        gc.callbacks.remove(self._collected)
        assert len(kept) == 50_000
        os.kill(os.getpid(), signal.SIGTERM)
        return CycleSummary(Mode.ENFORCE)

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        self.collections += phase == "start"


def test_a_daemon_does_not_look_through_all_objects_again_and_again(work: OneLongCycle) -> None:
    busy, before = ManyObjects(), gc.get_threshold()
    Daemon(busy, threading.Event(), Notifier({})).serve()
    assert busy.collections <= 10
    assert gc.get_threshold() == before


class Asked(NothingToDo):
    """It counts how often it was asked to reload."""

    def __init__(self) -> None:
        super().__init__()
        self.reloads = 0

    def ask_to_reload(self) -> None:
        self.reloads += 1


def test_a_signal_at_any_moment_of_its_waiting_does_not_stop_it_for_good(work: OneLongCycle) -> None:
    asked, sent = Asked(), itertools.count(1)

    def at_each_line_of_a_wait(frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_name == "wait" and event == "line" and (number := next(sent)) <= 200:
            # Handled right here, whatever lock the wait holds at this moment.
            signal.raise_signal(signal.SIGHUP if number < 200 else signal.SIGTERM)
        return at_each_line_of_a_wait

    sys.settrace(at_each_line_of_a_wait)
    try:
        Daemon(asked, threading.Event(), Notifier({})).serve()
    finally:
        sys.settrace(None)
    assert asked.reloads >= 1
    assert asked.signed_off == 1
