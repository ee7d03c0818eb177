"""The audit as text for people: a line for each decision, its reason below, and a report for a period."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def decisions_text(rows: Iterable[Mapping[str, Any]], width: int | None = None) -> str:
    """Two or more lines for each decision, at most `width` columns wide (default: the terminal's)."""
    room = width or min(shutil.get_terminal_size((80, 24)).columns, 120)
    return "\n".join(line for row in rows for line in _decision_lines(row, room))


def _decision_lines(row: Mapping[str, Any], width: int) -> Iterator[str]:
    at = row["decided_at"][:19].replace("T", " ")
    asked = f", asked by {row['requester']}" if row["requester"] else ""
    place = f"{row['model']} version {row['version']} to {row['target']}{asked}"
    head = f"{at}  {row['verdict']:8}{row['outcome'] or 'pending':13}{place}"
    yield from textwrap.wrap(head, width, subsequent_indent=" " * 42)
    reason = f"{row['decision_id'][:8]}: {row['reason']}"
    yield from textwrap.wrap(reason, width, initial_indent="  ", subsequent_indent="  ")


def report_text(made: Mapping[str, Any], width: int | None = None) -> str:
    """What `AuditReader.report` made, for people."""
    lines = [f"Audit report, {made['since'] or 'from the beginning'} to {made['until'] or made['made_at']}"]
    for title, field in (("verdicts", "by_verdict"), ("outcomes", "by_outcome"), ("targets", "by_target")):
        lines.append(f"{title + ':':10} {_counted(made[field])}")
    lines.append(f"{'policies:':10} {_counted({digest[:12]: count for digest, count in made['policies'].items()})}")
    if made["failed_checks"]:
        lines += ["", "why versions failed"]
        lines += [f"  {one['count']} x {one['check']}: {one['code']} ({one['rule']})" for one in made["failed_checks"]]
    if made["register"]:
        lines += ["", "decisions, the newest first", decisions_text(made["register"], width)]
    lines += [f"pending: decision {pending} has no outcome yet" for pending in made["pending"]]
    return "\n".join(lines)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "none"
