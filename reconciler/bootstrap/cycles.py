"""One cycle run by hand, with all that it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from reconciler import explain
from reconciler.bootstrap.policies import policy_in_force, refuse_unsafe_includes
from reconciler.bootstrap.record import RecordIfThere
from reconciler.bootstrap.registries import make_registry
from reconciler.cycle import Cycle, CycleSummary, Event, Times
from reconciler.domain.decision import Mode
from reconciler.settings.model import Settings


def times_of(settings: Settings) -> Times:
    schedule = settings.schedule
    return Times(schedule.deadline, schedule.evidence_age, schedule.interval, settings.observe.interval)


def run_once(settings: Settings, dry_run: bool, on_event: Callable[[Event], None]) -> CycleSummary:
    """Run one cycle in which every request is due; with `dry_run`, only preview its decisions."""
    in_force, registry, mode = policy_in_force(settings), make_registry(settings), Mode(settings.mode)
    deadline = settings.schedule.deadline
    if dry_run:
        registry.begin(deadline)
        record = RecordIfThere(settings, registry)
        return explain.preview(registry, in_force, mode, datetime.now(UTC), on_event, record)
    refuse_unsafe_includes(in_force)
    # A dry run loads no database.
    from reconciler.bootstrap.audit_logs import audit_log_of_one_cycle

    with audit_log_of_one_cycle(settings, registry) as audit:
        times = replace(times_of(settings), look_after_acts=True)
        cycle = Cycle(registry, audit, on_event=on_event, times=times, everything_is_due=True)
        return cycle.run(in_force, mode)
