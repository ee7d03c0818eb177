"""What a kind of check is made of.

A new kind is one file beside this one, with a subclass of `Check` and an enum of its codes, and its name in `kinds.py`.
The policy's grammar, its JSON Schema, the hints for mistyped keys and the reference in docs/policy.md follow from that.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence.evidence import Absent, Evidence, Needs, Unreadable
from reconciler.domain.fields import DurationField, IdField, TextField, Value


class OnMissing(StrEnum):
    REJECT = "reject"
    ABSTAIN = "abstain"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. The code "ok" passes; `missing` and `unreadable` are kept apart from a failure.

    `guard`: who may change the tag that it rests on, for people; "" where it rests on none.
    """

    code: FindingCode
    observed: str
    number: float | None = None
    source: str = ""
    missing: bool = False
    unreadable: bool = False
    guard: str = ""


def nothing_to_judge(fact: Absent | Unreadable) -> Finding:
    """The finding of every check that needs a fact which is absent, or could not be read."""
    if isinstance(fact, Unreadable):
        return Finding(CommonCode.UNREADABLE, fact.detail, unreadable=True)
    return Finding(fact.code, fact.detail, missing=True)


class Requirement(Value):
    """What a rule may require: one check, or alternatives of which one has to pass. All of them have these keys."""

    # What whoever asks can do where it does not pass.
    remedy: ClassVar[str] = ""

    id: IdField | None = Field(
        None,
        description="Its name, unique in its rule. Needed where two are about the same thing; else its name is what "
        "`explain` shows, such as `metric auc`.",
        examples=["auc"],
    )
    level: Literal["hard", "advisory"] = Field(
        "hard", description="`advisory`: reported and recorded, but never decides."
    )
    overridable: bool = Field(
        False, strict=True, description="Checks of other rules may replace it, for their own models. Needs an `id`."
    )
    overrides: tuple[TextField, ...] = Field(
        (), description="The `rule/id` of each overridable check that this one replaces, where its own rule matches."
    )
    why: TextField | None = Field(
        None, max_length=300, description="The reason for the check, such as a paragraph of a standard."
    )
    help: TextField | None = Field(None, max_length=300, description="Where to read what to do, such as an address.")

    @property
    def name(self) -> str:
        """How overrides and reports name it in its rule."""
        return self.id or self.title

    @property
    @abstractmethod
    def title(self) -> str:
        """What is checked, for people: `metric validation_accuracy`."""

    @property
    @abstractmethod
    def expected(self) -> str:
        """What passes, for people: `at least 0.9`."""

    @abstractmethod
    def needs(self) -> Needs:
        """What must be read to judge it."""

    def doubts(self) -> Iterator[str]:
        """What `policy validate` warns about, such as a condition that can never hold."""
        yield from ()


class Check(Requirement):
    """One condition of a rule. The fields of a subclass are its keys in the policy; one is named after the kind.

    The docstring of a subclass is one sentence that says what the check asks; `notes` are the paragraphs about it in
    docs/policy.md, and `example` is how one may look there. Its `codes` are all that it finds, beside those that every
    kind shares. `of`: what it can be asked about, models or prompts. `of_holders`: it also says something about what
    holds the target already, and not only whether a version may take it.
    """

    kind: ClassVar[str]
    codes: ClassVar[type[FindingCode]]
    example: ClassVar[str]
    notes: ClassVar[str] = ""
    of: ClassVar[frozenset[str]] = frozenset({"model"})
    of_holders: ClassVar[bool] = True

    on_missing: OnMissing = Field(OnMissing.REJECT, description="What to do if the value is certainly missing.")
    grace: DurationField = Field(
        timedelta(0),
        description="How long after the request a missing value may still arrive before the check rejects.",
    )

    def says_of_holders(self) -> bool:
        """As `of_holders`, of this check."""
        return self.of_holders

    @abstractmethod
    def find(self, evidence: Evidence, now: datetime) -> Finding:
        """What the evidence says, before `grace` and `on_missing`. Pure: the same arguments find the same."""
