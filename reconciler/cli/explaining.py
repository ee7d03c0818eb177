"""explain: what would be decided now, for people and for their CI."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.common import settings
from reconciler.cli.exits import ABSTAINED, DONE, NEGATIVE, code_of, say
from reconciler.cli.options import (
    TIME,
    JsonOption,
    ModelArgument,
    TargetArgument,
    VersionArgument,
    target_of,
    version_of,
    wants_json,
)
from reconciler.cli.shown.output import write_json
from reconciler.cli.shown.terminal import Colour, painted
from reconciler.domain.text import visible_name
from reconciler.domain.times import parse_iso

if TYPE_CHECKING:
    from reconciler.explain import Explanation

_COLOURS = {"approve": Colour.GOOD, "reject": Colour.BAD, "abstain": Colour.DOUBTFUL}
_OF_A_CHECK = {"passed": Colour.GOOD, "failed": Colour.BAD, "unknown": Colour.DOUBTFUL}


class ExplainFormat(StrEnum):
    """The words of `Format` that fit, and one for the comments of a pipeline."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"


def explain(
    model: ModelArgument,
    version: VersionArgument,
    target: TargetArgument,
    as_json: JsonOption = False,
    format: Annotated[ExplainFormat | None, typer.Option(help="Output format (default: table).")] = None,
    policy: Annotated[Path | None, typer.Option(help="The policy to judge by (default: the configured one).")] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar=TIME, help="Judge as of this time (UTC), such as 2027-01-01, on the evidence of now."),
    ] = None,
    asker: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="<name>",
            help="The requester to assume, for checks of the requester. An open request names its own.",
        ),
    ] = "",
) -> int:
    """Show what would be decided now, and why; change nothing."""
    from reconciler.bootstrap import asking

    goal, when, as_json = target_of(target), moment_at(at), wants_json(format, as_json)

    def explained() -> int:
        number = version_of(version)
        configured = settings() if policy is None else settings().model_copy(update={"policy": policy})
        explanation = asking.explain(configured, model, number, goal, when, asker)
        if as_json:
            write_json(_data(explanation), sys.stdout)
        elif format is ExplainFormat.MARKDOWN:
            from reconciler.cli.shown.markdown import explanation_page

            sys.stdout.write(explanation_page(explanation))
        else:
            _show(explanation)
        return {"approve": DONE, "reject": NEGATIVE}.get(str(explanation.verdict.kind), ABSTAINED)

    return with_json_errors(explained) if as_json else explained()


def moment_at(text: str | None) -> datetime | None:
    """The time of --at, which may be to come."""
    if text is None:
        return None
    try:
        return parse_iso(text)
    except ValueError:
        message = f"{text!r} is not a time: use 2027-01-01 or 2027-01-01T09:00"
        raise typer.BadParameter(message, param_hint="--at") from None


def with_json_errors(command: Callable[[], int]) -> int:
    """Runs a command that prints JSON: an error is printed as JSON too, on stdout, with its usual exit code."""
    try:
        return command()
    except Exception as error:
        code = code_of(error)
        if code is None:
            raise
        details: dict[str, Any] = {"kind": type(error).__name__, "exit_code": code, "message": str(error)}
        near = getattr(error, "near", ())
        write_json(
            {"error": details | ({"did_you_mean": [visible_name(name) for name in near]} if near else {})}, sys.stdout
        )
        say(str(error))
        return code


def _data(explanation: Explanation) -> dict[str, Any]:
    verdict, request = explanation.verdict, explanation.request
    return {
        "model": visible_name(request.model),
        "version": visible_name(request.version),
        "target": str(request.target),
        "verdict": str(verdict.kind),
        "reason_code": str(verdict.reason_code),
        "reason": verdict.reason,
        "rule": verdict.rule,
        "archive_existing": verdict.archive_existing,
        "open_request": explanation.open_request,
        "holds_target": explanation.holds,
        "next_step": explanation.next_step,
        "mode": str(explanation.mode),
        "checks": [
            {
                "rule": check.rule,
                "check": check.check,
                "expected": check.expected,
                "observed": check.observed,
                "observed_number": check.observed_number,
                "result": str(check.result),
                "code": check.code,
                "source": check.read_from,
                "role": str(check.role),
                "id": check.id,
                "why": check.why,
                "help": check.help,
                "note": check.note,
                "remedy": check.remedy if check.result != "passed" else "",
                "logged_there": list(explanation.logged_there(check)),
            }
            for check in verdict.checks
        ],
        "evidence": json.loads(explanation.evidence.to_json()),
    }


def _show(explanation: Explanation) -> None:
    verdict, request = explanation.verdict, explanation.request
    would = painted(f"would {verdict.kind}", _COLOURS[str(verdict.kind)])
    print(f"{request.place.text}: {would} ({verdict.reason_code})")
    for check in verdict.checks:
        result = painted(str(check.result), _OF_A_CHECK[str(check.result)])
        # Alternatives say it each of their own tags, below.
        guard = check.guard if check.source else ""
        print(f"  {result}: {check.sentence} ({'; '.join(filter(None, (check.origin, check.note, guard)))})")
        if check.result != "passed" and check.role == "decides":
            logged = ", ".join(explanation.logged_there(check))
            for label, text in (("read from", check.source), ("logged there", logged), ("to do", check.remedy)):
                if text:
                    print(f"    {label}: {text}")
    if not verdict.checks or verdict.detail:
        print(f"  {verdict.reason}")
    if explanation.holds:
        say(f"version {visible_name(request.version)} already holds {request.target}")
    say(explanation.next_step)
    if explanation.left_undone:
        say(explanation.left_undone)
