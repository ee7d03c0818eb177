"""What the decision tag of a version says: the newest decision's sentence, and the ids of earlier ones behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reconciler.domain.decision import DECISION_ID, TAG_BYTES, Decision, Leaf, decision_id_in, is_ids_first, leaf_in
from reconciler.domain.text import cut_at_word

_EARLIER = re.compile(rf" \(earlier decisions: ({DECISION_ID}(?:, {DECISION_ID})*)\)\Z")
# However long the newest reason is, this many earlier ids stay: no more can be unsettled at once.
_ALWAYS_KEPT = 16


def decision_ids_in(told: str) -> tuple[str, ...]:
    """The ids of all decisions of ours that a tag names, newest first."""
    earlier = _EARLIER.search(told)
    newest = decision_id_in(told[: earlier.start()] if earlier else told)
    ids = [newest] if newest else []
    return tuple(ids + (earlier.group(1).split(", ") if earlier else []))


def newest_id_in(told: str) -> str | None:
    """The id of the decision that a tag tells; None where somebody else's sentence stands before ours."""
    return decision_id_in(_EARLIER.sub("", told))


def is_of_the_first_release(told: str) -> bool:
    """Whether a tag tells its decision as release 0.1.0 did, which named no entry of a log."""
    return is_ids_first(_EARLIER.sub("", told))


def leaf_told(told: str) -> Leaf | None:
    """The entry of the log that a tag names beside its newest decision."""
    return leaf_in(_EARLIER.sub("", told))


def told_with_earlier(decision: Decision, shown: str, limit: int = TAG_BYTES) -> str:
    """The decision's sentence, and as many as fit of the ids that the tag `shown` names.

    Telling the same decision again gives the same text.
    """
    earlier = [id for id in decision_ids_in(shown) if id != decision.decision_id]
    room = limit - len(_clause(earlier[:_ALWAYS_KEPT]))
    return with_ids(decision.sentence(room), earlier, limit)


def keeping_ids(sentence: str, shown: str, limit: int) -> str:
    """Somebody's sentence, and the ids that the tag `shown` names: whoever decided last, ours stay to be seen."""
    own = decision_ids_in(sentence)
    earlier = [id for id in decision_ids_in(shown) if id not in own]
    always = _clause(earlier[:_ALWAYS_KEPT])
    kept = cut_at_word(sentence, limit - len(always))
    return with_ids(kept, earlier, min(limit, max(TAG_BYTES, len(kept.encode("utf-8", "replace")) + len(always))))


def with_ids(sentence: str, earlier: Sequence[str], limit: int) -> str:
    """The sentence, and behind it as many of these ids, which are newest first, as fit in `limit` bytes."""
    room = limit - len(sentence.encode("utf-8", "replace"))
    kept = list(earlier)
    while kept and len(_clause(kept)) > room:
        kept.pop()
    return sentence + _clause(kept)


def _clause(ids: Sequence[str]) -> str:
    return f" (earlier decisions: {', '.join(ids)})" if ids else ""
