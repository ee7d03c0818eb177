"""What the policy judges by: values as they were read, or a named absence.

Three kinds of answer are kept apart for every fact: a value; `Absent`, a definite "there is none" from the registry,
which is judged; `Unreadable`, "could not tell", which is never judged.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Self, TypeVar

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.answers import Answer, answer_data, answer_of
from reconciler.domain.evidence.code_facts import Code, CodeFacts
from reconciler.domain.evidence.facts import (
    Absent,
    Dataset,
    Fact,
    LeftOut,
    LoggedModelFacts,
    OriginFacts,
    Reading,
    RunFacts,
    Unreadable,
    VersionFacts,
    number,
)
from reconciler.domain.evidence.history_facts import HistoryFacts
from reconciler.domain.evidence.holder_facts import HolderFacts
from reconciler.domain.evidence.model_facts import ModelFacts
from reconciler.domain.evidence.protection_facts import ProtectionFacts
from reconciler.domain.evidence.salted import json_text
from reconciler.domain.evidence.signature_facts import SignatureFacts
from reconciler.domain.evidence.tenure_facts import TenureFacts
from reconciler.domain.evidence.withheld import EXCLUDED, Withheld, without, without_names
from reconciler.domain.target import Target
from reconciler.domain.times import iso, parse_iso

__all__ = [
    "FACTS",
    "FORMAT",
    "Absent",
    "Answer",
    "Code",
    "CodeFacts",
    "Dataset",
    "Evidence",
    "Fact",
    "HistoryFacts",
    "HolderFacts",
    "LeftOut",
    "LoggedModelFacts",
    "ModelFacts",
    "Needs",
    "OriginFacts",
    "ProtectionFacts",
    "Reading",
    "RunFacts",
    "SignatureFacts",
    "TenureFacts",
    "Unreadable",
    "VersionFacts",
    "answer_of",
    "number",
]

# The number of the format that `Evidence.to_json` writes, stored in the JSON.
FORMAT = 1


# So many metrics of one pattern are kept: one more than a family may have.
MOST_OF_A_FAMILY = 1001

# What a fact has by names that people chose, of which `evidence.exclude` keeps some out.
_NAMED = ("tags", "params")

# Every kind of fact that is kept; stored evidence is read by it.
FACTS: tuple[type[Fact], ...] = (
    VersionFacts, RunFacts, LoggedModelFacts, OriginFacts, ModelFacts, HolderFacts, TenureFacts, SignatureFacts,
    CodeFacts, HistoryFacts, ProtectionFacts,
)  # fmt: skip

F = TypeVar("F", bound=Fact)

_NOT_ASKED = Absent(AbsenceCode.NOT_ASKED, "no rule asks for it")


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one request's version when it is judged: an answer by the key of each kind of fact.

    `read_at` is the judge's clock. `excluded`: paths of what was kept out of it, which no check may judge;
    `excluded_names`: globs over names of tags and parameters, of which the same is true.
    """

    read_at: datetime
    answers: Mapping[str, Answer]
    excluded: tuple[str, ...] = ()
    excluded_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, read_at: datetime, answers: Mapping[type[Fact], Answer]) -> Self:
        """Evidence from an answer for each kind of fact that was asked for.

        Raises:
            TypeError: an answer is a fact of another kind.
        """
        for kind, answer in answers.items():
            if not isinstance(answer, (kind, Absent, Unreadable)):
                raise TypeError(f"{type(answer).__name__} is not an answer to {kind.key}")
        return cls(read_at, MappingProxyType({kind.key: answer for kind, answer in answers.items()}))

    def fact(self, kind: type[F]) -> F | Absent | Unreadable:
        """The fact of that kind, or why there is none."""
        answer = self.answers.get(kind.key, _NOT_ASKED)
        assert isinstance(answer, (kind, Absent, Unreadable))  # ensured by `of` and `from_json`
        return answer

    def knowing(self, fact: Fact) -> Self:
        """The same evidence with a fact more, such as one of the request, which is kept elsewhere."""
        return replace(self, answers=MappingProxyType({**self.answers, fact.key: fact}))

    def answering(self, kind: type[Fact], answer: Answer) -> Self:
        """The same evidence with an answer more, or another one.

        Raises:
            TypeError: as `of`.
        """
        own = self.of(self.read_at, {kind: answer}).answers
        return replace(self, answers=MappingProxyType({**self.answers, **own}))

    def judged_by(self, codes: Collection[Code]) -> Self:
        """The same evidence, which names the code that judges it, of checks of plugins; codes that it names stay."""
        named = self.answers.get(CodeFacts.key)
        try:
            known = dict(named.checks) if isinstance(named, CodeFacts) else {}
        except Withheld:
            return self
        new = [code for code in codes if code.check not in known]
        return self.knowing(CodeFacts.of([*known.values(), *new])) if new else self

    def excluding(self, paths: Iterable[str], names: Iterable[str] = ()) -> Self:
        """The same evidence without these fields, and with the note that they were kept out.

        Args:
            names: globs; every tag and parameter with a name that matches.
        """
        excluded, excluded_names = (
            tuple(sorted({*before, *more})) for before, more in ((self.excluded, paths), (self.excluded_names, names))
        )
        if not excluded and not excluded_names:
            return self
        noted = replace(self.withholding(excluded, EXCLUDED), excluded=excluded, excluded_names=excluded_names)
        return noted._without_names() if excluded_names else noted

    def _without_names(self) -> Self:
        answers = {
            key: without_names(answer, key, _NAMED, self.excluded_names) if isinstance(answer, Fact) else answer
            for key, answer in self.answers.items()
        }
        return replace(self, answers=MappingProxyType(answers))

    def withholding(self, paths: Collection[str], why: str) -> Self:
        """The same evidence, in which asking for one of these fields raises `Withheld`."""
        answers = {
            key: without(answer, key, paths, why) if isinstance(answer, Fact) else answer
            for key, answer in self.answers.items()
        }
        return replace(self, answers=MappingProxyType(answers))

    def to_json(self) -> str:
        """ASCII JSON, keys sorted, no blanks. NUL and lone surrogates are escaped, so any database takes it."""
        return json_text(self.to_data())

    def to_data(self) -> dict[str, Any]:
        answers = {key: answer_data(answer) for key, answer in self.answers.items()}
        kept_out = {"excluded": list(self.excluded), "excluded_names": list(self.excluded_names)}
        noted = {key: paths for key, paths in kept_out.items() if paths}
        return {"format": FORMAT, "read_at": iso(self.read_at), **answers, **noted}

    @classmethod
    def from_json(cls, text: str, kinds: Sequence[type[Fact]] = FACTS) -> Self:
        """The inverse of `to_json`: the result is judged to the same verdict.

        Raises:
            ValueError: the evidence is of a format, or holds a kind of fact, that this release does not know.
        """
        return cls.from_data(json.loads(text), kinds)

    @classmethod
    def from_data(cls, data: Mapping[str, Any], kinds: Sequence[type[Fact]] = FACTS) -> Self:
        """As `from_json`, of what it says."""
        data = dict(data)
        # The first releases wrote no number: theirs is the first format.
        number_of_format = data.pop("format", FORMAT)
        if number_of_format != FORMAT:
            raise ValueError(f"evidence of format {number_of_format}: this release reads format {FORMAT} only")
        read_at, excluded = parse_iso(data.pop("read_at")), data.pop("excluded", ())
        excluded_names = data.pop("excluded_names", ())
        by_key = {kind.key: kind for kind in kinds}
        if unknown := sorted(data.keys() - by_key.keys()):
            raise ValueError(f"evidence with {', '.join(unknown)}, which this release does not know")
        answers = {by_key[key]: answer_of(by_key[key], value) for key, value in data.items()}
        return cls.of(read_at, answers).excluding(excluded, excluded_names)


@dataclass(frozen=True, slots=True)
class Needs:
    """What the rules that match a request ask for: it decides what is fetched, and is never left out of what is kept.

    `metrics_of_logged_model`: some of the metrics are read there, so a registry without logged models cannot pass.
    """

    metrics: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    run: bool = False
    logged_model: bool = False
    metrics_of_logged_model: bool = False
    # Of the registered model, which takes a call of its own.
    registered_model: bool = False
    # Globs over metrics of the run, and whether a check asks who ran it.
    metric_globs: frozenset[str] = frozenset()
    run_user: bool = False
    model_tags: frozenset[str] = frozenset()
    # What holds the target, with the same metrics, to compare with.
    holder: bool = False
    # Metrics of the run whose history is asked for, each at a step; None: the best.
    histories: frozenset[tuple[str, int | None]] = frozenset()
    # Parameters of the run.
    params: frozenset[str] = frozenset()
    # The code that judges, of checks of plugins.
    codes: frozenset[Code] = frozenset()
    # Stages and aliases of which a check asks whether the version holds them, and of these for how long.
    held: frozenset[Target] = frozenset()
    held_for: frozenset[Target] = frozenset()
    # The model's input and output schema, which takes a call of its own.
    signature: bool = False
    # Paths of what a rule asks for, and the configuration keeps out of the evidence.
    excluded: frozenset[str] = frozenset()

    def metrics_among(self, names: Iterable[str]) -> frozenset[str]:
        """Those of the run's metrics that checks ask for: of a family as many as tell that it is too large."""
        ordered = sorted(names)
        families = (
            itertools.islice((name for name in ordered if fnmatchcase(name, glob)), MOST_OF_A_FAMILY)
            for glob in self.metric_globs
        )
        return self.metrics.union(*families)

    def without_tags(self, unwanted: Callable[[str], bool]) -> Needs:
        """The same needs, but for tags that are kept out of the evidence."""
        out, out_of_model = (frozenset(filter(unwanted, names)) for names in (self.tags, self.model_tags))
        if not out and not out_of_model:
            return self
        excluded = {f"{VersionFacts.key}.tags.{name}" for name in out}
        excluded |= {f"{ModelFacts.key}.tags.{name}" for name in out_of_model}
        left = replace(self, tags=self.tags - out, model_tags=self.model_tags - out_of_model)
        return replace(left, excluded=self.excluded | excluded)

    @classmethod
    def together(cls, many: Iterable[Needs]) -> Needs:
        """All that any of them asks for."""
        needs = tuple(many)
        values: dict[str, Any] = {}
        for member in fields(cls):
            each = [getattr(need, member.name) for need in needs]
            values[member.name] = any(each) if isinstance(member.default, bool) else frozenset().union(*each)
        return cls(**values)
