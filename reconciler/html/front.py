"""The front page: the opinion, exceptions first, the charts, the register, and what all of it does not prove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from reconciler.audit.overview import decided, held
from reconciler.audit.reporting import Answer, Matter, Reading
from reconciler.audit.reports.completeness import EXCEPTION, UNEXPLAINED, UNKNOWN_PERSON
from reconciler.domain.holding.causes import Cause
from reconciler.domain.text import counted
from reconciler.domain.times import duration_text
from reconciler.html import figures
from reconciler.html.pages import only_of, page, period_of
from reconciler.html.tables import Grid, Links, grid

_REGISTER, _EXCEPTIONS = 300, 100
_SUSPECT: Final = (EXCEPTION, UNEXPLAINED, str(Cause.UNDETERMINED), UNKNOWN_PERSON)
_LAYOUT: Final = (
    (figures.lanes, True), (figures.strip, True), (figures.weeks, False), (figures.waits, False), (figures.dots, True),
    (figures.fails, False), (figures.approvals, False), (figures.policies, True),
)  # fmt: skip
GLOSSARY: Final = (
    (
        "Target",
        "A stage (Production) or an alias (@champion) of a model. Governed targets are those that a rule names.",
    ),
    ("Tenure", "A version's time at a target, from the look that first saw it there to the one that saw it gone."),
    ("Decision", "A verdict of the daemon, on record before anything is done about it, with its evidence and policy."),
    ("Exception", "A tenure that began without a decision, a person's approval, or anything else that explains it."),
    ("Acknowledged", "An exception that a named person has accepted, with a reason."),
    ("Baseline", "What held a target when the daemon first looked."),
    ("Rollback", "The return of a version that held the target by approval before."),
    ("Observe", "A mode in which decisions are recorded and nothing is carried out: would be approved, or rejected."),
    ("Near miss", "A metric within 2 % of its bound, on either side."),
    (
        "Observed",
        "The share of the period in which a daemon ended its cycles, acting or only observing. The rest are gaps, "
        "pauses included. With several registries it is the share of the one with the least.",
    ),
    ("Acting", "A daemon ended its cycles and carried out what it had decided, so in another mode than observe."),
    ("Not running", "No daemon of the registry ended a cycle: what came and went was not seen."),
)
LIMITS: Final = (
    "What came and went between two looks, or while no daemon ran, is not on record.",
    "Times of tenures are bounds: they lie between two looks.",
    "Names are those that the registry, or the request itself, states: assurance says which.",
    "That nobody rewrote the history is proven only against heads of the log that were kept elsewhere: run "
    "`mlflow-reconciler audit verify --head FILE`. The root of the log below is what such a head holds.",
    "These pages are a copy: the JSON of a dossier can be verified on its own, a page cannot.",
    "Whether a metric was measured honestly is not known: it is what the run logged.",
)


@dataclass(frozen=True, slots=True)
class Placed:
    figure: figures.Figure
    wide: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """A report of the folder; without a `href` it has no page, and `opinion` says why."""

    name: str
    question: str
    opinion: str
    href: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What the folder has beside the front page.

    Args:
        models: which there are pages of; `all_models`: how many there are.
        files: lists that are longer than a page.
        unknown: what `not_on_record` says.
    """

    links: Links
    models: Sequence[held.OfModel]
    all_models: int
    reports: Sequence[Listed]
    files: Sequence[str]
    unknown: Sequence[str]


def front_page(matter: Matter, answer: Answer, reading: Reading, contents: Contents) -> str:
    return page(
        "index.html",
        matter=matter,
        answer=answer,
        home="",
        only=only_of(matter),
        unknown=contents.unknown,
        period=period_of(matter),
        tiles=list(_tiles(answer, decided.verdicts(reading))),
        exceptions=_exceptions(reading, answer, contents.links),
        figures=[Placed(make(reading, contents.links), wide) for make, wide in _LAYOUT],
        register=_register(reading, contents.links),
        models=_models(contents),
        reports=contents.reports,
        files=contents.files,
        glossary=GLOSSARY,
        limits=LIMITS,
    )


def _tiles(answer: Answer, verdicts: Mapping[str, int]) -> Sequence[tuple[str, str, str]]:
    causes: Mapping[str, int] = answer.counts["by_cause"]
    open_exceptions = causes[EXCEPTION] - answer.counts["accepted_exceptions"]
    control: list[Any] = list(next(section.rows for section in answer.sections if section.name == "control"))
    least = min((one.percent for one in control), default=None)
    longest = max((one.longest_gap_seconds for one in control), default=None)
    return [
        ("exceptions", f"{causes[EXCEPTION]:,}", "bad" if open_exceptions else ""),
        ("of these acknowledged", f"{answer.counts['accepted_exceptions']:,}", ""),
        ("tenures", f"{answer.counts['tenures']:,}", ""),
        ("approved", f"{verdicts.get('approve', 0):,}", ""),
        ("rejected", f"{verdicts.get('reject', 0):,}", ""),
        ("observed", "never" if least is None else f"{least:g} %", ""),
        ("longest gap", _gap(longest), ""),
    ]


def _gap(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return duration_text(timedelta(seconds=round(seconds))) if seconds >= 0.5 else "none"


def _exceptions(reading: Reading, answer: Answer, links: Links) -> Grid:
    found = held.first_tenures(reading, _EXCEPTIONS, only=_SUSPECT)
    many = sum(answer.counts["by_cause"][name] for name in _SUSPECT)
    columns = (
        "tenure_id", "counted_as", "model", "version", "target", "first_seen_with", "first_seen_without", "accepted_by",
        "accepted_because",
    )  # fmt: skip
    note = f"The first {len(found):,} of {many:,}; the others are in completeness." if many > len(found) else ""
    return grid("exceptions-table", "Exceptions", columns, found, links, note=note, sortable=len(found) > 8)


def _register(reading: Reading, links: Links) -> Grid:
    found = decided.newest(reading, _REGISTER)
    columns = (
        "decided_at", "verdict", "model", "version", "target", "requester", "reason", "effect", "decision_id"
    )  # fmt: skip
    note = ""
    if len(found) == _REGISTER:
        note = f"The newest {_REGISTER}; the others are on the page of the report decisions, or in the CSV beside it. "
    if any(row.decision_id not in links.decisions for row in found):
        pages = f"Only the newest {len(links.decisions)} have a page"
        note += f"{pages}: for another, run mlflow-reconciler audit show ID, or audit dossier ID."
    return grid("register", "Decisions, the newest first", columns, found, links, note=note, sortable=True)


def _models(contents: Contents) -> Grid:
    note = ""
    if contents.all_models > len(contents.models):
        pages = f"{counted(len(contents.models), 'model')} of {contents.all_models:,}"
        command = "mlflow-reconciler audit report completeness --model NAME --format html"
        note = f"{pages} have a page: those with exceptions, and with most decisions. For another, run {command}."
    columns = ("model", "exceptions", "tenures", "decisions")
    return grid("models", "Models", columns, contents.models, contents.links, note=note, sortable=True)
