"""Testing a policy by its cases: nothing is asked of a registry, and nothing is recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from reconciler.domain.codes import ReasonCode
from reconciler.domain.engines.current import ENGINE
from reconciler.domain.engines.evaluate import ENGINES
from reconciler.domain.evidence.captured import as_captured
from reconciler.domain.evidence.evidence import Evidence, Needs
from reconciler.domain.evidence.redacted import evidence_shown
from reconciler.domain.mistakes import typed_and_wrong
from reconciler.domain.policy import Policy
from reconciler.domain.request import Request
from reconciler.domain.text import quoted
from reconciler.domain.verdict import Role, Verdict
from reconciler.policy.cases import Case, Cases, Expected
from reconciler.policy.marks import Marks, compose
from reconciler.policy.problems import PolicyError, Problem
from reconciler.policy.validating import Wrong, validated

# A case that names no time is judged then, so that it says the same tomorrow.
_THEN = datetime(2026, 1, 1, tzinfo=UTC)
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Tested:
    """A case, and what is wrong with what came of it; nothing where it passes. `seconds`: how long it was judged."""

    name: str
    failures: tuple[str, ...]
    rules: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)


def read_cases(path: Path) -> tuple[Cases, Mapping[str, Mapping[str, Any]]]:
    """The cases of a file, and the decisions that it names, by id.

    Raises:
        PolicyError: a file cannot be read, or is not what it is to be; with every problem.
    """
    if not path.exists():
        told = "there are no cases: write them into this file, or name another one with --cases"
        raise PolicyError(str(path), [Problem(None, None, "", told)])
    text = _text_of(path)
    root = compose(text, str(path))
    if root is None:
        raise PolicyError(str(path), [Problem(1, 1, "", "there are no cases: start with `cases:`")])
    marks = Marks(root)
    if not marks.whole:
        raise PolicyError(str(path), marks.problems)
    found = validated(marks.data, [Cases], _place, broken=marks.broken)
    problems = [*marks.problems, *(_problem(marks, wrong) for wrong in found.wrong)]
    if problems or found.value is None:
        raise PolicyError(str(path), sorted(problems, key=lambda one: (one.line or 0, one.column or 0)))
    return found.value, _decisions(path.parent / found.value.decisions) if found.value.decisions else {}


def _place(location: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Without the names of alternatives, such as `Expected`, which are not in the text."""
    return tuple(part for part in location if isinstance(part, int) or part.islower())


def _problem(marks: Marks, wrong: Wrong) -> Problem:
    at_key = wrong.kind == "extra_forbidden"
    told = "unknown key" if at_key else wrong.message or typed_and_wrong(wrong.error)
    return marks.problem(wrong.at, told, at_key=at_key)


def _text_of(path: Path) -> str:
    try:
        raw = path.read_bytes()[: _MAX_BYTES + 1]
        if len(raw) > _MAX_BYTES:
            raise PolicyError(str(path), [Problem(None, None, "", "the file is larger than 64 MiB")])
        return raw.decode("utf-8")
    except OSError as error:
        raise PolicyError(str(path), [Problem(None, None, "", f"cannot read the file: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise PolicyError(str(path), [Problem(None, None, "", "the file is not UTF-8")]) from None


def _decisions(path: Path) -> dict[str, Mapping[str, Any]]:
    message = "not a decision, or a list of them, as `audit show ID --format json` prints it"
    try:
        data = json.loads(_text_of(path))
        rows = data if isinstance(data, list) else [data]
        return {str(row["decision_id"]): row for row in rows}
    except (ValueError, TypeError, KeyError, RecursionError):
        raise PolicyError(str(path), [Problem(None, None, "", message)]) from None


def outcomes_of(policy: Policy, cases: Cases, decisions: Mapping[str, Mapping[str, Any]]) -> list[Tested]:
    """Every case, in the order of the file."""
    known = {f"{rule.name}/{required.name}" for rule in policy.rules for required in rule.require}
    results = []
    for case in cases.cases:
        begun = perf_counter()
        one = _tested(policy, case, decisions, known)
        results.append(replace(one, seconds=perf_counter() - begun))
    return results


def untouched(policy: Policy, results: Sequence[Tested]) -> list[str]:
    """The rules that no case matches."""
    touched = {rule for one in results for rule in one.rules}
    return [rule.name for rule in policy.rules if rule.name not in touched]


def _tested(policy: Policy, case: Case, decisions: Mapping[str, Mapping[str, Any]], known: set[str]) -> Tested:
    try:
        request, evidence, now = _given(policy, case, decisions)
    except ValueError as error:
        return Tested(case.name, (str(error),))
    evidence = evidence.judged_by(policy.needs(request).codes)
    verdict = ENGINES[ENGINE](policy, request, evidence, now)
    rules = tuple(dict.fromkeys(check.rule for check in verdict.checks))
    return Tested(case.name, tuple(_failures(case, verdict, known)), rules)


def _given(
    policy: Policy, case: Case, decisions: Mapping[str, Mapping[str, Any]]
) -> tuple[Request, Evidence, datetime]:
    """Raises ValueError where the decision is not there, or cannot be read."""
    if case.decision is None:
        now = case.at or _THEN
        request = case.request(now)
        return request, case.evidence(now, policy.needs(request)), now
    if case.decision not in decisions:
        raise ValueError(f"decision {quoted(case.decision)} is not in the file of decisions")
    row = decisions[case.decision]
    try:
        evidence = evidence_shown(row["evidence"])
        request = Request.from_data(dict(row["request"]))
        return request, _as_kept(evidence, policy.needs(request)), case.at or evidence.read_at
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError(f"decision {quoted(case.decision)} cannot be read: export it by this release") from None


def _as_kept(evidence: Evidence, needs: Needs) -> Evidence:
    """What no rule asked for then, or had no room, is not taken for absent.

    What the policy of then asked for is not known here. Of tags of the registered model, of stages and of steps, what
    is not there counts as asked for: a rule applies where a tag of its `when` is absent.
    """
    asked = Needs(model_tags=needs.model_tags, held=needs.held, histories=needs.histories)
    return as_captured(evidence, asked, needs)


def _failures(case: Case, verdict: Verdict, known: set[str]) -> Iterator[str]:
    expected = case.expected
    if str(verdict.kind) != expected.verdict:
        yield f"expected {expected.verdict}, got {verdict.kind} ({verdict.reason_code}): {verdict.reason}"
    elif expected.reason is not None and str(verdict.reason_code) != expected.reason:
        yield f"expected the reason {expected.reason}, got {verdict.reason_code}: {verdict.reason}"
    if expected.archive_existing not in (None, verdict.archive_existing):
        yield f"expected archive_existing {str(expected.archive_existing).lower()}, got the opposite"
    yield from _wrong_codes(expected, verdict, known)
    if not verdict.checks and expected.reason != ReasonCode.NO_POLICY:
        yield "no rule matches: see the names, the target and the kind of the case"


def _wrong_codes(expected: Expected, verdict: Verdict, known: set[str]) -> Iterator[str]:
    found = {check.name: check for check in verdict.checks if check.role is not Role.PART}
    for name, code in expected.codes.items():
        if name not in known:
            yield f"there is no check {quoted(name)}: name it as rule/id"
        elif name not in found:
            yield f"{quoted(name)} was not judged: its rule does not match"
        elif str(found[name].code) != code:
            yield f"{quoted(name)}: expected {code}, got {found[name].code}: {found[name].sentence}"
