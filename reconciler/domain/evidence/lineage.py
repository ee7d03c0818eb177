"""What proves that a run made a version.

Whoever registers a version may name any run, and whoever makes a logged model may name any run as its source: these are
claims. Only who may write to a run makes the run name a logged model among its outputs, or lays files below its
artifacts: these are proof.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote

from reconciler.domain.codes import BROKEN_LINEAGE, AbsenceCode
from reconciler.domain.evidence.evidence import (
    Absent,
    Evidence,
    LoggedModelFacts,
    OriginFacts,
    RunFacts,
    Unreadable,
    VersionFacts,
)

# An experiment may lie anywhere, also in the folder of somebody else's run: its runs' and models' files are then there.
_SOMEBODY_ELSE_S = re.compile(r"/(?:[0-9a-f]{32}|m-[^/]+|tr-[^/]+)/artifacts(?:/|\Z)", re.IGNORECASE)
# A path that is still quoted after this many rounds was made to deceive.
_ROUNDS_OF_QUOTING = 8


@dataclass(frozen=True, slots=True)
class Unproven:
    """The registry shows all that could prove it, and it does not."""

    detail: str


@dataclass(frozen=True, slots=True)
class NotShown:
    """The registry does not show what could prove it, such as a run's outputs."""

    detail: str


def broken_lineage(evidence: Evidence) -> Absent | Unreadable | None:
    """What the version was made from, where that cannot be followed to its end, or could not be read."""
    model = evidence.fact(LoggedModelFacts)
    if isinstance(model, Unreadable) or (isinstance(model, Absent) and model.code in BROKEN_LINEAGE):
        return model
    return None


def logged_several_models(run: RunFacts) -> bool:
    """Then nothing tells which of them the run's metrics were measured on."""
    return len(run.outputs or ()) > 1


def contradiction(model: LoggedModelFacts, version: VersionFacts, run: RunFacts | Absent | Unreadable) -> str:
    """Why the run that the version names did not make its logged model, by what either says; "" if nothing says so."""
    if not version.run_id:
        return ""
    outputs = (run.outputs or ()) if isinstance(run, RunFacts) else ()
    is_output = model.model_id in outputs
    if model.source_run_id != version.run_id and (model.source_run_id or not is_output):
        return f"the version names run {version.run_id}, but its model was made by {model.source_run_id or 'no run'}"
    if outputs and not is_output:
        return f"the version names run {version.run_id}, but that run logged other models"
    return ""


def doubt_about_link(run: RunFacts, evidence: Evidence) -> Absent | Unreadable | Unproven | NotShown | None:
    """Why it is not proven that the run made the version; None if it is."""
    model, version = evidence.fact(LoggedModelFacts), evidence.fact(VersionFacts)
    if not isinstance(version, VersionFacts):
        return version
    if isinstance(model, LoggedModelFacts):
        return _doubt_about_model(run, model, version)
    if isinstance(model, Unreadable) or model.code in BROKEN_LINEAGE:
        return model
    if model.code != AbsenceCode.NO_LOGGED_MODEL:
        return Unproven("nothing proves that the version comes from this run")
    return _doubt_about_files(run, version, evidence.fact(OriginFacts))


def _doubt_about_model(run: RunFacts, model: LoggedModelFacts, version: VersionFacts) -> Unproven | NotShown | None:
    if run.outputs is None:
        return NotShown("the registry does not show which models the run logged")
    if model.model_id not in run.outputs:
        return Unproven(f"the run does not name logged model {model.model_id} among its outputs")
    if contradicted := contradiction(model, version, run):
        return Unproven(contradicted)
    if logged_several_models(run):
        return Unproven("the run logged several models, so it proves none of them")
    if not run.experiment_id or not model.experiment_id:
        return NotShown("the registry does not show the experiments of the run and the logged model")
    if run.experiment_id != model.experiment_id:
        return Unproven(f"logged model {model.model_id} belongs to another experiment than the run")
    return None


def _doubt_about_files(
    run: RunFacts, version: VersionFacts, origin: OriginFacts | Absent | Unreadable
) -> Unproven | NotShown | None:
    place = _place_of(version, origin)
    if logged_several_models(run):
        return Unproven("the run logged several models, so it proves none of them")
    if lies_under(place, f"runs:/{run.run_id}"):
        return None
    if not run.artifact_uri:
        return NotShown("the registry does not show where the run's artifacts lie")
    if not lies_under(place, run.artifact_uri):
        return Unproven("nothing proves that the version comes from this run: its files are not among the run's")
    return None


def path_in_run(run: RunFacts, version: VersionFacts, origin: OriginFacts | Absent | Unreadable) -> str | None:
    """The path of the version's files below the run's artifacts, "" for all of them; None: they are not provably there.

    What is percent-encoded has none: servers differ in which file it names.
    """
    place = _place_of(version, origin)
    for root in (f"runs:/{run.run_id}", run.artifact_uri.rstrip("/")):
        if lies_under(place, root) and "%" not in place[len(root) :]:
            return place[len(root) :].strip("/")
    return None


def _place_of(version: VersionFacts, origin: OriginFacts | Absent | Unreadable) -> str:
    return origin.location if isinstance(origin, OriginFacts) else version.source


def lies_under(place: str, root: str) -> bool:
    """Whether every reader of addresses finds `place` among the files of a run's `root`; in doubt it is not.

    The beginning must be the very same text. What follows may not leave it again, however it is written, nor lead to
    the files of another run or of a logged model, which others may write.
    """
    root = root.rstrip("/")
    if not root or not (place == root or place.startswith(f"{root}/")):
        return False
    below = _unquoted(place[len(root) :])
    if below is None or "//" in below or _SOMEBODY_ELSE_S.search(below):
        return False
    return not any(map(_leads_astray, below.strip("/").split("/")))


def _unquoted(text: str) -> str | None:
    """Without any percent-encoding, also of percent-encoding."""
    for _ in range(_ROUNDS_OF_QUOTING):
        plain = unquote(text)
        if plain == text:
            return text
        text = plain
    return None


def _leads_astray(name: str) -> bool:
    """`..` in any form that some system reads as such, a second separator, a query, or what a parser leaves out."""
    if any(character in "\\?#" or unicodedata.category(character) in {"Cc", "Cf", "Cs"} for character in name):
        return True
    return name != "" and not name.strip(" .")
