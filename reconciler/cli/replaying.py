"""policy replay."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.common import settings
from reconciler.cli.exits import ABSTAINED, DONE, NEGATIVE, say
from reconciler.cli.options import FormatOption, NoHeadersOption, SinceOption, UntilOption, period
from reconciler.cli.reperforming import chosen_decisions
from reconciler.cli.shown.output import Format, RowWriter, Shape, rows_writer
from reconciler.cli.shown.terminal import Colour, painted, progress_bar
from reconciler.domain.text import counted

if TYPE_CHECKING:
    from reconciler.audit.decisions.replaying import ReplayedDecision
    from reconciler.policy.replay import ChangedCheck

COLUMNS = (
    "decision_id", "decided_at", "model", "version", "target", "change", "cause", "recorded", "would", "reason_code",
    "checks", "why",
)  # fmt: skip
_CAUSES = {
    "policy": "by the policy",
    "engine": "by what checks mean today",
    "both": "by the policy and by what checks mean today",
    "unclear": "by the policy or by what checks mean today",
}
# What the new policy has no part in.
_NOT_BY_THE_POLICY = "by engine"


def replay(
    new: Annotated[Path, typer.Argument(help="The new policy.", readable=False)],
    since: SinceOption = None,
    until: UntilOption = None,
    fail_on_change: Annotated[
        bool,
        typer.Option("--fail-on-change", help="Exit 1 if the policy changes a decision, or 3 if one cannot be judged."),
    ] = False,
    format: FormatOption = Format.TABLE,
    no_headers: NoHeadersOption = False,
) -> int:
    """Judge the decisions of a period by another policy: show how many would differ, which, and why.

    Each is judged on the evidence recorded with it, as of its own time. What was never recorded cannot be
    judged.
    """
    from reconciler.audit.decisions.replaying import replay as judged_by
    from reconciler.audit.decisions.stored import Chosen
    from reconciler.policy.file import read_policy

    configured = settings()
    plugins = configured.plugins.named()
    chosen, loaded = Chosen(None, *period(since, until)), read_policy(new, plugins.kinds())
    for warning in loaded.warnings:
        say(f"warning: {warning.in_file(str(new))}")
    url = configured.audit.url.get_secret_value()
    many, parts = chosen_decisions(url, None, chosen)
    count: Counter[str] = Counter()
    stream = rows_writer(Shape(format, not no_headers), COLUMNS, COLUMNS[:-2], sys.stdout)
    with progress_bar("judging by the policy") as progress:
        for done in judged_by(url, loaded.text, parts, plugins):
            count.update(done.count)
            progress(_all(count), many)
            for one in done.told:
                _tell(one, stream)
    _end(count, loaded.digest, stream)
    return _exit_code(count) if fail_on_change else DONE


def _all(count: Counter[str]) -> int:
    return count["same"] + count["differs"] + count["unknown"]


def _exit_code(count: Counter[str]) -> int:
    if count["differs"] > count[_NOT_BY_THE_POLICY]:
        return NEGATIVE
    return ABSTAINED if count["unknown"] else DONE


def _tell(one: ReplayedDecision, stream: RowWriter | None) -> None:
    if stream is not None:
        stream.write(_row(one))
        return
    would, place = one.would, f"{one.model} version {one.version} to {one.target}"
    known = f"{one.decision_id} {place}, decided {one.decided_at}: {one.recorded}"
    if would.cause is None:
        print(f"{known}, {painted('cannot be judged', Colour.DOUBTFUL)}: {would.why}")
        return
    print(f"{known}, {painted(f'would {would.would}', Colour.BAD)} ({would.reason_code}), {_CAUSES[would.cause]}")
    for check in would.checks:
        print(f"  {_sentence(check)}")
    if not would.checks:
        print(f"  {would.why}")


def _sentence(check: ChangedCheck) -> str:
    said = f": {check.sentence}" if check.sentence else ""
    return f"{check.check}: recorded {check.recorded}, would be {check.would}{said}"


def _row(one: ReplayedDecision) -> dict[str, Any]:
    would = one.would
    about = {name: getattr(one, name) for name in COLUMNS[:5]}
    checks = [
        {"check": check.check, "recorded": check.recorded, "would": check.would, "sentence": check.sentence}
        for check in would.checks
    ]
    return about | {
        "change": str(would.change),
        "cause": str(would.cause or ""),
        "recorded": one.recorded,
        "would": would.would,
        "reason_code": would.reason_code,
        "checks": checks,
        "why": would.why,
    }


def _end(count: Counter[str], digest: str, stream: RowWriter | None) -> None:
    by = [f"{count[f'by {cause}']} {words}" for cause, words in _CAUSES.items() if count[f"by {cause}"]]
    causes = f" ({', '.join(by)})" if by else ""
    sentence = f"of {counted(_all(count), 'decision')} {count['differs']} would differ{causes}"
    sentence += f", {count['unknown']} cannot be judged"
    if stream is None:
        print(sentence)
        return
    about: dict[str, Any] = {"policy": digest, "decisions": _all(count)}
    about |= {name: count[key] for name, key in (("same", "same"), ("differ", "differs"), ("unknown", "unknown"))}
    about |= {f"by_{cause}": count[f"by {cause}"] for cause in _CAUSES}
    stream.end_with(about, sentence)
