"""The one list of the kinds of check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.domain.checks.any_of import AnyOfCode
from reconciler.domain.checks.base import Check
from reconciler.domain.checks.commit_message import CommitMessageCheck
from reconciler.domain.checks.compare import CompareCheck
from reconciler.domain.checks.description import DescriptionCheck
from reconciler.domain.checks.documentation import DocumentationCheck
from reconciler.domain.checks.family import FamilyCheck
from reconciler.domain.checks.metric import MetricCheck
from reconciler.domain.checks.requester import RequesterCheck
from reconciler.domain.checks.run import RunCheck
from reconciler.domain.checks.signature import SignatureCheck
from reconciler.domain.checks.stage import StageCheck
from reconciler.domain.checks.tag import TagCheck
from reconciler.domain.checks.window import WindowCheck
from reconciler.domain.codes import AbsenceCode, CommonCode, FindingCode

Kinds = tuple[type[Check], ...]

KINDS: Kinds = (
    MetricCheck,
    CompareCheck,
    FamilyCheck,
    DescriptionCheck,
    DocumentationCheck,
    TagCheck,
    StageCheck,
    RunCheck,
    SignatureCheck,
    RequesterCheck,
    WindowCheck,
    CommitMessageCheck,
)


def every_code(kinds: Sequence[type[Check]] = KINDS) -> Iterator[FindingCode]:
    """All that a check can find: what every kind shares, then what each kind adds."""
    enums: tuple[type[FindingCode], ...] = (CommonCode, AbsenceCode, AnyOfCode, *(kind.codes for kind in kinds))
    for codes in enums:
        yield from codes
