"""The history that the app's list call answers with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from reconciler.domain.request import Assurance, Requester
from reconciler.ports import History, Resolution, Resolved, Unavailable
from reconciler.registry.paging import Row, rows_of

# That a request was filed is not told: it is listed, or resolved in a later entry.
_FILED: Final = "filed"
_LARGEST: Final = 2**63 - 1


def history_in(answer: Any) -> History | None:
    """None where the app keeps no history.

    Raises:
        Unavailable: what it answered is no history.
    """
    if not isinstance(answer, dict) or "history_to" not in answer:
        return None
    try:
        return History(list(_entries(rows_of(answer, "history"))), _number(answer["history_to"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Unavailable(f"transition-requests/list: no history in the answer: {error!r}") from None


def _entries(rows: list[Row]) -> Iterator[Resolved]:
    for row in rows:
        if row["what"] != _FILED:
            yield Resolved(
                _number(row["number"]),
                _kind_of(row["what"]),
                str(row["name"]),
                str(row["version"]),
                str(row["to_stage"] or ""),
                Requester(str(row["user_id"]), _assurance_of(row["user_assurance"])),
                str(row["comment"]),
                datetime.fromtimestamp(int(row["creation_timestamp"]) / 1000, UTC),
                str(row["id"] or ""),
                None if row["decision_id"] is None else str(row["decision_id"]),
            )


def _number(value: Any) -> int:
    """Raises ValueError for what no column has room for."""
    number = int(value)
    if not 0 <= number <= _LARGEST:
        raise ValueError(f"{number} is not the number of an entry of the history")
    return number


def _assurance_of(said: object) -> Assurance:
    """As `_kind_of`: what a newer app calls it, this release does not know."""
    try:
        return Assurance(str(said))
    except ValueError:
        return Assurance.UNKNOWN


def _kind_of(what: object) -> Resolution:
    """A newer app may record what this release has no word for: that is no reason to decide nothing."""
    try:
        return Resolution(str(what))
    except ValueError:
        return Resolution.OTHER
