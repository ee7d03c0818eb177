"""fleet: what holds a governed target now, judged by today's policy or another."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.common import settings
from reconciler.cli.exits import ABSTAINED, DONE, NEGATIVE, say
from reconciler.cli.explaining import moment_at
from reconciler.cli.options import TIME, FormatOption, NoHeadersOption
from reconciler.cli.shown.output import Format, RowWriter, Shape, rows_writer
from reconciler.cli.shown.terminal import Colour, painted, progress_bar
from reconciler.domain.text import counted
from reconciler.domain.times import iso

if TYPE_CHECKING:
    from reconciler.domain.verdict import CheckResult
    from reconciler.fleet import JudgedHolder

COLUMNS = ("model", "version", "target", "result", "since", "began_by", "decision_id", "rule", "checks", "why")
_COLOURS = {"passes": Colour.GOOD, "fails": Colour.BAD, "unknown": Colour.DOUBTFUL}


def fleet(
    policy: Annotated[Path | None, typer.Option(help="The policy to judge by (default: the configured one).")] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar=TIME, help="Judge as of this time (UTC), such as 2027-01-01, on the evidence of now."),
    ] = None,
    format: FormatOption = Format.TABLE,
    no_headers: NoHeadersOption = False,
) -> int:
    """Judge every version that holds a governed target now; exit 1 if one fails, or 3 if one cannot be judged.

    Reads the registry and changes nothing. Shows since when each version has held its target, if
    the audit database knows.
    """
    from reconciler.bootstrap.fleets import fleet as fleet_of

    when = moment_at(at)
    configured = settings() if policy is None else settings().model_copy(update={"policy": policy})
    found = fleet_of(configured)
    if found.doubt:
        say(f"since when each holds its target is not known: {found.doubt}")
    count: Counter[str] = Counter()
    stream = rows_writer(Shape(format, not no_headers), COLUMNS, COLUMNS[:-2], sys.stdout)
    with progress_bar("judging holders") as progress:
        for number, judged in enumerate(found.judged(when), 1):
            progress(number, len(found.holders))
            count[str(judged.fitness)] += 1
            _tell(judged, stream)
    about = {"registry": found.registry.uri, "policy": found.in_force.digest, "holders": len(found.holders)}
    _end(about | {name: count[name] for name in _COLOURS} | {"calls": found.calls}, stream)
    return NEGATIVE if count["fails"] else ABSTAINED if count["unknown"] else DONE


def _tell(judged: JudgedHolder, stream: RowWriter | None) -> None:
    row = _row(judged)
    if stream is not None:
        stream.write(row)
        return
    since = f", since {row['since']} ({row['began_by'] or 'not explained yet'})" if row["since"] else ""
    result = painted(row["result"], _COLOURS[row["result"]])
    print(f"{row['model']} version {row['version']} at {row['target']}{since}: {result}")
    for check in judged.checks:
        print(f"  {check.result}: {check.sentence} ({check.origin})")
    if judged.why:
        print(f"  {judged.why}")


def _row(judged: JudgedHolder) -> dict[str, Any]:
    known = judged.known
    values: tuple[Any, ...] = (
        *judged.place.shown,
        str(judged.fitness),
        iso(known.since) if known is not None else "",
        known.began_by if known is not None else "",
        known.decision_id if known is not None else "",
        judged.rule,
        [_check(check) for check in judged.checks],
        judged.why,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _check(check: CheckResult) -> dict[str, str]:
    return {
        "check": check.name,
        "result": str(check.result),
        "code": str(check.code),
        "expected": check.expected,
        "observed": check.observed,
    }


def _end(about: dict[str, Any], stream: RowWriter | None) -> None:
    said = f"{counted(about['holders'], 'holder')}: {about['passes']} pass, {about['fails']} fail, "
    said += f"{about['unknown']} cannot be judged"
    if stream is None:
        print(said)
        say(f"{counted(about['calls'], 'call')} of the registry")
    else:
        stream.end_with(about, f"{said}; {counted(about['calls'], 'call')} of the registry")
