"""Whether the daemon measures itself: only where `metrics.path` is set, since Prometheus's client takes memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.logs import LOGGER

if TYPE_CHECKING:
    from reconciler.cycle import CycleSummary
    from reconciler.daemon.metrics import Metrics


class Measuring:
    """Metrics in a file; nothing where `path` is None."""

    def __init__(self, path: Path | None) -> None:
        self._metrics = _loaded(path) if path is not None else None

    def in_force(self, mode: str, digest: str) -> None:
        if self._metrics is not None:
            self._metrics.in_force(mode, digest)

    def reload_refused(self) -> None:
        if self._metrics is not None:
            self._metrics.reload_failures.inc()

    def cycle_ended(self, summary: CycleSummary, heads_waiting: int) -> None:
        """Counts the cycle, and writes the file."""
        if self._metrics is None:
            return
        self._metrics.of_cycle(summary, time.time())
        self._metrics.heads_waiting.set(heads_waiting)
        try:
            self._metrics.write()
        except OSError as error:
            LOGGER.warning(f"metrics.path: cannot be written: {error.strerror}: may this user write there?")


def _loaded(path: Path) -> Metrics:
    from reconciler.daemon.metrics import Metrics

    return Metrics(path)
