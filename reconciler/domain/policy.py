"""The policy as values: rules, and the checks they require."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Any, Literal

import re2
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from reconciler.domain.evidence import Needs
from reconciler.domain.request import Request
from reconciler.domain.target import Target
from reconciler.domain.times import duration_text, parse_duration

# Metrics that are shares of one: a value outside [0, 1] is not a good model but a broken measurement.
_SHARES = frozenset({"accuracy", "precision", "recall", "auc", "f1"})
_WORD = re.compile(r"[a-z]+[0-9]*")


def _to_target(value: Any) -> Any:
    return value if isinstance(value, Target) else Target.parse(_text(value))


def _to_duration(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float | timedelta):
        raise ValueError(f"{value!r} is not a duration: use for example 90s, 10m or 30d")
    return value if isinstance(value, timedelta) else parse_duration(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text: put it in quotes")
    return value


TargetField = Annotated[
    Target,
    BeforeValidator(_to_target),
    PlainSerializer(str),
    WithJsonSchema(
        {
            "type": "string",
            "description": "A stage, or an alias with @.",
            "examples": ["Production", "@champion"],
            "pattern": r"^(@[\w\-]{1,255}|[Nn]one|[Ss]taging|[Pp]roduction|[Aa]rchived)$",
        }
    ),
]
DurationField = Annotated[
    timedelta,
    BeforeValidator(_to_duration),
    PlainSerializer(duration_text),
    WithJsonSchema(
        {"type": ["string", "number"], "description": "Seconds, or 90s, 10m, 1h30m, 30d.", "examples": ["10m"]}
    ),
]
TextField = Annotated[str, BeforeValidator(_text)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OnMissing(StrEnum):
    REJECT = "reject"
    ABSTAIN = "abstain"


class _Check(_Value):
    on_missing: OnMissing = Field(OnMissing.REJECT, description="What a definite absence means.")
    grace: DurationField = Field(
        timedelta(0), description="How long after the request a missing value may still come before it rejects."
    )


class MetricCheck(_Check):
    """A metric within limits."""

    metric: TextField = Field(min_length=1, description="The metric's key.", examples=["validation_accuracy"])
    min: float | None = Field(None, strict=True, description="The least that passes.")
    max: float | None = Field(None, strict=True, description="The most that passes.")
    source: Literal["run", "logged_model"] = Field("run", description="Where the metric is read.")
    dataset: TextField | None = Field(None, description="Name of the dataset (logged_model only).")
    bounds: tuple[float, float] | None = Field(
        None,
        description="Values outside are broken, not good. Default [0, 1] for accuracy, precision, recall, auc, f1.",
    )
    allow_zero: bool = Field(False, description="Accept 0.0 from a logged model, where MLflow serves NaN as 0.0.")

    @model_validator(mode="before")
    @classmethod
    def _default_bounds(cls, data: Any) -> Any:
        if isinstance(data, dict) and "bounds" not in data and isinstance(data.get("metric"), str):
            words = set(_WORD.findall(data["metric"].lower()))
            return {**data, "bounds": (0.0, 1.0)} if words & _SHARES else data
        return data

    @model_validator(mode="after")
    def _sensible(self) -> MetricCheck:
        if self.min is None and self.max is None:
            raise ValueError("says neither min nor max: give at least one")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is larger than max {self.max:g}")
        if self.bounds is not None and self.bounds[0] > self.bounds[1]:
            raise ValueError(f"bounds {list(self.bounds)} begin above their end")
        if self.source == "run" and (self.dataset is not None or self.allow_zero):
            raise ValueError("dataset and allow_zero need source: logged_model, a run does not keep them")
        return self

    @property
    def title(self) -> str:
        return f"metric {self.metric}"

    @property
    def expected(self) -> str:
        if self.min is not None and self.max is not None:
            return f"between {self.min:g} and {self.max:g}"
        return f"at least {self.min:g}" if self.min is not None else f"at most {self.max:g}"

    @property
    def never_passes(self) -> str | None:
        low, high = self.bounds or (-math.inf, math.inf)
        if self.min is not None and self.min > high:
            return f"min {self.min:g} lies above the upper bound {high:g}"
        if self.max is not None and self.max < low:
            return f"max {self.max:g} lies below the lower bound {low:g}"
        return None


class DescriptionTerms(_Value):
    min_length: int = Field(1, ge=1, strict=True, description="Characters, not counting blanks around the text.")


class DescriptionCheck(_Check):
    """The version has a description."""

    description: DescriptionTerms

    @property
    def title(self) -> str:
        return "description"

    @property
    def expected(self) -> str:
        return f"at least {self.description.min_length} characters"


class TagCheck(_Check):
    """A tag of the version is there, or says something."""

    tag: TextField = Field(min_length=1, description="The tag's key.", examples=["validation.status"])
    present: Literal[True] = Field(True, description="The tag is there, whatever it says.")
    equals: TextField | None = None
    one_of: tuple[TextField, ...] | None = Field(None, min_length=1)
    matches: TextField | None = Field(None, description="A regular expression (RE2) for the whole value.")

    @field_validator("matches")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            compiled(pattern)
        return pattern

    @model_validator(mode="after")
    def _one_condition(self) -> TagCheck:
        if sum(one is not None for one in (self.equals, self.one_of, self.matches)) > 1:
            raise ValueError("equals, one_of and matches exclude each other: use one, or several checks")
        return self

    @property
    def title(self) -> str:
        return f"tag {self.tag}"

    @property
    def expected(self) -> str:
        if self.equals is not None:
            return f"{self.equals!r}"
        if self.one_of is not None:
            return "one of " + ", ".join(f"{value!r}" for value in self.one_of)
        return f"a match of {self.matches!r}" if self.matches is not None else "present"


class RunTerms(_Value):
    finished: bool = Field(True, strict=True)
    not_deleted: bool = Field(True, strict=True)
    max_age: DurationField | None = Field(None, description="Since the run's end.")
    linked: bool = Field(False, strict=True, description="The version must provably come from this run.")


class RunCheck(_Check):
    """The run behind the version is fit to be relied on."""

    run: RunTerms

    @property
    def title(self) -> str:
        return "run"

    @property
    def expected(self) -> str:
        terms = self.run
        words = ["finished"] * terms.finished + ["not deleted"] * terms.not_deleted
        words += [f"ended within {duration_text(terms.max_age)}"] if terms.max_age is not None else []
        return ", ".join(words + ["linked to the version"] * terms.linked) or "there"


CHECK_KINDS = ("metric", "description", "tag", "run")


def _kind(value: Any) -> str | None:
    if isinstance(value, BaseModel):
        return type(value).__name__.removesuffix("Check").lower()
    kinds = [kind for kind in CHECK_KINDS if isinstance(value, dict) and kind in value]
    return kinds[0] if len(kinds) == 1 else None


Check = Annotated[
    Annotated[MetricCheck, Tag("metric")]
    | Annotated[DescriptionCheck, Tag("description")]
    | Annotated[TagCheck, Tag("tag")]
    | Annotated[RunCheck, Tag("run")],
    Discriminator(
        _kind,
        custom_error_type="check_kind",
        custom_error_message="is not a check: give exactly one of metric, description, tag, run",
    ),
]


class Rule(_Value):
    """What must hold for these models to go to these targets."""

    name: TextField = Field(min_length=1, max_length=200, description="Shown with every reason.")
    models: tuple[TextField, ...] = Field(("*",), min_length=1, description="Globs over registered model names.")
    targets: tuple[TargetField, ...] = Field(min_length=1)
    archive_existing: bool = Field(
        False, strict=True, description="Archive the other versions of the stage on approval (stages only)."
    )
    require: tuple[Check, ...] = Field(min_length=1, description="All of these must pass.")

    def matches(self, model: str, target: Target) -> bool:
        return target in self.targets and any(fnmatchcase(model, glob) for glob in self.models)


@dataclass(frozen=True, slots=True)
class Scope:
    """What is looked for: models (as globs) and the targets that somebody may ask for them.

    `governed`: a policy governs just that, so that what lies outside is decided by nobody.
    """

    parts: tuple[tuple[tuple[str, ...], frozenset[Target]], ...]
    governed: bool = False

    @classmethod
    def of_all_models(cls, targets: Iterable[Target]) -> Scope:
        return cls(((("*",), frozenset(targets)),))

    @property
    def targets(self) -> frozenset[Target]:
        return frozenset(target for _, targets in self.parts for target in targets)

    def targets_of(self, model: str) -> frozenset[Target]:
        """Empty for a model that nothing is looked for."""
        matching = [targets for globs, targets in self.parts if any(fnmatchcase(model, glob) for glob in globs)]
        return frozenset(target for targets in matching for target in targets)


class Policy(_Value):
    """The rules of a registry. Every rule that matches a request must pass."""

    version: Literal[1]
    rules: tuple[Rule, ...] = Field(min_length=1)

    @cached_property
    def _targets(self) -> frozenset[Target]:
        return frozenset(target for rule in self.rules for target in rule.targets)

    def governed_targets(self) -> frozenset[Target]:
        return self._targets

    def scope(self) -> Scope:
        return Scope(tuple((rule.models, frozenset(rule.targets)) for rule in self.rules), governed=True)

    def rules_for(self, request: Request) -> tuple[Rule, ...]:
        """Those that cover a request. None covers a prompt, which MLflow keeps like a model: people decide there."""
        if request.is_prompt:
            return ()
        return tuple(rule for rule in self.rules if rule.matches(request.model, request.target))

    def needs(self, request: Request) -> Needs:
        """What must be read to judge this; the logged model tells whether a run is really the version's."""
        return _needs(self.rules_for(request))

    def reads_logged_models(self) -> bool:
        """Whether some check reads its metric from the logged model, and not from the run."""
        checks = (check for rule in self.rules for check in rule.require)
        return any(isinstance(check, MetricCheck) and check.source == "logged_model" for check in checks)

    def all_needs(self) -> Needs:
        """What must be read to judge whatever may be asked."""
        return _needs(self.rules)


def _needs(rules: Iterable[Rule]) -> Needs:
    checks = [check for rule in rules for check in rule.require]
    measured = any(isinstance(check, MetricCheck | RunCheck) for check in checks)
    return Needs(
        metrics=frozenset(check.metric for check in checks if isinstance(check, MetricCheck)),
        tags=frozenset(check.tag for check in checks if isinstance(check, TagCheck)),
        run=measured,
        logged_model=measured,
    )


def compiled(pattern: str) -> Any:
    """An RE2 expression: it takes linear time, whatever a hostile value looks like.

    Raises:
        ValueError: not an expression of RE2.
    """
    try:
        return re2.compile(pattern)
    except re2.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression of RE2: {error}") from None
