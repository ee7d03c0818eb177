"""All reports of a period as a folder: a front page, a page for each report, model and dossier, and a manifest.

Nothing in it grows with history but the CSV files: pages have the newest rows, and models and decisions have pages up
to so many bytes. What has none is said where it would be linked.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from sqlalchemy import func, select

from reconciler.audit.dossiers import Dossier, Unprovable, dossier_of, written
from reconciler.audit.on_record import not_on_record
from reconciler.audit.overview import held
from reconciler.audit.reader import whole_decision
from reconciler.audit.reporting import Answer, Reading, Report, Section, matter_of
from reconciler.audit.reports import reports
from reconciler.audit.tables import DecisionRow
from reconciler.domain.decision import in_file_names
from reconciler.domain.proofs.checkpoint import Head
from reconciler.domain.text import counted
from reconciler.domain.times import iso
from reconciler.html.front import Contents, Listed, front_page
from reconciler.html.pages import report_page
from reconciler.html.tables import NO_LINKS, Links
from reconciler.html.things import decision_page, model_page

MANIFEST: Final = "manifest.json"
FORMAT: Final = "mlflow-reconciler report v1"
_BYTES_OF_DOSSIERS, _BYTES_OF_MODELS = 1_500_000, 1_200_000
_BYTES_OF_A_PAGE: Final = 12_000
_MOST_DOSSIERS, _MOST_MODELS = 300, 200
# Who had run the run stands in the evidence, which has to be read for each decision.
_MOST_FOR_DUTIES: Final = 20_000

AsCsv = Callable[[Section, Iterator[Any], TextIO], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Made:
    """What a folder has got: how many pages, of how many models and decisions, and how many bytes they are."""

    pages: int
    models: int
    decisions: int
    bytes: int


class Told(NamedTuple):
    """A decision in full, what its dossier proves, and the name of that, where there is one."""

    id: str
    whole: Mapping[str, Any]
    proof: str
    file: str


class Folder:
    """Args:
    as_csv: writes rows of a section.
    heads: by which dossiers are proven.
    """

    def __init__(self, place: Path, reading: Reading, heads: Sequence[Head], as_csv: AsCsv) -> None:
        self._place, self._reading, self._heads, self._as_csv = place, reading, heads, as_csv
        self._known = reports()
        self._matter = matter_of(self._known["completeness"], reading)
        # It may have to look through all of history: once.
        self._unknown = list(not_on_record(reading))
        self._files: dict[str, str] = {}
        self._bytes = 0
        self._long: list[str] = []

    def write(self, progress: Progress) -> Made:
        """Raises: OSError: there is no room."""
        steps = len(self._known) + 3
        found, every = held.models_of(self._reading, _MOST_MODELS)
        names = {one.model: f"model-{number}.html" for number, one in enumerate(found, 1)}
        progress(1, steps)
        told = self._dossiers()
        decisions = {one.id: f"decision-{in_file_names(one.id)}.html" for one in told}
        progress(2, steps)
        models = self._models(found, Links(names, decisions))
        links = Links({one.model: names[one.model] for one in models}, decisions)
        for one in told:
            self._put(decisions[one.id], decision_page(self._matter, one.whole, one.proof, one.file, links))
        listed, answer = [], None
        for number, report in enumerate(self._known.values(), 3):
            progress(number, steps)
            found_answer, row = self._report(report, links)
            listed.append(row)
            answer = found_answer if report.name == "completeness" else answer
        assert answer is not None
        contents = Contents(links, models, every, listed, self._long, self._unknown)
        self._put("index.html", front_page(self._matter, answer, self._reading, contents))
        self._put(MANIFEST, self._manifest())
        progress(steps, steps)
        pages = sum(name.endswith(".html") for name in self._files)
        return Made(pages, len(models), len(decisions), self._bytes)

    # --- dossiers -----------------------------------------------------------------------------------------------

    def _dossiers(self) -> list[Told]:
        """The newest decisions, as many as there is room for; their pages are written once it is known to what."""
        row, made, room = DecisionRow, [], _BYTES_OF_DOSSIERS
        newest = select(row.decision_id).where(*self._reading.about(row.__table__, "decided_at"))
        ids = list(self._reading.connection.scalars(newest.order_by(row.decided_at.desc()).limit(_MOST_DOSSIERS)))
        for id in ids:
            if room <= 0:
                break
            before = self._bytes
            made.append(self._dossier(id))
            # A page has about as much to say as its dossier.
            room -= _BYTES_OF_A_PAGE + 2 * (self._bytes - before)
        return made

    def _dossier(self, id: str) -> Told:
        connection, file = self._reading.connection, f"dossier-{in_file_names(id)}.json"
        whole = whole_decision(connection, id)
        try:
            dossier = dossier_of(connection, id, self._heads)
        except Unprovable as error:
            return Told(id, whole, f"There is no dossier of it: {error}", "")
        self._put(file, written(dossier))
        return Told(id, whole, _proof(dossier, self._heads), file)

    # --- models -------------------------------------------------------------------------------------------------

    def _models(self, found: Sequence[held.OfModel], links: Links) -> list[held.OfModel]:
        """Those that got a page."""
        made, before = [], self._bytes
        for one in found:
            if self._bytes - before > _BYTES_OF_MODELS:
                break
            self._put(links.models[one.model], model_page(self._matter, self._reading, one, links))
            made.append(one)
        return made

    # --- reports ------------------------------------------------------------------------------------------------

    def _report(self, report: Report, links: Links) -> tuple[Answer | None, Listed]:
        reading = self._reading.at(self._reading.until) if report.of_a_moment else self._reading
        many = self._many_decisions if report.name == "duties" else 0
        if many > _MOST_FOR_DUTIES:
            command = f"mlflow-reconciler audit report {report.name}"
            why = f"not made: it reads the evidence of {many:,} decisions, which takes long. Run {command}."
            return None, Listed(report.name, report.question, why, "")
        answer, name = report.answer(reading), f"{report.name}.html"

        def rest(section: Section, rows: Iterator[Any]) -> str:
            return self._whole(f"{report.name}-{section.name}.csv", section, rows)

        more = {"home": "index.html", "unknown": self._unknown}
        self._put(name, report_page(matter_of(report, reading), answer, reading, links, rest, **more))
        return answer, Listed(report.name, report.question, answer.opinion, name)

    @property
    def _many_decisions(self) -> int:
        row = DecisionRow.__table__
        query = select(func.count()).select_from(row).where(*self._reading.about(row, "decided_at"))
        return self._reading.connection.scalar(query) or 0

    def _whole(self, name: str, section: Section, rows: Iterator[Any]) -> str:
        """Writes a list that a page has no room for."""
        with (self._place / name).open("wb") as raw:
            stream = io.TextIOWrapper(raw, "utf-8", newline="\n")
            self._as_csv(section, rows, stream)
            stream.flush()
            stream.detach()
        with (self._place / name).open("rb") as file:
            self._files[name] = hashlib.file_digest(file, "sha256").hexdigest()
        self._long.append(name)
        return f"All of them are in {name}."

    # --- files --------------------------------------------------------------------------------------------------

    def _put(self, name: str, text: str) -> None:
        content = text.encode("utf-8", "replace")
        (self._place / name).write_bytes(content)
        self._files[name] = hashlib.sha256(content).hexdigest()
        self._bytes += len(content)

    def _manifest(self) -> str:
        """By which the folder is known as ours, and a changed page."""
        told = {"format": FORMAT, "made_at": iso(self._matter.made_at), "log": self._matter.log, "files": self._files}
        return json.dumps(told, indent=1) + "\n"


def _proof(dossier: Dossier, heads: Sequence[Head]) -> str:
    _, size, root = dossier["head"].splitlines()[:3]
    entries = counted(len(dossier["entries"]), "row")
    kept = any(head.note == dossier["head"] for head in heads)
    vouching = (
        "which was kept beside the database" if kept else "which proves it later only to those who keep the head now"
    )
    proven = f"{entries} about it, each proven to be in the log by the head over {int(size):,} entries"
    return f"{proven} with the root {root}, {vouching}."


def single_page(report: Report, reading: Reading) -> str:
    """A report by itself."""

    def rest(section: Section, rows: Iterator[Any]) -> str:
        return f"All of them: mlflow-reconciler audit report {report.name} --format csv --section {section.name}."

    unknown = list(not_on_record(reading))
    return report_page(matter_of(report, reading), report.answer(reading), reading, NO_LINKS, rest, unknown=unknown)
