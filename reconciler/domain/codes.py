"""The codes that machines read, in the audit database, in JSON and in logs.

A code never changes; its meaning is for people. Each kind of check adds codes of its own, beside its rules:
`reconciler.domain.checks.kinds.every_code` has them all.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class _Explained(StrEnum):
    """A code with the sentence that the documents show for it."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    @classmethod
    def of(cls, code: str) -> Self:
        """Raises ValueError on any other text."""
        for member in cls:
            if member == code:
                return member
        raise ValueError(f"{code!r} is not a code of this release")


class ReasonCode(_Explained):
    """Why a verdict is what it is."""

    ALL_CHECKS_PASSED = "all_checks_passed", "approve: every check of every matching rule passed"
    CHECKS_FAILED = "checks_failed", "reject: at least one check failed, whatever the others would say"
    NO_POLICY = "no_policy", "abstain: no rule covers this model and target"
    UNREADABLE = (
        "unreadable",
        "abstain: something could not be read, or a check of your own failed; it is tried again",
    )
    WAITING = "waiting", "abstain: a value is missing, but its `grace` is not over"
    WITHHELD = "withheld", "abstain: a value was kept out by `evidence.exclude`, or redacted"
    UNDETERMINED = "undetermined", "abstain: the registry does not show what a check asks for"
    OUTSIDE_WINDOW = (
        "outside_window",
        "abstain: all else may pass, but the window is closed; the reason says until when",
    )
    HELD_TOO_SHORT = (
        "held_too_short",
        "abstain: all else may pass, but the version must hold its stage for longer; the reason says until when",
    )
    NOT_OBSERVED = (
        "not_observed",
        "abstain: the audit database does not say since when the version holds its stage; the reason says what to do",
    )
    ONLY_ADVISORY = (
        "only_advisory",
        "abstain: no matching check decides; the reason says what they found",
    )
    CONFLICTING_RULES = "conflicting_rules", "abstain: all pass, but matching rules disagree on `archive_existing`"
    MISSING = "missing", "abstain: a value is missing, and its check says `on_missing: abstain`"


# Why a request is left alone: every code that neither approves nor rejects.
ABSTENTIONS = tuple(code for code in ReasonCode if code not in {ReasonCode.ALL_CHECKS_PASSED, ReasonCode.CHECKS_FAILED})


class FindingCode(_Explained):
    """What a check found. The members are in the classes below, and beside each kind of check."""


class CommonCode(FindingCode):
    """What every kind of check can find."""

    OK = "ok", "passed"
    UNREADABLE = "unreadable", "could not be read: an abstention, tried again"
    WAITING = "waiting", "missing, but `grace` is not over: an abstention"
    WITHHELD = "withheld", "kept out of the evidence by `evidence.exclude`, or redacted: an abstention"
    UNDETERMINED = "undetermined", "the registry does not show what the check asks for: an abstention"
    HOLDER_UNAPPROVED = (
        "holder_unapproved",
        "nothing shows that the holder of the target was approved, so it is no baseline: an abstention",
    )
    HELD_TOO_SHORT = "held_too_short", "it has held a stage or alias for less than `held_for`: an abstention"
    NOT_OBSERVED = (
        "not_observed",
        "no look, or none within `seen_within`, has seen it at the stage or alias: an abstention",
    )
    OUTSIDE_WINDOW = "outside_window", "outside the hours of `window`, or in a freeze: an abstention"
    CHECK_ERROR = (
        "check_error",
        "a check of your own raised an error, took too long or gave no answer: an abstention, tried again",
    )


class AbsenceCode(FindingCode):
    """Why the registry has nothing to judge."""

    VERSION_MISSING = "version_missing", "the registry no longer has this version"
    NO_RUN = "no_run", "the version names no run"
    RUN_NOT_FOUND = "run_not_found", "the version names a run that does not exist"
    NO_LOGGED_MODEL = "no_logged_model", "the version was not made from a logged model"
    LOGGED_MODEL_GONE = "logged_model_gone", "the version was made from a logged model that is deleted"
    ORIGIN_GONE = "origin_gone", "the version is a copy of one that is deleted or renamed"
    ORIGIN_REPLACED = "origin_replaced", "the version is a copy, and its original now has another model"
    ORIGIN_UNCLEAR = "origin_unclear", "the version's `models:` source names neither a logged model nor a version"
    COPIES_TOO_DEEP = "copies_too_deep", "the version is a copy of a copy, more than 5 deep"
    NO_MODEL_FILE = "no_model_file", "there is no file `MLmodel` where the version's files lie"
    NO_HOLDER = "no_holder", "nothing else holds the requested target"
    NOT_ASKED = "not_asked", "no rule asks for it, so it was not read"


# The version names what it was made from, and that cannot be followed to its end.
BROKEN_LINEAGE = frozenset(
    {
        AbsenceCode.LOGGED_MODEL_GONE,
        AbsenceCode.ORIGIN_GONE,
        AbsenceCode.ORIGIN_REPLACED,
        AbsenceCode.ORIGIN_UNCLEAR,
        AbsenceCode.COPIES_TOO_DEEP,
    }
)
