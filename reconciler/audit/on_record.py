"""Whether there is anything on record of what a report is asked about: of a name that nobody has it finds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from sqlalchemy import literal, select

from reconciler.audit.holding.tables import ObservationRow
from reconciler.audit.reporting import Reading
from reconciler.audit.requests.abstention_tables import AbstentionRow
from reconciler.audit.requests.resolution_tables import ResolutionRow
from reconciler.audit.tables import DecisionRow, OpenRequestRow
from reconciler.domain.text import quoted

_ABOUT: Final = (DecisionRow, ObservationRow, ResolutionRow, AbstentionRow, OpenRequestRow)


def not_on_record(reading: Reading) -> Iterator[str]:
    """A sentence for each of the model and the target that are asked for and that nothing was ever about."""
    asked = reading.asked
    models, targets = reading.asking(replace(asked, target=None)), reading.asking(replace(asked, model=None))
    known = True
    if asked.model is not None and not _is_any(models):
        known = False
        yield f"no model on record matches {quoted(asked.model)}: * matches anything, and case matters"
    if asked.target is not None and not _is_any(targets):
        known = False
        yield f"nothing on record is about the target {quoted(str(asked.target))}"
    if known and asked.model is not None and asked.target is not None and not _is_any(reading):
        yield f"nothing on record is about the target {quoted(str(asked.target))} of models {quoted(asked.model)}"


def _is_any(reading: Reading) -> bool:
    """Whether anything is about what is asked for, at whatever time."""
    queries = (select(literal(1)).where(*reading.among(row.__table__)).limit(1) for row in _ABOUT)
    return any(reading.connection.scalar(query) is not None for query in queries)
