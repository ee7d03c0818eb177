"""What a check of your own is: evidence in, finding out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from reconciler.plugins.evidence import Evidence

T = TypeVar("T")


class Mistake(ValueError):
    """What stands in the policy is not what the check takes. The message says what it takes, in one line."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a check looks at: it is read from the registry, kept with each decision, and nothing else is shown.

    Args:
        metrics: of the run, the logged model and what holds the target, by name.
        metric_globs: metrics of the run, by globs such as `recall_group_*`.
        tags: of the version. model_tags: of the registered model.
        params: of the run.
        run, logged_model, registered_model: they are looked at, even if nothing that has a name is.
        run_user: who the run says ran it.
        holder: what holds the requested target now, with the same metrics.
        histories: metrics of the run of which the highest, the lowest and the last value are looked at.
        steps: at each of these steps their value, too.
        held: stages, and aliases with @: whether the version holds them, and since when looks of the daemon saw it.
        signature: the model's input and output schema.
    """

    metrics: frozenset[str] = field(default_factory=frozenset)
    metric_globs: frozenset[str] = field(default_factory=frozenset)
    tags: frozenset[str] = field(default_factory=frozenset)
    model_tags: frozenset[str] = field(default_factory=frozenset)
    params: frozenset[str] = field(default_factory=frozenset)
    run: bool = False
    logged_model: bool = False
    registered_model: bool = False
    run_user: bool = False
    holder: bool = False
    histories: frozenset[str] = field(default_factory=frozenset)
    steps: frozenset[int] = field(default_factory=frozenset)
    held: frozenset[str] = field(default_factory=frozenset)
    signature: bool = False

    @property
    def reads_run(self) -> bool:
        """Where names are asked for, so is what has them."""
        return self.run or self.run_user or bool(self.metrics or self.metric_globs or self.params or self.histories)

    @property
    def reads_registered_model(self) -> bool:
        return self.registered_model or bool(self.model_tags)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. Make one with `passed`, `failed` or `missing`.

    Attributes:
        code: one of the check's `codes`; "" passes.
        observed: what was seen, for people: `212 ms`.
        number: the same as a number, where it is one.
        source: where it was read: `run 7f3c…`.
        missing: a value may still come: `grace` and `on_missing` of the policy apply.
    """

    code: str
    observed: str
    number: float | None = None
    source: str = ""
    missing: bool = False


def passed(observed: str, *, number: float | None = None, source: str = "") -> Finding:
    return Finding("", observed, number, source)


def failed(code: str, observed: str, *, number: float | None = None, source: str = "") -> Finding:
    return Finding(_said(code), observed, number, source)


def missing(code: str, observed: str, *, source: str = "") -> Finding:
    """A value is not there, and may still come."""
    return Finding(_said(code), observed, None, source, missing=True)


def _said(code: str) -> str:
    """Without a code it would pass. Raises ValueError."""
    if not code:
        raise ValueError("what does not pass needs one of the check's codes")
    return code


class Check(ABC, Generic[T]):
    """A check of your own, behind the entry-point group `mlflow_reconciler.checks`. It is made once, without arguments.

    `judge` is pure: the same terms and the same evidence find the same, today and in five years. It opens no file, asks
    nobody, and knows no time but `evidence.now`. T: what `parse` makes of what stands in the policy.

    Attributes:
        name: its key in a policy, and the name of its entry point: small letters, digits and _.
        codes: what it can find, beside "passed": each code with a sentence that says what it means.
        remedy: what whoever asks can do where it does not pass, as `log latency_p99_ms on the run`.
        of: what it can be asked about: "model", "prompt".
        schema: the JSON Schema of what stands in the policy, for editors.
    """

    name: ClassVar[str]
    codes: ClassVar[Mapping[str, str]] = {}
    remedy: ClassVar[str] = ""
    of: ClassVar[frozenset[str]] = frozenset({"model"})
    schema: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def parse(self, value: object) -> T:
        """The terms that stand behind the check's key, as JSON has them; dates come as text. Raises Mistake."""

    def title(self, terms: T) -> str:
        """What is checked, for people; two checks of one title in one rule need ids."""
        return self.name

    @abstractmethod
    def expected(self, terms: T) -> str:
        """What passes, for people: `at most 250 ms`."""

    @abstractmethod
    def needs(self, terms: T) -> Needs:
        """What must be read to judge it."""

    def doubts(self, terms: T) -> Iterable[str]:
        """What `policy validate` warns about, such as a limit that nothing can meet."""
        return ()

    @abstractmethod
    def judge(self, terms: T, evidence: Evidence) -> Finding:
        """What the evidence says. Whatever it raises is an abstention, but `Absent`, which is a definite answer."""
