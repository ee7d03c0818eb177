"""Refusals: each is one line in the server's log and one count, whichever wall refused."""

from __future__ import annotations

import logging

from prometheus_client import Counter

from reconciler.domain.text import visible
from reconciler.mlflow_app.changes import Change, Kind
from reconciler.mlflow_app.errors import denied
from reconciler.mlflow_app.login import Caller

# A child of MLflow's own logger, so that its lines appear where and how MLflow's do.
_logger = logging.getLogger("mlflow.transition_requests")

# MLflow serves it at /metrics if started with --expose-prometheus.
REFUSED = Counter(
    "transition_requests_refused",
    "Changes of protected targets that were refused (or would have been, with TRANSITION_REQUESTS_WALL=observe)",
    ["what", "mode"],
)


class Refusals:
    """Args: observe: log what would be refused, and let it pass."""

    def __init__(self, observe: bool) -> None:
        self.observe = observe

    def refuse(self, change: Change, caller: Caller) -> None:
        """Raises the refusal as MlflowException (403); returns if the wall only observes."""
        self._report(change.kind, change.refusal, caller)
        if not self.observe:
            raise denied(change.refusal)

    def refuse_unknown(self, sentence: str, caller: Caller) -> None:
        """The same for a call that this app does not know."""
        self._report(Kind.UNKNOWN, sentence, caller)
        if not self.observe:
            raise denied(sentence)

    def _report(self, kind: Kind, sentence: str, caller: Caller) -> None:
        REFUSED.labels(str(kind), "observe" if self.observe else "enforce").inc()
        word = "would refuse" if self.observe else "refused"
        _logger.warning("transition requests: %s %s: %s", word, visible(caller.display_name), visible(sentence))
