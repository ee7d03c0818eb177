"""A decision as it was recorded, held against the verdict that comes of judging it again.

Texts for people are not compared, since a later release may word them otherwise; what they are made of is. What cannot
be judged any more, because a value was redacted, neither agrees nor differs: nobody can tell.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from reconciler.domain.codes import CommonCode
from reconciler.domain.engines.evaluate import COMBINED
from reconciler.domain.text import visible
from reconciler.domain.verdict import CheckResult, Result, Role, Verdict

# A check by its rule, its name, whether it is a part of alternatives, and which of several of that name it is.
_Key = tuple[str, str, bool, int]
_NOTHING = ""


class Agreement(StrEnum):
    AGREES = "agrees"
    DIFFERS = "differs"
    UNKNOWN = "unknown"  # it cannot be judged again, or not all of it


class RecordedCheck(NamedTuple):
    """A check of a decision as its row has it."""

    rule: str
    check: str
    result: str
    code: str
    number: float | None = None
    role: str = Role.DECIDES
    id: str = ""

    @property
    def name(self) -> str:
        return f"{self.rule}/{self.id or self.check}"

    @classmethod
    def of(cls, check: CheckResult) -> RecordedCheck:
        role, id = str(check.role), check.id
        return cls(check.rule, check.check, str(check.result), str(check.code), check.observed_number, role, id)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision as its rows have it."""

    engine: int
    verdict: str
    reason_code: str
    rule: str
    archive_existing: bool
    checks: Sequence[RecordedCheck]


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """What is not as it was recorded, or cannot be told. `check`: `rule/id`, or "" of the decision as a whole.

    `what`: what of it, such as `result`; `recorded` and `again` are its two values, `why` says more.
    """

    kind: Agreement
    what: str
    check: str = ""
    recorded: str = ""
    again: str = ""
    why: str = ""


def overall(found: Sequence[Discrepancy]) -> Agreement:
    kinds = {one.kind for one in found}
    return next((kind for kind in (Agreement.DIFFERS, Agreement.UNKNOWN) if kind in kinds), Agreement.AGREES)


def compared(recorded: Recorded, again: Verdict) -> list[Discrepancy]:
    """What differs, and what cannot be told; nothing where the decision comes out as it was recorded."""
    found = list(_of_checks(recorded.checks, again.checks))
    if any(one.kind is Agreement.UNKNOWN for one in found):
        # What is left of the verdict cannot be compared as a whole: the recorded checks must give the recorded one.
        return found + list(by_recorded_checks(recorded))
    values = (
        ("verdict", recorded.verdict, str(again.kind)),
        ("reason_code", recorded.reason_code, str(again.reason_code)),
        ("rule", recorded.rule, visible(again.rule)),
        ("archive_existing", recorded.archive_existing, again.archive_existing),
    )
    return found + [_differs(what, "", one, other) for what, one, other in values if one != other]


def by_recorded_checks(recorded: Recorded) -> Iterator[Discrepancy]:
    """Where the recorded checks give another verdict than the recorded one."""
    combine = COMBINED.get(recorded.engine)
    checks = [as_judged(one.result, one.code, one.role) for one in recorded.checks]
    if combine is None or None in checks:
        return
    kind, code = combine([check for check in checks if check is not None])
    if (recorded.verdict, recorded.reason_code) != (kind, code):
        given = "what its recorded checks give"
        yield Discrepancy(Agreement.DIFFERS, "verdict", "", recorded.verdict, str(kind), given)


class AsJudged(NamedTuple):
    """What a verdict is made of, of a check as it was recorded."""

    result: Result
    code: str
    role: Role


def as_judged(result: str, code: str, role: str | None) -> AsJudged | None:
    """None where it has a result or a role that no check has. `role` None: it decides."""
    if result not in set(Result) or role not in {None, *Role}:
        return None
    return AsJudged(Result(result), code, Role(role or Role.DECIDES))


# --- checks --------------------------------------------------------------------------------------------------


def _of_checks(recorded: Sequence[RecordedCheck], again: Sequence[CheckResult]) -> Iterator[Discrepancy]:
    if len(recorded) == len(again) and all(map(_same, recorded, again)):
        return
    before, after = _by_key(recorded), _by_key(again)
    hidden = _Hidden.of(again, before)
    for key, old in before.items():
        if key in after:
            yield from _of_a_check(old, after[key], hidden)
        elif old.rule in hidden.rules:
            why = hidden.rules[old.rule]
            yield Discrepancy(Agreement.UNKNOWN, "result", old.name, old.result, str(Result.UNKNOWN), why)
        else:
            yield _differs("check", old.name, old.result, "is not judged")
    for key, new in after.items():
        if key not in before and new.rule not in hidden.rules:
            yield _differs("check", new.name, "is not recorded", str(new.result))


def _same(old: RecordedCheck, new: CheckResult) -> bool:
    """Of most checks there is nothing to be told."""
    return old == (
        new.rule, new.check, new.result, new.code, _number(new.observed_number), new.role, new.id
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Hidden:
    """What could not be judged again for want of values. `rules`: whether they apply, with why; `wholes`: of parts."""

    rules: dict[str, str]
    wholes: frozenset[int]

    @classmethod
    def of(cls, again: Sequence[CheckResult], before: dict[_Key, RecordedCheck]) -> _Hidden:
        keyed = _by_key(again)
        rules = {new.rule: new.observed for key, new in keyed.items() if is_withheld(new) and key not in before}
        whole, wholes = 0, set()
        for at, check in enumerate(again):
            if check.role is not Role.PART:
                whole = at
            elif is_withheld(check):
                wholes.add(id(again[whole]))
        return cls(rules, frozenset(wholes))

    def hides(self, check: CheckResult) -> bool:
        return check.result is Result.UNKNOWN and (is_withheld(check) or id(check) in self.wholes)


def is_withheld(check: CheckResult) -> bool:
    """Whether nobody can tell what it would find: a value is gone, or the code of a plugin is another or fails."""
    return check.result is Result.UNKNOWN and check.code in {CommonCode.WITHHELD, CommonCode.CHECK_ERROR}


def _of_a_check(old: RecordedCheck, new: CheckResult, hidden: _Hidden) -> Iterator[Discrepancy]:
    # What a plugin failed to tell then says nothing of what it tells today.
    untold = hidden.hides(new) or old.code == CommonCode.CHECK_ERROR
    if (old.result, old.code) != (new.result, new.code) and untold:
        yield Discrepancy(Agreement.UNKNOWN, "result", old.name, old.result, str(new.result), new.observed)
        return
    values = (
        ("result", old.result, str(new.result)),
        ("code", old.code, str(new.code)),
        ("observed_number", _number(old.number), _number(new.observed_number)),
    )
    yield from (_differs(what, old.name, one, other) for what, one, other in values if one != other)
    if old.role != new.role:
        # Where it cannot be told whether a rule applies, nor can it whether it stands in for another's check.
        why = next(iter(hidden.rules.values()), "")
        kind = Agreement.UNKNOWN if hidden.rules else Agreement.DIFFERS
        yield Discrepancy(kind, "role", old.name, old.role, str(new.role), why)


def _by_key(checks: Sequence[Any]) -> dict[_Key, Any]:
    seen: dict[tuple[str, str, bool], int] = defaultdict(int)
    keyed = {}
    for check in checks:
        key = (check.rule, check.id or check.check, check.role == Role.PART)
        keyed[*key, seen[key]] = check
        seen[key] += 1
    return keyed


def _differs(what: str, check: str, recorded: object, again: object) -> Discrepancy:
    return Discrepancy(Agreement.DIFFERS, what, check, _text(recorded), _text(again))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _NOTHING if value is None else str(value)


def _number(value: float | None) -> float | None:
    """No database keeps what is no number."""
    return None if value is None or math.isnan(value) else value
