"""What would be decided, as Markdown for the comments of a pipeline.

Texts of strangers are code: no link, no mention of a person, no HTML comes of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reconciler.domain.text import is_address, visible
from reconciler.domain.verdict import CheckResult, Role

if TYPE_CHECKING:
    from reconciler.explain import Explanation

_PLAIN_ADDRESS = re.compile(r"https?://[A-Za-z0-9./_~?=%#-]+")


def explanation_page(explanation: Explanation) -> str:
    verdict, request = explanation.verdict, explanation.request
    lines = [f"### {code_span(request.place.text)}: would {verdict.kind} ({verdict.reason_code})", ""]
    if verdict.checks:
        lines += ["| | check | expected | observed | read from | rule |", "|---|---|---|---|---|---|"]
        lines += [_row(check) for check in verdict.checks if check.role is not Role.PART]
        lines.append("")
    if not verdict.checks or verdict.detail:
        lines += [code_span(verdict.reason), ""]
    open_ones = [one for one in verdict.checks if one.role is Role.DECIDES and one.result != "passed"]
    lines += [_to_do(check, explanation.logged_there(check)) for check in open_ones]
    lines += [""] if open_ones else []
    return "\n".join([*lines, f"Next: {code_span(explanation.next_step)}", ""])


def _row(check: CheckResult) -> str:
    role = "" if check.role is Role.DECIDES else f" ({check.role})"
    texts = (check.check, check.expected, check.observed, check.read_from, check.rule)
    return f"| {check.result}{role} | " + " | ".join(map(code_span, texts)) + " |"


def _to_do(check: CheckResult, logged: Sequence[str]) -> str:
    """What to do about a check, what was logged instead, what demands it, and where to read more."""
    more = [f"logged there: {', '.join(map(code_span, logged))}"] if logged else []
    more += [code_span(check.why)] if check.why else []
    more += [f"<{check.help}>" if _is_plain(check.help) else code_span(check.help)] if check.help else []
    return f"- {code_span(check.check)}: {check.remedy or 'look again later'}" + (
        f" ({', '.join(more)})" if more else ""
    )


def _is_plain(text: str) -> bool:
    return bool(_PLAIN_ADDRESS.fullmatch(text)) and is_address(text)


def code_span(text: str) -> str:
    """The text as a code span, also within a table."""
    shown = visible(text).strip()
    if not shown:
        return ""
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    blank = " " if shown[0] == "`" or shown[-1] == "`" else ""
    return f"{fence}{blank}{shown}{blank}{fence}".replace("|", "\\|")
