"""Decisions as text for people: a line for each, its reason below."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reconciler.domain.decision import OutcomeKind, conditional


def decisions_text(rows: Iterable[Mapping[str, Any]], width: int | None = None) -> str:
    """Two or more lines for each decision, at most `width` columns wide (default: the terminal's)."""
    room = width or min(shutil.get_terminal_size((80, 24)).columns, 120)
    return "\n".join(line for row in rows for line in _decision_lines(row, room))


def print_decisions(rows: Iterable[Mapping[str, Any]]) -> None:
    """Prints each as soon as it is read, or that there is none."""
    row = None
    for row in rows:
        print(decisions_text([row]))
    if row is None:
        print("no decisions")


def _decision_lines(row: Mapping[str, Any], width: int) -> Iterator[str]:
    at = row["decided_at"][:19].replace("T", " ")
    requester = f", asked by {row['requester']}" if row["requester"] else ""
    workspace = f" in workspace {row['workspace']}" if row.get("workspace") else ""
    place = f"{row['model']} version {row['version']} to {row['target']}{workspace}{requester}"
    head = f"{at}  {f'{shown_verdict(row)}, {shown_outcome(row)}':27} {place}"
    yield from textwrap.wrap(head, width, subsequent_indent=" " * 21)
    reason = f"{row['decision_id'][:8]}: {row['reason']}"
    yield from textwrap.wrap(reason, width, initial_indent="  ", subsequent_indent="  ")


def shown_verdict(row: Mapping[str, Any]) -> str:
    """`approve`, or `would approve` where the mode did not act on the decision."""
    return conditional(row["verdict"], row["outcome"] != OutcomeKind.OBSERVED)


def shown_outcome(row: Mapping[str, Any]) -> str:
    """`applied (refused)`: what became of the decision, and what it did."""
    effect = f" ({row['effect']})" if row["effect"] else ""
    return f"{row['outcome'] or 'pending'}{effect}"
