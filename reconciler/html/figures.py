"""What each chart shows, with the sentence and the table that say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from reconciler.audit.overview import decided, held, people, ran
from reconciler.audit.overview.ran import Doing
from reconciler.audit.reporting import Reading
from reconciler.audit.reports.completeness import COUNTED
from reconciler.domain.text import counted
from reconciler.html import charts
from reconciler.html.drawing import Drawing, short
from reconciler.html.palette import BLUE, CAUSES, DOINGS, HATCHED, ORANGE, VERDICTS, Legend
from reconciler.html.tables import Grid, Links, grid, moment_text

_LANES, _TENURES, _PEOPLE = 24, 600, 12
_ROWS: Final = 60


@dataclass(frozen=True, slots=True)
class Figure:
    """Args:
    sentence: what there is to see, for everybody.
    legend: names of colours, as classes of report.css, and what they mean.
    """

    id: str
    title: str
    sentence: str
    drawing: Drawing | None
    table: Grid | None = None
    legend: Sequence[tuple[str, str]] = ()


def _figure(
    id: str, title: str, sentence: str, drawing: Drawing | None, legend: Legend | None = None, **more: Grid
) -> Figure:
    return Figure(id, title, sentence, drawing, more.get("table"), _swatches(legend or {}))


def _swatches(legend: Legend) -> list[tuple[str, str]]:
    """Each meaning once, in the order of the legend."""
    pairs = {words: colour for colour, words in legend.values()}
    return [("hatched" if colour == HATCHED else f"c-{colour[1:]}", words) for words, colour in pairs.items()]


def lanes(reading: Reading, links: Links) -> Figure:
    found = held.lanes_of(reading, _LANES, _TENURES)
    kinds = Counter(one.counted_as for one in found.held)
    sentence = "No version was seen to hold a governed target in the period."
    drawing = None
    if found.lanes:
        told = ", ".join(f"{kinds[name]} {words[kinds[name] != 1]}" for name, words in COUNTED.items() if kinds[name])
        sentence = f"{counted(len(found.lanes), 'target')}, {counted(len(found.held), 'tenure')}: {told}."
        if found.all_lanes > len(found.lanes):
            sentence += f" Shown are those with exceptions and most changes, of {found.all_lanes:,}."
        if found.cut:
            sentence += f" Only the newest {_TENURES} tenures are drawn."
        drawing = charts.lanes(found, _span(reading), sentence)
    columns = ("model", "target", "version", "counted_as", "first_seen_with", "first_seen_without")
    table = grid("lanes-table", "Newest tenures", columns, found.held[:_ROWS], links)
    legend = {name: CAUSES[name] for name in CAUSES if kinds[name]}
    return _figure("lanes", "What held each target", sentence, drawing, legend, table=table)


def _span(reading: Reading) -> charts.Span:
    began = ran.began_of(reading)
    return min(began, reading.until - timedelta(minutes=1)), reading.until


def strip(reading: Reading, _: Links) -> Figure:
    parts = ran.strip_of(reading)
    if not parts:
        return _figure("strip", "Whether the control ran", "No daemon is on record.", None)
    shares = {doing: sum(part.shares[doing] * _length(part) for part in parts) for doing in Doing}
    whole = sum(_length(part) for part in parts)
    told = ", ".join(f"{_percent(shares[doing] / whole)} {DOINGS[doing][1]}" for doing in Doing if shares[doing] > 0)
    sentence = f"Of the period: {told}."
    rows = [_of_part(part) for part in parts if part.shares[Doing.ACTING] < 1]
    columns = ("registry", "from", "acting_%", "observing_%", "paused_%", "down_%")
    caption = "Days on which it did not act all the time"
    table = grid("strip-table", caption, columns, rows[-_ROWS:])
    drawing = charts.strip(parts, _span(reading), sentence)
    legend = {str(doing): DOINGS[doing] for doing in Doing if shares[doing] > 0}
    return _figure("strip", "Whether the control ran", sentence, drawing, legend, table=table)


def _length(part: ran.Part) -> float:
    return (part.ended_at - part.began_at).total_seconds()


def _percent(share: float) -> str:
    """Cut and not rounded, so that what is missing is never rounded away."""
    return f"{int(share * 1000 + 1e-6) / 10:g} %" if share >= 0.001 else "under 0.1 %"


def _of_part(part: ran.Part) -> Mapping[str, object]:
    names = {Doing.ACTING: "acting_%", Doing.OBSERVING: "observing_%", Doing.PAUSED: "paused_%", Doing.DOWN: "down_%"}
    shares = {name: round(part.shares[doing] * 100, 1) for doing, name in names.items()}
    return {"registry": f"{part.registry} {part.workspace}".strip(), "from": part.began_at, **shares}


def weeks(reading: Reading, _: Links) -> Figure:
    days = decided.by_day(reading)
    if not days:
        return _figure("weeks", "Decisions per week", "No decision in the period.", None)
    sums: Counter[str] = Counter()
    rows: Counter[tuple[str, str, str]] = Counter()
    for one in days:
        sums[one.verdict] += one.decisions
        rows[charts.week_of(one.day).isoformat(), one.mode, one.verdict] += one.decisions
    told = ", ".join(f"{sums[name]:,} {words}" for name, (_, words) in VERDICTS.items() if sums[name])
    sentence = f"{counted(sum(sums.values()), 'decision')}: {told}."
    listed = [
        {"week_of": week, "mode": mode, "verdict": verdict, "decisions": many}
        for (week, mode, verdict), many in sorted(rows.items())
    ]
    table = grid(
        "weeks-table", "Decisions by week and mode", ("week_of", "mode", "verdict", "decisions"), listed[-_ROWS:]
    )
    legend = {name: VERDICTS[name] for name in VERDICTS if sums[name]}
    return _figure("weeks", "Decisions per week", sentence, charts.weeks(days, sentence), legend, table=table)


def dots(reading: Reading, links: Links) -> Figure:
    title = "Metrics and their bounds"
    metrics = decided.measured(reading)
    if not metrics:
        return _figure("dots", title, "No decision of the period was judged by a metric with a bound.", None)
    every = [dot for metric in metrics for dot in metric.dots]
    near = [dot for dot in every if dot.near]
    sentence = (
        f"{counted(len(every), 'value')} of the newest decisions: {sum(dot.passed for dot in every)} passed, "
        f"{sum(not dot.passed for dot in every)} failed; {len(near)} within {decided.NEAR * 100:g} % of a bound "
        "(triangles). The dashed line is the bound; a cross failed by more."
    )
    rows = [
        {
            "decided_at": dot.decided_at, "model": dot.model, "version": dot.version, "check": metric.check,
            "expected": metric.expected, "value": dot.value, "result": "passed" if dot.passed else "failed",
        }
        for metric in metrics for dot in metric.dots if dot.near
    ]  # fmt: skip
    columns = ("decided_at", "model", "version", "check", "expected", "value", "result")
    table = grid("dots-table", "Near misses, and what passed narrowly", columns, rows[::-1][:_ROWS], links)
    legend = {"passed": (BLUE, "passed"), "failed": (ORANGE, "failed")}
    return _figure("dots", title, sentence, charts.dots(metrics, _span(reading), sentence), legend, table=table)


def fails(reading: Reading, links: Links) -> Figure:
    found = decided.failing(reading)
    if not found:
        return _figure("fails", "What fails most", "No check failed in the period.", None)
    sentence = (
        f"Most often {found[0].check} of {short(found[0].model, 60)}: {counted(found[0].decisions, 'decision')}. "
        "Each cell: for how many decisions about a model a check failed."
    )
    table = grid("fails-table", "Checks that failed, by model", ("check", "model", "decisions"), found[:_ROWS], links)
    return _figure("fails", "What fails most", sentence, charts.fails(found, sentence), table=table)


def waits(reading: Reading, _: Links) -> Figure:
    found = decided.waits(reading)
    title = "From request to decision"
    if not any(found.values()):
        return _figure("waits", title, "No request was decided in the period.", None)
    sentence = half_within(found)
    rows = [{"waited": name, "requests": count} for name, count in found.items()]
    table = grid("waits-table", "Requests by how long they waited", ("waited", "requests"), rows)
    return _figure("waits", title, sentence, charts.waits(found, sentence), table=table)


def half_within(found: Mapping[str, int]) -> str:
    """The shortest of the times within which half of the requests were decided, or more, and how many of them were."""
    many, so_far = sum(found.values()), 0
    asked = f"{counted(many, 'request')} decided"
    for name, below, _ in decided.WAITS:
        so_far += found[name]
        if so_far == many:
            return f"{asked}, {'all ' if many > 1 else ''}within {below}."
        if so_far * 2 >= many:
            return f"{asked}, {so_far * 100 // many} % of them within {below}."
    return f"{asked}, {found[decided.LONGER] * 100 // many} % of them after a week or more."


def approvals(reading: Reading, _: Links) -> Figure:
    title = "What people did"
    found, every = people.by_person(reading, 200)
    if not found:
        return _figure(
            "people",
            title,
            "Nobody but the daemon resolved a request or moved a version in the period.",
            None,
        )
    sums: Counter[str] = Counter()
    for one in found:
        sums[one.person] += one.times
    approved = sum(one.times for one in found if one.resolution == "approved")
    sentence = f"{counted(every, 'act')} of people in the period, {counted(approved, 'approval')} among them."
    columns = ("person", "person_assurance", "resolution", "times")
    table = grid("people-table", "Who did what, and how often", columns, found[:_ROWS])
    return _figure("people", title, sentence, charts.people(dict(sums.most_common(_PEOPLE)), sentence), table=table)


def policies(reading: Reading, _: Links) -> Figure:
    title = "Policies in force"
    bands = ran.bands_of(reading)
    if not bands:
        return _figure("policies", title, _no_policy(reading), None)
    digests = len({band.policy_digest for band in bands})
    sentence = f"{counted(digests, 'policy', 'policies')}; the last is {bands[-1].policy_digest[:12]}."
    columns = ("registry", "policy_digest", "began_at", "ended_at")
    table = grid("policies-table", "Policies and when they were in force", columns, bands[-_ROWS:])
    return _figure("policies", title, sentence, charts.policies(bands, _span(reading), sentence), table=table)


def _no_policy(reading: Reading) -> str:
    nearest = ran.nearest_to(reading)
    if nearest is None:
        return "No policy is on record."
    digest = nearest.policy_digest[:12]
    if nearest.began_at < reading.until:
        until = moment_text(nearest.ended_at)
        return f"No policy was in force in the period. The last before it, {digest}, was until {until} UTC."
    return f"No policy was in force yet. The first, {digest}, is since {moment_text(nearest.began_at)} UTC."


Maker = Callable[[Reading, Links], Figure]
OF_REPORTS: Final[Mapping[str, Iterable[Maker]]] = {
    "completeness": (lanes, strip),
    "bypasses": (lanes,),
    "decisions": (weeks, dots, fails),
    "operated": (strip, waits),
    "policies": (policies,),
    "duties": (approvals,),
}
