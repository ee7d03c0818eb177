"""The schedule, the signals, and nothing of what a cycle does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from types import FrameType

from apscheduler.schedulers.background import BackgroundScheduler

from reconciler.cycle import CycleSummary, Event
from reconciler.domain.text import visible_name
from reconciler.logs import LOGGER
from reconciler.ports import AuditUnavailable

_LONGEST_PAUSE = timedelta(minutes=5)
_PATIENCE = timedelta(seconds=10)
_INTERRUPTED = 130


class Daemon:
    """Runs `one_cycle` on an interval until a signal comes.

    `one_cycle` raises AuditUnavailable while the database cannot be reached, which is tried again; any other error
    it raises ends the daemon and is raised by `serve`.
    """

    def __init__(
        self, one_cycle: Callable[[], CycleSummary], interval: timedelta, jitter: timedelta, stop: threading.Event
    ) -> None:
        self._one_cycle = one_cycle
        self._interval = interval
        self._jitter = jitter
        self._stop = stop
        self._failures = 0
        self._not_before = 0.0
        self._fatal: BaseException | None = None
        self._idle = threading.Event()
        self._idle.set()

    def serve(self) -> None:
        """Returns when a signal asked for it and the request in hand is finished, after 10 s at the latest."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        scheduler = BackgroundScheduler(timezone=UTC)
        scheduler.add_job(
            self._run_cycle,
            "interval",
            seconds=self._interval.total_seconds(),
            jitter=self._jitter.total_seconds() or None,
            next_run_time=datetime.now(UTC),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
        scheduler.start()
        self._stop.wait()
        scheduler.shutdown(wait=False)
        finished = self._idle.wait(_PATIENCE.total_seconds())
        if self._fatal is not None:
            raise self._fatal
        if not finished:
            LOGGER.warning("the registry did not answer in time: leaving; the next start settles what is open")
            os._exit(0)
        LOGGER.info("stopped", extra={"event": "stopped"})

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop.is_set():
            os._exit(_INTERRUPTED)
        self._stop.set()

    def _run_cycle(self) -> None:
        if self._stop.is_set() or monotonic() < self._not_before:
            return
        self._idle.clear()
        try:
            self._cycle_once()
        except BaseException as error:  # noqa: BLE001  APScheduler would swallow it; the main thread must see it
            self._fatal = error
            self._stop.set()
        finally:
            self._idle.set()

    def _cycle_once(self) -> None:
        try:
            summary = self._one_cycle()
        except AuditUnavailable as error:
            LOGGER.error(f"nothing decided: {error}", extra={"event": "cycle"})
            self._back_off()
            return
        log_cycle(summary)
        if summary.unavailable is None:
            self._failures = 0
        else:
            self._back_off()

    def _back_off(self) -> None:
        """Twice the interval, four times … at most five minutes, or the interval if that is longer."""
        self._failures += 1
        longest = max(_LONGEST_PAUSE, self._interval)
        pause = min(self._interval * 2 ** min(self._failures - 1, 10), longest)
        # Half an interval less, so that the tick that is due then is not just too early.
        self._not_before = monotonic() + pause.total_seconds() - self._interval.total_seconds() / 2


def log_cycle(summary: CycleSummary) -> None:
    level = LOGGER.error if summary.unavailable is not None else LOGGER.info
    level(f"cycle: {summary.sentence}", extra={"event": "cycle"})


def log_event(event: Event) -> None:
    """One line for a decision; an abstention and the outcome that was to be expected only at level debug."""
    extra = {
        "event": event.kind,
        "decision_id": event.decision_id,
        "model": visible_name(event.request.model),
        "version": visible_name(event.request.version),
        "target": str(event.request.target),
        "verdict": event.verdict,
    }
    suffix = f" (decision {event.decision_id})" if event.decision_id else ""
    level = LOGGER.debug if event.expected else LOGGER.info
    level(event.text + suffix, extra=extra)
