"""Reading a policy file: every mistake at once, each with its line and column."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reconciler.domain.checks.kinds import KINDS, Kinds
from reconciler.domain.mistakes import typed_and_wrong
from reconciler.domain.policy import Policy
from reconciler.policy.doubts import doubts_about
from reconciler.policy.grammar import known_keys, place_in_text, policy_model
from reconciler.policy.marks import Marks, compose
from reconciler.policy.problems import Location, PolicyError, Problem

__all__ = ["LoadedPolicy", "PolicyError", "Problem", "parse_policy", "read_policy"]

_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """`digest` is the SHA-256 (hex) of the text's UTF-8 bytes."""

    policy: Policy
    text: str
    digest: str
    warnings: tuple[Problem, ...]


def read_policy(path: Path) -> LoadedPolicy:
    """Read a policy file. Raises PolicyError, with every problem, if it cannot be read or is not a policy."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PolicyError(str(path), [Problem(None, None, "", f"cannot read the file: {error.strerror}")]) from None
    try:
        return parse_policy(raw.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        message = f"the file is not UTF-8: invalid byte at offset {error.start}"
        raise PolicyError(str(path), [Problem(None, None, "", message)]) from None


def parse_policy(text: str, name: str, kinds: Kinds = KINDS) -> LoadedPolicy:
    """Parse a policy. Raises PolicyError; its lines begin with `name`. `kinds`: the checks that a rule may require."""
    if len(text) > _MAX_BYTES:
        raise PolicyError(name, [Problem(None, None, "", "the file is larger than 4 MiB")])
    root = compose(text, name)
    if root is None:
        raise PolicyError(name, [Problem(1, 1, "", "the file is empty: start with `version: 1` and `rules:`")])
    marks = Marks(root)
    if marks.problems:
        raise PolicyError(name, marks.problems)
    try:
        policy = policy_model(kinds).model_validate(marks.data)
    except ValidationError as error:
        raise PolicyError(name, _in_order_of_the_text(error, marks, kinds)) from None
    repeated = list(_repeated_names(policy, marks))
    if repeated:
        raise PolicyError(name, repeated)
    warnings = tuple(marks.problem(at, message) for at, message in doubts_about(policy))
    return LoadedPolicy(policy, text, hashlib.sha256(text.encode()).hexdigest(), warnings)


def _in_order_of_the_text(error: ValidationError, marks: Marks, kinds: Kinds) -> list[Problem]:
    problems = [_problem(mistake, marks, kinds) for mistake in error.errors() if not _follows_from_others(mistake)]
    return sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0))


def _follows_from_others(mistake: Mapping[str, Any]) -> bool:
    """Pydantic reports a list as too short when all its items are wrong; the items have their own problems."""
    return mistake["type"] == "too_short" and bool(mistake.get("input"))


def _problem(mistake: Mapping[str, Any], marks: Marks, kinds: Kinds) -> Problem:
    """A validation error at the place in the text that caused it."""
    message = _message(mistake, kinds)
    return marks.problem(place_in_text(mistake["loc"]), message, at_key=mistake["type"] == "extra_forbidden")


def _message(mistake: Mapping[str, Any], kinds: Kinds) -> str:
    location: Location = mistake["loc"]
    match mistake["type"]:
        case "extra_forbidden":
            return "unknown key" + _hint(str(location[-1]), known_keys(location, kinds))
        case "check_kind":
            return str(mistake["msg"])
        case "missing":
            return "required key is missing"
        case _:
            return typed_and_wrong(mistake)


def _hint(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f": did you mean {near[0]}?" if near else f": known keys are {', '.join(known)}"


def _repeated_names(policy: Policy, marks: Marks) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, rule in enumerate(policy.rules):
        if rule.name in seen:
            at: Location = ("rules", index, "name")
            yield marks.problem(at, f"duplicate rule name: another rule is named {rule.name!r}")
        seen.add(rule.name)
