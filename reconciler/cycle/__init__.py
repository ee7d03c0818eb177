"""The cycle: one pass after another, each settling what the last one left before it decides what is open."""

from reconciler.cycle.cycle import Cycle, Times
from reconciler.cycle.happening import NOT_ACTED_ON, VERDICTS, Event
from reconciler.cycle.policy_in_force import PolicyInForce
from reconciler.cycle.retries import retry_after
from reconciler.cycle.summary import CycleSummary

__all__ = ["NOT_ACTED_ON", "VERDICTS", "Cycle", "CycleSummary", "Event", "PolicyInForce", "Times", "retry_after"]
