"""Registered models themselves: their tags and descriptions, one call for each model of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.evidence import Absent, Answer, Fact, ModelFacts, Needs, Unreadable
from reconciler.domain.text import Text
from reconciler.ports import Listed
from reconciler.registry.origins import answered
from reconciler.registry.paging import Row
from reconciler.registry.transport import Transport
from reconciler.registry.versions import get_model, tags_of

MODEL_GONE = Absent(AbsenceCode.VERSION_MISSING, "the registry has no such model")


def read_models(transport: Transport, wanted: Sequence[tuple[Listed, Needs]]) -> dict[str, dict[type[Fact], Answer]]:
    """The answer about the model of each request whose rules ask for one, by the key of the request."""
    asked = [(listed.request, needs) for listed, needs in wanted if needs.registered_model]
    names = {request.model for request, _ in asked}
    rows = {name: answered(partial(get_model, transport, name), MODEL_GONE) for name in names}
    return {request.key: {ModelFacts: _facts(rows[request.model], needs)} for request, needs in asked}


def _facts(row: Row | Absent | Unreadable, needs: Needs) -> Answer:
    """With the tags that are asked for: a model may have any number of others."""
    if isinstance(row, Absent | Unreadable):
        return row
    tags = tags_of(row)
    return ModelFacts(
        {name: Text.of(tags[name]) for name in sorted(needs.model_tags) if name in tags},
        Text.of(str(row.get("description") or "")),
    )
