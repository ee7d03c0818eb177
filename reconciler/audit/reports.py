"""The audit as text for people: a line for each decision, its reason below, and a report for a period."""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reconciler.domain.decision import OutcomeKind, conditional


def decisions_text(rows: Iterable[Mapping[str, Any]], width: int | None = None) -> str:
    """Two or more lines for each decision, at most `width` columns wide (default: the terminal's)."""
    room = width or min(shutil.get_terminal_size((80, 24)).columns, 120)
    return "\n".join(line for row in rows for line in _decision_lines(row, room))


def _decision_lines(row: Mapping[str, Any], width: int) -> Iterator[str]:
    at = row["decided_at"][:19].replace("T", " ")
    requester = f", asked by {row['requester']}" if row["requester"] else ""
    place = f"{row['model']} version {row['version']} to {row['target']}{requester}"
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


def report_text(report: Mapping[str, Any], width: int | None = None) -> str:
    """A report of `AuditReader.report`, as text for people."""
    lines = [f"Audit report, {report['since'] or 'from the beginning'} to {report['until'] or report['made_at']}"]
    lines.append(f"{'verdicts:':10} {_counted(dict(Counter(map(shown_verdict, report['register'])).most_common()))}")
    for title, field in (("outcomes", "by_outcome"), ("effects", "by_effect"), ("targets", "by_target")):
        lines.append(f"{title + ':':10} {_counted(report[field])}")
    lines.append(f"{'policies:':10} {_counted({digest[:12]: count for digest, count in report['policies'].items()})}")
    if report["failed_checks"]:
        lines += ["", "why versions failed"]
        for failed in report["failed_checks"]:
            lines.append(f"  {failed['count']} x {failed['check']}: {failed['code']} ({failed['rule']})")
    if report["register"]:
        lines += ["", "decisions, the newest first", decisions_text(report["register"], width)]
    lines += [f"pending: decision {pending} has no outcome yet" for pending in report["pending"]]
    return "\n".join(lines)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "none"
