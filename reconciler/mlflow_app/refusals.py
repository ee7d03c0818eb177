"""What was refused: one line in the server's log and one count, whichever wall it was."""

from __future__ import annotations

import logging

from prometheus_client import Counter

from reconciler.domain.text import visible
from reconciler.mlflow_app.changes import Change, Kind
from reconciler.mlflow_app.errors import denied
from reconciler.mlflow_app.identity import Caller

# A child of MLflow's own logger, so that it is shown where and as MLflow's lines are.
_logger = logging.getLogger("mlflow.transition_requests")

# MLflow serves it at /metrics when it was started with --expose-prometheus.
REFUSED = Counter(
    "transition_requests_refused",
    "Changes of protected targets that were refused (or would have been, with TRANSITION_REQUESTS_WALL=observe)",
    ["what", "mode"],
)


class Refusals:
    """Args: observe: tell what would be refused, and let it pass."""

    def __init__(self, observe: bool) -> None:
        self.observe = observe

    def refuse(self, change: Change, caller: Caller) -> None:
        """Raises the refusal as MlflowException (403); returns where the wall only observes."""
        self._tell(change.kind, change.refusal, caller)
        if not self.observe:
            raise denied(change.refusal)

    def refuse_unknown(self, sentence: str, caller: Caller) -> None:
        """The same for a call that nobody has looked at yet."""
        self._tell(Kind.UNKNOWN, sentence, caller)
        if not self.observe:
            raise denied(sentence)

    def _tell(self, kind: Kind, sentence: str, caller: Caller) -> None:
        REFUSED.labels(str(kind), "observe" if self.observe else "enforce").inc()
        word = "would refuse" if self.observe else "refused"
        _logger.warning("transition requests: %s %s: %s", word, visible(caller.shown), visible(sentence))
