"""What a check of a plugin is shown of the evidence, as JSON data: what its needs ask for, and nothing else.

What no check asks for may be left out of the evidence that is kept (`reconciler.domain.evidence.keeping`), so a check
that saw it could judge otherwise when its decision is judged again. `reconciler.plugins.evidence` reads this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Final

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.captured import NOT_CAPTURED
from reconciler.domain.evidence.evidence import (
    Absent,
    Evidence,
    Fact,
    HistoryFacts,
    HolderFacts,
    LoggedModelFacts,
    ModelFacts,
    Needs,
    Reading,
    RunFacts,
    SignatureFacts,
    TenureFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.evidence.history_facts import History
from reconciler.domain.evidence.signature_facts import Column
from reconciler.domain.evidence.tenure_facts import TimeHeld
from reconciler.domain.evidence.withheld import Withheld
from reconciler.domain.text import Text
from reconciler.domain.times import iso

_OF_VERSION: Final = ("run_id", "source", "status", "current_stage", "description")
_OF_RUN: Final = ("run_id", "status", "lifecycle_stage", "end_time", "experiment_id")
_OF_MODEL: Final = ("model_id", "source_run_id", "status", "experiment_id")
_MOMENTS: Final = ("since", "seen_at", "asked_at")
_OF_SIGNATURE: Final = ("place", "sha256", "unclear", "inputs", "outputs")


def shown(evidence: Evidence, needs: Needs, now: datetime) -> dict[str, Any]:
    """The evidence as far as these needs go. What is withheld is named in `withheld`, each path with why."""
    view = _View(needs)
    data = {"now": iso(now), "version": view.answer(evidence.fact(VersionFacts), "version", view.version)}
    if needs.run:
        data["run"] = view.answer(evidence.fact(RunFacts), "run", view.run)
    if needs.logged_model:
        data["logged_model"] = view.answer(evidence.fact(LoggedModelFacts), "logged_model", view.logged_model)
    if needs.registered_model:
        data["registered_model"] = view.answer(evidence.fact(ModelFacts), "registered_model", view.registered_model)
    if needs.holder:
        data["holder"] = view.answer(evidence.fact(HolderFacts), "holder", view.holder)
    if needs.signature:
        data["signature"] = view.answer(evidence.fact(SignatureFacts), "signature", view.signature)
    # They are read of what is there only: where that is absent, or could not be read, so are they.
    if needs.held:
        data["held"] = view.answer(_below(evidence, VersionFacts, TenureFacts), "held", view.held)
    if needs.histories:
        data["histories"] = view.answer(_below(evidence, RunFacts, HistoryFacts), "histories", view.histories)
    return {**data, "withheld": view.withheld}


def _below(evidence: Evidence, above: type[Fact], kind: type[Fact]) -> Fact | Absent | Unreadable:
    """The fact of that kind, which is read where there is one of the kind above it; else why there is none."""
    first = evidence.fact(above)
    return evidence.fact(kind) if isinstance(first, above) else first


@dataclass(frozen=True, slots=True)
class _View:
    needs: Needs
    withheld: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def answer(answer: Any, path: str, show: Callable[[Any, str], Mapping[str, Any]]) -> dict[str, Any]:
        if isinstance(answer, Unreadable):
            return {"unreadable": answer.detail}
        if isinstance(answer, Absent) and answer.code == AbsenceCode.NOT_ASKED:
            # Evidence of an earlier policy, or what somebody changed: not a definite absence.
            return {"undetermined": "was not looked up"}
        if isinstance(answer, Absent):
            return {"absent": [str(answer.code), answer.detail]}
        return {"found": show(answer, path)}

    def version(self, fact: VersionFacts, path: str) -> dict[str, Any]:
        return self._members(fact, path, _OF_VERSION) | {"tags": self._named(fact, path, "tags", self.needs.tags)}

    def run(self, fact: RunFacts, path: str) -> dict[str, Any]:
        members = self._members(fact, path, _OF_RUN)
        if self.needs.run_user:
            members |= self._member("user", path, partial(_user, fact))
        metrics = self._named(fact, path, "metrics", self.needs.metrics, self.needs.metric_globs)
        return members | {"metrics": metrics, "params": self._named(fact, path, "params", self.needs.params)}

    def logged_model(self, fact: LoggedModelFacts, path: str) -> dict[str, Any]:
        metrics = self._named(fact, path, "metrics", self.needs.metrics)
        return self._members(fact, path, _OF_MODEL) | {"metrics": metrics}

    def registered_model(self, fact: ModelFacts, path: str) -> dict[str, Any]:
        tags = self._named(fact, path, "tags", self.needs.model_tags)
        return self._members(fact, path, ("description",)) | {"tags": tags}

    def holder(self, fact: HolderFacts, path: str) -> dict[str, Any]:
        data = self._members(fact, path, ("version",))
        data |= self._member("approved", path, lambda: fact.arrival.approved)
        for member, show in (("run", self.run), ("logged_model", self.logged_model)):
            try:
                data[member] = self.answer(getattr(fact, member), f"{path}.{member}", show)
            except Withheld as withheld:
                data[member] = {"withheld": str(withheld)}
        return data

    def signature(self, fact: SignatureFacts, path: str) -> dict[str, Any]:
        return self._members(fact, path, _OF_SIGNATURE)

    def held(self, fact: TenureFacts, path: str) -> dict[str, Any]:
        return {"targets": self._named(fact, path, "targets", frozenset(map(str, self.needs.held)))}

    def histories(self, fact: HistoryFacts, path: str) -> dict[str, Any]:
        """Of each metric the steps that are asked for: others may be there for the product's own checks."""
        named = self._named(fact, path, "metrics", frozenset(name for name, _ in self.needs.histories))
        for name, history in named["values"].items():
            steps = [step for one, step in sorted(self.needs.histories, key=str) if one == name and step is not None]
            history["steps"] = steps
            history["at"] = {str(step): history["at"][step] for step in steps if step in history["at"]}
        return {"metrics": named}

    # --- members ---------------------------------------------------------------------------------------------

    def _members(self, fact: object, path: str, names: Collection[str]) -> dict[str, Any]:
        """Those that are there; of the others it is noted why not."""
        members: dict[str, Any] = {}
        for name in names:
            members |= self._member(name, path, partial(getattr, fact, name))
        return members

    def _member(self, name: str, path: str, read: Callable[[], Any]) -> dict[str, Any]:
        return {key: value for key in (name,) for value in self._read(f"{path}.{name}", read)}

    def _named(
        self, fact: object, path: str, member: str, names: Collection[str], globs: Collection[str] = ()
    ) -> dict[str, Any]:
        """The entries of a map that are asked for by name or glob."""
        path = f"{path}.{member}"
        values: dict[str, Any] = {}
        for entries in self._read(path, partial(getattr, fact, member), plain=False):
            if entries is None:
                self.withheld.update((f"{path}.{name}", f"{path} {NOT_CAPTURED}") for name in names)
                break
            for name in sorted(names):
                for value in self._read(f"{path}.{name}", partial(entries.get, name)):
                    values |= {} if value is None else {name: value}
            # Where not all that match were captured, going through them is refused.
            for items in self._read(path, entries.items, plain=False) if globs else ():
                matching = ((name, value) for name, value in items if any(fnmatchcase(name, glob) for glob in globs))
                values |= {name: _plain(value) for name, value in matching}
        return {"values": values, "names": sorted(names), "globs": sorted(globs)}

    def _read(self, path: str, read: Callable[[], Any], *, plain: bool = True) -> list[Any]:
        """The value alone; nothing, and a note, where it is withheld."""
        try:
            return [_plain(read()) if plain else read()]
        except Withheld as withheld:
            self.withheld[path] = str(withheld)
            return []


def _user(fact: RunFacts) -> Text | None:
    """Where it was not captured, only looking at the text raises."""
    return None if fact.user is None else Text(fact.user.head, fact.user.length, fact.user.sha256)


def _plain(value: Any) -> Any:
    match value:
        case Text():
            return {"text": value.head, "length": value.length, "sha256": value.sha256}
        case Reading():
            names = ("text", "step", "timestamp", "dataset_name", "dataset_digest")
            return {name: getattr(value, name) for name in names}
        case Column():
            return {"name": value.name, "type": value.type, "optional": value.optional}
        case TimeHeld():
            return {"holds": value.holds, "why": value.why} | {name: _iso(getattr(value, name)) for name in _MOMENTS}
        case History():
            at = {step: _plain(there) for step, there in value.at.items()}
            ends = {"best": _plain(value.best), "last": _plain(value.last)}
            return {"points": value.points, "why": value.why, "at": at, **ends}
        case tuple():
            return [_plain(one) for one in value]
    return value


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)
