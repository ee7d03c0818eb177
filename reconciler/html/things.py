"""A page for a model, and a page for a decision with its dossier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from reconciler.audit.overview import decided, held, people
from reconciler.audit.reporting import Matter, Reading
from reconciler.domain.decision import OutcomeKind, conditional
from reconciler.domain.text import counted, visible
from reconciler.domain.times import parse_iso
from reconciler.html import figures
from reconciler.html.pages import only_of, page, period_of
from reconciler.html.tables import NO_LINKS, Cell, Grid, Links, cell, grid, moment_text

Columns = Sequence[str]
_OF_A_CHECK: Final = ("result", "role", "check", "expected", "observed", "source")
_ROWS: Final = 50
_FIELDS: Final = 400
_FACTS: Final = (
    "model", "version", "target", "requester", "requester_assurance", "requested_at", "comment", "verdict", "rule",
    "decided_at", "mode", "outcome", "outcome_at", "outcome_detail", "effect", "registry", "workspace", "policy_digest",
    "daemon", "product_version", "engine", "judgement", "replaces",
)  # fmt: skip


def model_page(matter: Matter, reading: Reading, found: held.OfModel, links: Links) -> str:
    narrowed = reading.of_model(found.model)
    told = (
        f"{counted(found.tenures, 'tenure')}, {counted(found.exceptions, 'exception')}; "
        f"{counted(found.decisions, 'decision')} in the period."
    )
    made = [figures.lanes(narrowed, NO_LINKS)] if found.tenures else []
    return page(
        "model.html",
        matter=matter,
        home="index.html",
        model=visible(found.model),
        only=only_of(replace(matter, model=None)),
        period=period_of(matter),
        sentence=told,
        figures=made,
        grids=list(_of_model(narrowed, links)),
    )


def _of_model(reading: Reading, links: Links) -> Iterator[Grid]:
    tenures = held.first_tenures(reading, _ROWS)
    columns: Columns = (
        "tenure_id", "counted_as", "version", "target", "first_seen_with", "first_seen_without", "person",
        "decision_id", "accepted_by",
    )  # fmt: skip
    yield grid("tenures", "What held its targets, exceptions first", columns, tenures, links, note=_cut(tenures))
    decisions = decided.newest(reading, _ROWS)
    columns = ("decided_at", "verdict", "version", "target", "requester", "reason", "effect", "decision_id")
    caption = "Decisions, the newest first"
    yield grid("register", caption, columns, decisions, links, note=_cut(decisions), sortable=len(decisions) > 8)
    yield grid("failing", "Checks that failed", ("check", "decisions"), decided.failing(reading, _ROWS))
    done = people.did(reading, _ROWS)
    columns = ("at", "resolution", "version", "target", "person", "person_assurance", "requester", "comment")
    yield grid("people", "What people did", columns, done, links, note=_cut(done))


def _cut(rows: list[Any]) -> str:
    return f"Only {_ROWS} rows." if len(rows) == _ROWS else ""


# --- a decision ------------------------------------------------------------------------------------------------


def decision_page(matter: Matter, whole: Mapping[str, Any], proof: str, file: str, links: Links) -> str:
    verdict = conditional(whole["verdict"], whole["outcome"] != OutcomeKind.OBSERVED)
    words = {
        "approve": "Approved",
        "reject": "Rejected",
        "would approve": "Would approve",
        "would reject": "Would reject",
    }
    sentence = f"{words.get(verdict, verdict)}: {whole['model']} version {whole['version']} to {whole['target']}"
    return page(
        "dossier.html",
        matter=matter,
        home="index.html",
        whole=whole,
        sentence=visible(sentence),
        facts=[
            (name.replace("_", " "), _fact(name, whole[name], links))
            for name in _FACTS
            if whole[name] not in {None, ""}
        ],
        checks=grid("checks", "Checks", _OF_A_CHECK, whole["checks"]),
        grids=list(_of_decision(whole)),
        policy_lines=[visible(line) for line in whole["policy"].splitlines()],
        proof=proof,
        file=file,
    )


def _fact(name: str, value: Any, links: Links) -> Cell:
    if name == "policy_digest":
        # By which it can be told from every other, here in full.
        return Cell(value)
    made = cell(name, parse_iso(value) if name.endswith("_at") else value, links)
    return Cell(f"{made.text} UTC", made.kind) if made.kind == "moment" else made


def _of_decision(whole: Mapping[str, Any]) -> Iterator[Grid]:
    yield grid("outcomes", "Outcomes", ("at", "outcome", "detail"), map(_timed, whole["outcomes"]))
    if whole["confirmations"]:
        columns = ("at", "verdict", "reason")
        yield grid("confirmations", "Judged the same right before an act", columns, map(_timed, whole["confirmations"]))
    if whole["late_effects"]:
        yield grid("late", "Took effect after it had ended", ("at", "detail"), map(_timed, whole["late_effects"]))
    fields = list(flat(whole["evidence"] or {"evidence": "missing or damaged: see mlflow-reconciler audit verify"}))
    note = f"{len(fields) - _FIELDS:,} more fields are in the dossier." if len(fields) > _FIELDS else ""
    rows = [{"field": path, "value": value} for path, value in fields[:_FIELDS]]
    yield grid("evidence", "Evidence: what the policy was shown", ("field", "value"), rows, note=note)


def _timed(row: Mapping[str, Any]) -> Mapping[str, Any]:
    at = row["at"]
    moment: datetime = parse_iso(at) if isinstance(at, str) else at
    return {**row, "at": moment}


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each field that has a value, by its path; a text is shown as far as it was kept."""
    if isinstance(value, Mapping) and {"head", "length", "sha256"} <= set(value):
        yield from flat(value["head"], path)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from flat(inner, f"{path} › {visible(str(name))}" if path else visible(str(name)))
    elif isinstance(value, list):
        for number, inner in enumerate(value, 1):
            yield from flat(inner, f"{path} › {number}")
    elif value not in (None, ""):
        yield path, _dated(path.rpartition(" ")[2], value)


# Times of MLflow: in milliseconds since 1970.
_TIMES: Final = frozenset({"timestamp", "creation_timestamp", "end_time"})
_FROM_2000_ON, _BEFORE_2286 = 946_684_800_000, 10_000_000_000_000


def _dated(name: str, value: Any) -> str:
    """The value as it is, and what it is called by people."""
    is_time = name in _TIMES and isinstance(value, int) and _FROM_2000_ON <= value < _BEFORE_2286
    return f"{value} ({moment_text(datetime.fromtimestamp(value / 1000, UTC))} UTC)" if is_time else str(value)
