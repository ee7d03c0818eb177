"""What the daemon measures, as a text file for node_exporter's textfile collector: nothing listens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, write_to_textfile
from prometheus_client.metrics import MetricWrapperBase

from reconciler import __version__
from reconciler.cycle import NOT_ACTED_ON, VERDICTS, CycleSummary
from reconciler.domain.codes import ABSTENTIONS
from reconciler.domain.decision import OutcomeKind
from reconciler.ports import Stuck

_RESULTS = ("ok", "error", "unavailable")
# Each of them is a time series of its own.
_SHOWN_STUCK = 10

PREFIX = "mlflow_reconciler_"


@dataclass(frozen=True, slots=True)
class Described:
    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class Metrics:
    """One set for the life of the process. `write` replaces the file atomically: a reader sees the old or the new."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._registry = CollectorRegistry()
        make = self._make
        self.cycles = make(Counter, "cycles", "Cycles that ended, by result: ok, error, unavailable.", ["result"])
        self.duration = make(
            Histogram, "cycle_duration_seconds", "How long cycles take.", buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 300)
        )
        self.calls = make(Counter, "registry_calls", "HTTP calls to registry and tracking server, retries included.")
        self.decisions = make(Counter, "decisions", "Decisions recorded, by verdict.", ["verdict"])
        self.outcomes = make(Counter, "outcomes", "Outcomes recorded.", ["outcome"])
        self.abstentions = make(Counter, "abstentions", "Requests left alone in a cycle, by cause.", ["cause"])
        self.retries = make(Counter, "failed_acts", "Requests left in error by a cycle; they are tried again.")
        self.open = make(Gauge, "open_requests", "Open requests that the last cycle saw.")
        self.oldest = make(
            Gauge, "oldest_open_request_age_seconds", "Age of the oldest open request; 0 if there is none."
        )
        self.stuck = make(
            Gauge, "stuck", "Items that have failed for ten minutes, or three times in a row in the same way.", ["kind"]
        )
        self.stuck_info = make(
            Gauge, "stuck_info", "Always 1: the first ten stuck items, with the message of the refusal.",
            ["kind", "model", "version", "target", "decision_id", "said"],
        )  # fmt: skip
        self.success = make(Gauge, "last_success_timestamp_seconds", "When a cycle last reached registry and database.")
        self.ran = make(Gauge, "last_cycle_timestamp_seconds", "When the last cycle ended, however it ended.")
        self.paused = make(Gauge, "paused", "1 while acts are paused.")
        self.reload_failures = make(Counter, "reload_failures", "Reloads refused; the old policy stays in force.")
        self.skew = make(Gauge, "registry_clock_skew_seconds", "How far the registry's clock is ahead of this host's.")
        self.sweep_late = make(
            Gauge, "sweep_late", "1 while a sweep is later than registry.full_sweep, or missed versions."
        )
        self.bypasses = make(
            Gauge, "open_bypasses", "Versions that hold a target without a decision, and that nobody has acknowledged."
        )
        self.heads_waiting = make(Gauge, "heads_waiting", "Heads of the log that audit.heads does not have yet.")
        self.info = make(Gauge, "info", "Always 1; version, mode and policy digest.", ["version", "mode", "policy"])
        self._start_at_zero()

    def _make(self, kind: type[MetricWrapperBase], name: str, help: str, labels: Any = (), **more: Any) -> Any:
        return kind(PREFIX + name, help, labels, registry=self._registry, **more)

    def _start_at_zero(self) -> None:
        """Every series that may come: Prometheus sees no increase in one that begins at 1."""
        for counter, labels in (
            (self.cycles, _RESULTS),
            (self.decisions, VERDICTS),
            (self.outcomes, OutcomeKind),
            (self.abstentions, ABSTENTIONS),
        ):
            for label in labels:
                counter.labels(str(label))

    def of_cycle(self, summary: CycleSummary, now: float) -> None:
        """Counts one cycle. `now`: seconds since 1970."""
        result = "unavailable" if summary.unavailable is not None else "ok" if summary.ok else "error"
        self.cycles.labels(result).inc()
        self.duration.observe(summary.duration.total_seconds())
        for counter, counts in (
            (self.decisions, summary.verdicts),
            (self.outcomes, summary.outcomes),
            (self.abstentions, summary.abstentions),
        ):
            for label, count in counts.items():
                # The same name in every mode, so that a dashboard can add verdicts up.
                counter.labels(label.removeprefix(NOT_ACTED_ON)).inc(count)
        self.calls.inc(summary.calls)
        self.retries.inc(summary.in_error)
        self.open.set(summary.open)
        self.oldest.set(summary.oldest.total_seconds())
        self._of_stuck(summary.stuck)
        self.bypasses.set(summary.bypasses)
        self.paused.set(summary.paused is not None)
        self.sweep_late.set(summary.remark is not None)
        if summary.skew is not None:
            self.skew.set(summary.skew.total_seconds())
        self.ran.set(now)
        if summary.unavailable is None:
            self.success.set(now)

    def _of_stuck(self, stuck: Sequence[Stuck]) -> None:
        for kind in ("decision", "request", "list"):
            self.stuck.labels(kind).set(sum(item.kind == kind for item in stuck))
        self.stuck_info.clear()
        for item in stuck[:_SHOWN_STUCK]:
            labels = (item.kind, item.model, item.version, item.target, item.decision_id or "", item.said)
            self.stuck_info.labels(*labels).set(1)

    def in_force(self, mode: str, digest: str) -> None:
        """Sets version, mode and policy; the labels of the previous ones are removed."""
        self.info.clear()
        self.info.labels(__version__, mode, digest[:12]).set(1)

    def write(self) -> None:
        """Raises OSError where the file cannot be written."""
        if self._path is not None:
            write_to_textfile(str(self._path), self._registry)
            self._path.chmod(0o644)

    def described(self) -> Iterator[Described]:
        """Every metric as a Prometheus server knows it, for the documents and their tests."""
        for metric in self._registry.collect():
            wrapper = self._registry._names_to_collectors.get(metric.name)
            labels = tuple(getattr(wrapper, "_labelnames", ()))
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            yield Described(name, metric.type, labels, metric.documentation)
