"""The views that reports read, as any auditor reads them. None is among the tables that `db check` expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from reconciler.audit.cells import Truth
from reconciler.audit.tables import UtcMillis

_METADATA = MetaData()
_PLACE = "registry workspace model version target"


@dataclass(frozen=True, slots=True)
class OfTenure:
    """What each row about a tenure begins with."""

    tenure_id: int
    registry: str
    workspace: str
    model: str
    version: str
    target: str


def _view(name: str, texts: str, moments: str, numbers: str = "", truths: str = "") -> Table:
    kinds: list[tuple[str, Any]] = [(texts, Text), (moments, UtcMillis), (numbers, BigInteger), (truths, Truth)]
    return Table(name, _METADATA, *(Column(column, kind) for names, kind in kinds for column in names.split()))


_OF_TENURES = (
    f"{_PLACE} began_by ended_by decision_id person person_assurance began_detail ended_by_decision_id ended_by_person "
    "ended_detail accepted_by accepted_because",
    "last_seen_without first_seen_with last_seen_with first_seen_without accepted_at",
    "tenure_id resolution_id ended_by_resolution_id continues_id",
    "by_approval",
)
TENURES = _view("tenures", *_OF_TENURES)
BYPASSES = _view("bypasses", f"{_OF_TENURES[0]} approved_by standing", *_OF_TENURES[1:])
GAPS = _view("control_gaps", "registry workspace", "began_at ended_at", "seconds")
RUNNING = _view(
    "running_periods",
    "registry workspace daemon state mode policy_digest policy_file loaded_by product_version detail",
    "began_at ended_at last_seen_at",
)
POLICY_PERIODS = _view(
    "policy_periods",
    "registry workspace daemon mode policy_digest policy_file loaded_by",
    "began_at ended_at last_seen_at",
)
WAITING = _view(
    "waiting_periods",
    f"{_PLACE} request_key requester code detail ended_by",
    "requested_at began_at ended_at",
    "seconds",
)
TIMES = _view(
    "decision_times",
    f"{_PLACE} decision_id requester requested_at_is",
    "requested_at decided_at",
    "seconds",
)
# No report reads these two; docs/audit_columns.py tells of their columns.
REGISTER_ALL = _view(
    "register_all",
    f"{_PLACE} requester requester_assurance decider person person_assurance what reason effect decision_id",
    "at requested_at",
    "resolution_id",
)
RULES = _view("decision_rules", "decision_id rule role result", "", "checks first_position")
