"""Loading a check of a plugin: its process, whose code it has, and the kind of check that comes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.domain.evidence.code_facts import Code
from reconciler.domain.evidence.evidence import Needs
from reconciler.domain.plugin_checks import About, PluginCheck, PluginFault, Terms, kind_of
from reconciler.domain.target import Target
from reconciler.domain.text import visible
from reconciler.plugins.check import Needs as NeedsOfPlugin
from reconciler.policy.plugin_process import Answer, PluginProcess
from reconciler.policy.plugins import PluginError

_KEPT: Final = 10_000
# What a plugin asks for by name, and what as a whole.
_NAMES: Final = ("metrics", "metric_globs", "tags", "model_tags", "params", "histories", "held")
_PARTS: Final = ("run", "logged_model", "registered_model", "run_user", "holder", "signature")

# By name and time: as long as its code is the same, a kind stays the one that it is, with its process.
_LOADED: dict[tuple[str, float], type[PluginCheck]] = {}


def loaded_kind(name: str, seconds: float) -> type[PluginCheck]:
    """The kind of check of this name. Its code is read anew: what has changed on disk is another kind.

    Raises:
        PluginError: it cannot be loaded.
    """
    process = PluginProcess(name, seconds)
    code, about = _introduced(name, process)
    known = _LOADED.get((name, seconds))
    if known is not None and known.plugin.code == code:
        process.end()
        return known
    try:
        kind = kind_of(LoadedPlugin(process, code, about))
    except (ValueError, TypeError) as error:
        raise PluginError(f"{name} of {code.distribution} {code.version}: {visible(str(error), 300)}") from None
    _LOADED[name, seconds] = kind
    return kind


def unloaded_kind(name: str) -> type[PluginCheck]:
    """A kind of this name that takes whatever a policy says, so that the rest of the policy can be looked at."""
    return kind_of(_Unloaded(Code(name, "", "", ""), About(of=frozenset({"model", "prompt"}))))


@dataclass(frozen=True, slots=True)
class _Unloaded:
    code: Code
    about: About

    def terms(self, value: object) -> Terms:
        return Terms(self.code.check, "", Needs())

    def judge(self, value: object, evidence: Mapping[str, Any]) -> Mapping[str, Any]:
        raise PluginFault("is not loaded")


def _introduced(name: str, process: PluginProcess) -> tuple[Code, About]:
    try:
        code, about = process.start()
    except PluginFault as fault:
        raise PluginError(f"{name} cannot be loaded: its process {fault}") from None
    if refused := code.get("refused") or (about or {}).get("refused"):
        raise PluginError(f"{name} cannot be loaded: {visible(str(refused), 500)}")
    return _code(name, code), _about(name, about or {})


def _code(name: str, answer: Answer) -> Code:
    texts = (visible(str(answer.get(key)), 100) for key in ("distribution", "version", "sha256"))
    return Code(name, *texts)


def _about(name: str, answer: Answer) -> About:
    """What was sent by a process in which the plugin has run, and so may be anything."""
    match answer.get("check"):
        case {"codes": dict(codes), "remedy": str(remedy), "of": list(of), "schema": dict(schema), "about": str(about)}:
            meanings = {code: str(meaning) for code, meaning in codes.items()}
            return About(meanings, remedy, frozenset(map(str, of)), schema, visible(about, 300))
    raise PluginError(f"{name} cannot be loaded: its process did not say what it is")


class LoadedPlugin:
    """A check of a plugin behind its process."""

    def __init__(self, process: PluginProcess, code: Code, about: About) -> None:
        self._process = process
        self._terms: dict[str, Terms] = {}
        self.code = code
        self.about = about

    def terms(self, value: object) -> Terms:
        """Raises ValueError."""
        key = json.dumps(value, sort_keys=True, default=str)
        if key not in self._terms:
            if len(self._terms) >= _KEPT:
                self._terms.clear()
            self._terms[key] = self._asked_for_terms(value)
        return self._terms[key]

    def _asked_for_terms(self, value: object) -> Terms:
        try:
            answer = self._ask({"value": value})
            if mistake := answer.get("mistake"):
                raise ValueError(visible(str(mistake), 500))
            if error := answer.get("error"):
                raise PluginFault(f"raised {visible(str(error), 300)}")
            return self._terms_of(answer)
        except PluginFault as fault:
            raise ValueError(f"{self.code.check} of {self.code.distribution} {self.code.version} {fault}") from None

    def _terms_of(self, answer: Answer) -> Terms:
        match answer:
            case {"title": str(title), "expected": str(expected), "needs": dict(needs), "doubts": list(doubts)}:
                shown = visible(title or self.code.check, 300)
                told = tuple(visible(str(doubt), 500) for doubt in doubts)
                return Terms(shown, visible(expected, 500), self._needs_in(needs), told)
        raise PluginFault("returned an invalid title, expectation or needs")

    def _needs_in(self, told: Mapping[str, Any]) -> Needs:
        """Raises PluginFault where it asks for what there cannot be."""
        try:
            return _needs(told, self.code)
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise PluginFault(f"needs what does not exist: {visible(str(error), 300)}") from None

    def judge(self, value: object, evidence: Mapping[str, Any]) -> Answer:
        """Raises PluginFault."""
        return self._ask({"value": value, "evidence": evidence})

    def _ask(self, question: Mapping[str, Any]) -> Answer:
        """Raises PluginFault, also where it rests."""
        about = _about_what(question)
        if self._process.rests(about):
            raise PluginFault("failed several times within a minute, and is not asked again until the minute is over")
        if not self._process.is_running:
            self._start_again()
        return self._process.ask(question, about)

    def _start_again(self) -> None:
        """Raises PluginFault where the code is another by now."""
        answer, _ = self._process.start()
        if answer.get("sha256") != self.code.sha256:
            self._process.end()
            raise PluginFault("has other code now: reload or restart the process that judges")


def _about_what(question: Mapping[str, Any]) -> str:
    """The same for the same terms and evidence, whenever they are asked about."""
    evidence = {**question.get("evidence", {}), "now": ""}
    text = json.dumps([question["value"], evidence], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _needs(told: Mapping[str, Any], code: Code) -> Needs:
    """Raises PluginFault."""
    if not all(isinstance(told.get(name), list) for name in _NAMES):
        raise PluginFault("returned invalid needs")
    names: dict[str, Any] = {name: frozenset(map(str, told[name])) for name in _NAMES}
    parts: dict[str, Any] = {part: bool(told.get(part)) for part in _PARTS}
    asked = NeedsOfPlugin(**names, **parts, steps=frozenset(map(int, told.get("steps", ()))))
    held = frozenset(map(Target.parse, asked.held))
    return Needs(
        # A history is read of what the run shows of the metric.
        metrics=asked.metrics | asked.histories,
        metric_globs=asked.metric_globs,
        tags=asked.tags,
        model_tags=asked.model_tags,
        params=asked.params,
        # Both tell where the file with the signature lies.
        run=asked.reads_run or asked.signature,
        logged_model=asked.logged_model or asked.signature,
        metrics_of_logged_model=asked.logged_model and bool(asked.metrics),
        registered_model=asked.reads_registered_model,
        run_user=asked.run_user,
        holder=asked.holder,
        histories=frozenset((name, step) for name in asked.histories for step in (None, *asked.steps)),
        held=held,
        held_for=held,
        signature=asked.signature,
        codes=frozenset({code}),
    )
