"""The schedule and the signals; nothing here knows what a cycle does."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from types import FrameType
from typing import NoReturn, Protocol

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from reconciler.cycle import CycleSummary, Event
from reconciler.daemon.collecting import collecting_rarely
from reconciler.daemon.systemd import Notifier
from reconciler.daemon.waking import Waker
from reconciler.domain.text import visible_name
from reconciler.domain.weight import Weight
from reconciler.logs import LOGGER
from reconciler.ports import AuditUnavailable

_LONGEST_PAUSE = timedelta(minutes=5)
_PATIENCE = timedelta(seconds=10)
_AN_HOUR = 3600.0
_LOOKS_UP_EVERY = 0.5
_INTERRUPTED = 130
# `timeout`, and a terminal with a wrapper around the daemon, send one wish twice: to it, and to its group.
_ONE_WISH = 0.5


class Work(Protocol):
    """What the schedule runs."""

    @property
    def interval(self) -> timedelta: ...

    @property
    def jitter(self) -> timedelta: ...

    def one_cycle(self) -> CycleSummary:
        """Raises AuditUnavailable while the database cannot be reached; any other error ends the daemon."""

    def ask_to_reload(self) -> None:
        """Policy and configuration are to be read again before the next cycle."""

    def sign_off(self) -> None:
        """No cycle will follow."""


def wait_for(event: threading.Event, seconds: float) -> bool:
    """As `event.wait(seconds)`, for a thread that handles signals.

    The kernel may deliver a signal to another thread: one that is just starting a third takes what is pending for the
    process. The waiting thread is then not woken, and Python runs the handler only when it wakes by itself.
    """
    ends = monotonic() + seconds
    while (left := ends - monotonic()) > 0:
        if event.wait(min(left, _LOOKS_UP_EVERY)):
            return True
    return event.is_set()


class Daemon:
    """Runs cycles on an interval until a signal comes.

    An error of a cycle other than AuditUnavailable, which is tried again, ends the daemon and is raised by `serve`.
    `wait` waits for an event, at most the given seconds; `leave` ends the process whatever else runs in it.
    """

    def __init__(
        self,
        work: Work,
        stop: threading.Event,
        notifier: Notifier,
        wait: Callable[[threading.Event, float], bool] = wait_for,
        leave: Callable[[int], NoReturn] = os._exit,
    ) -> None:
        self._work = work
        self._stop = stop
        self._notifier = notifier
        self._wait = wait
        self._leave = leave
        self._scheduled = work.interval
        self._failures = 0
        self._audit_lost = False
        self._not_before = 0.0
        self._fatal: BaseException | None = None
        self._idle = threading.Event()
        self._idle.set()
        self._one_cycle_at_a_time = threading.Lock()
        self._asked_again = threading.Event()
        self._waker = Waker()
        self._hup = False
        self._asked_to_stop = -_AN_HOUR

    @collecting_rarely()
    def serve(self) -> None:
        """Returns once a signal has come and the request in hand is finished, 10 s later at most."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)
        self._waker.hear_signals()
        try:
            self._serve()
        finally:
            self._waker.hear_no_more()
            for number in (signal.SIGTERM, signal.SIGINT):
                # What is left is the exit itself, in which Python would let a late one kill.
                signal.signal(number, signal.SIG_IGN)

    def _serve(self) -> None:
        self._notifier.status("starting: the first cycle has not reached registry and database yet")
        scheduler = self._schedule()
        while not self._stop.is_set():
            self._waker.wait()
            if self._hup:
                self._hup, self._not_before = False, 0.0
                self._work.ask_to_reload()
                self._asked_again.set()
                scheduler.modify_job("cycle", next_run_time=datetime.now(UTC))
        self._notifier.stopping()
        scheduler.shutdown(wait=False)
        finished = self._wait(self._idle, _PATIENCE.total_seconds())
        if not self._audit_lost:
            self._work.sign_off()
        if self._fatal is not None:
            raise self._fatal
        if not finished:
            LOGGER.warning("the registry did not answer in time: exiting; the next start settles what is open")
            self._leave(0)
        LOGGER.info("stopped", extra={"event": "stopped"})

    def _schedule(self) -> BackgroundScheduler:
        scheduler = BackgroundScheduler(timezone=UTC)
        scheduler.add_job(
            self._run_cycle,
            self._trigger(),
            id="cycle",
            next_run_time=datetime.now(UTC),
            # One runs, and one finds that out: a SIGHUP that comes within a cycle must not be dropped.
            max_instances=2,
            coalesce=True,
            misfire_grace_time=None,
        )
        if self._notifier.watchdog_interval is not None:
            scheduler.add_job(self._idle_beat, "interval", seconds=self._notifier.watchdog_interval / 3)
        scheduler.start()
        self._scheduler = scheduler
        return scheduler

    def _trigger(self) -> IntervalTrigger:
        jitter = self._work.jitter.total_seconds() or None
        return IntervalTrigger(seconds=self._scheduled.total_seconds(), jitter=jitter, timezone=UTC)

    def _idle_beat(self) -> None:
        """Between cycles the schedule itself is progress; within one only the cycle is."""
        if self._idle.is_set():
            self._notifier.progress()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = monotonic()
        if self._stop.is_set():
            if now - self._asked_to_stop > _ONE_WISH:
                self._leave(_INTERRUPTED)
            return
        self._asked_to_stop = now
        self._stop.set()
        self._waker.wake()

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        self._hup = True
        self._waker.wake()

    def _run_cycle(self) -> None:
        """Runs a cycle, and another one if that was asked for meanwhile; none where one is running already."""
        while self._one_cycle_at_a_time.acquire(blocking=False):
            try:
                self._asked_again.clear()
                self._run_if_due()
            finally:
                self._one_cycle_at_a_time.release()
            # Looked at after the release: who asks from now on finds no cycle running, and starts one.
            if not self._asked_again.is_set():
                return

    def _run_if_due(self) -> None:
        if self._stop.is_set() or monotonic() < self._not_before:
            return
        self._idle.clear()
        try:
            self._cycle_once()
        except BaseException as error:  # noqa: BLE001  APScheduler would swallow it; the main thread must see it
            self._fatal = error
            self._stop.set()
            self._waker.wake()
        finally:
            self._idle.set()

    def _cycle_once(self) -> None:
        try:
            summary = self._work.one_cycle()
            self._audit_lost = False
        except AuditUnavailable as error:
            self._audit_lost = True
            LOGGER.error(f"nothing decided: {error}", extra={"event": "cycle"})
            self._notifier.status(f"waiting: {error}")
            self._back_off()
            return
        finally:
            self._follow_the_interval()
        if summary.unavailable is None:
            self._failures = 0
        else:
            self._back_off()

    def _follow_the_interval(self) -> None:
        if self._work.interval != self._scheduled:
            self._scheduled = self._work.interval
            self._scheduler.reschedule_job("cycle", trigger=self._trigger())

    def _back_off(self) -> None:
        """Twice the interval, four times … at most five minutes, or the interval if that is longer."""
        self._failures += 1
        longest = max(_LONGEST_PAUSE, self._scheduled)
        pause = min(self._scheduled * 2 ** min(self._failures - 1, 10), longest)
        # Half an interval less, so that the tick that is due then is not just too early.
        self._not_before = monotonic() + pause.total_seconds() - self._scheduled.total_seconds() / 2


class CycleLog:
    """One line for each cycle in which something happened, and one an hour for those that repeat the last line.

    `clock` is in seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._facts: str | None = None
        self._logged_at = 0.0

    def tell(self, summary: CycleSummary) -> None:
        now = self._clock()
        if summary.changed_nothing and summary.facts == self._facts and now - self._logged_at < _AN_HOUR:
            LOGGER.debug(f"cycle: {summary.sentence}", extra={"event": "cycle"})
            return
        self._facts, self._logged_at = summary.facts, now
        log_cycle(summary)


def log_cycle(summary: CycleSummary) -> None:
    broken = summary.unavailable is not None or summary.stuck
    level = LOGGER.error if broken else LOGGER.warning if not summary.ok else LOGGER.info
    level(f"cycle: {summary.sentence}", extra={"event": "cycle"})


def log_event(event: Event) -> None:
    """One line for a decision and one for its outcome, by its weight; an abstention only at level debug."""
    _log(_LEVELS[event.weight], event)


def log_every_event(event: Event) -> None:
    """As `log_event`, for a cycle run by hand: what was left alone is shown, too."""
    _log(max(_LEVELS[event.weight], logging.INFO), event)


_LEVELS = {
    Weight.EXPECTED: logging.DEBUG,
    Weight.HAPPENED: logging.INFO,
    Weight.FAILED: logging.WARNING,
    Weight.STUCK: logging.ERROR,
}


def _log(level: int, event: Event) -> None:
    extra = {
        "event": event.kind,
        "decision_id": event.decision_id,
        "model": visible_name(event.model),
        "version": visible_name(event.version),
        "target": event.target,
        "verdict": event.verdict,
    }
    suffix = f" (decision {event.decision_id})" if event.decision_id else ""
    LOGGER.log(level, event.text + suffix, extra=extra)
