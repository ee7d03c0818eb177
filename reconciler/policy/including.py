"""The files of one policy: each with its rules, bound to the models that the files above name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from reconciler.domain.checks.base import Check
from reconciler.domain.checks.kinds import Kinds
from reconciler.domain.fields import STORED
from reconciler.domain.mistakes import typed_and_wrong
from reconciler.domain.policy import Include, Policy, Rule
from reconciler.domain.text import quoted
from reconciler.policy.bundle import Part
from reconciler.policy.grammar import known_keys, place_in_text, policy_model
from reconciler.policy.marks import Marks, compose
from reconciler.policy.problems import Location, PolicyError, Problem
from reconciler.policy.sources import MAX_BYTES, CannotInclude, Source, label_of

_MOST_FILES = 1000
_DEEPEST = 10
_INCLUDE: TypeAdapter[Include] = TypeAdapter(Include)


@dataclass(frozen=True, slots=True)
class File:
    """A file that is a policy by itself. `name`: as problems name it; "" for the policy. `rules` are bound."""

    name: str
    marks: Marks
    policy: Policy
    rules: tuple[Rule, ...]

    def problem(self, at: Location, message: str) -> Problem:
        return self.marks.problem(at, message, file=self.name)


class Files:
    """Reads a policy and what it includes. `files` are those without mistakes, `problems` are of all.

    Args:
        name: of the policy itself, in messages.
        stored: it was in force once, by a release that may have taken what this one refuses.
    """

    def __init__(self, name: str, source: Source, kinds: Kinds, *, stored: bool = False) -> None:
        self._name = name
        self._source = source
        self._kinds = kinds
        self._context = STORED if stored else None
        self._room = MAX_BYTES
        self.files: list[File] = []
        self.parts: list[Part] = []
        self.problems: list[Problem] = []
        self.order: dict[str, int] = {"": 0}

    def read(self, text: str) -> None:
        """Reads the policy itself, and all that it includes."""
        self._read(Part("", text), (), ())

    def together(self) -> Policy:
        """The policy with the rules of all files."""
        first = self.files[0].policy
        return first.model_copy(update={"rules": tuple(rule for file in self.files for rule in file.rules)})

    def refuse_what_is_left_over(self, labels: Iterable[str]) -> None:
        used = {part.label for part in self.parts}
        for label in labels:
            if label not in used and not self.problems:
                self.problems.append(Problem(None, None, "", f"holds {quoted(label)}, which nothing includes"))

    def _read(self, part: Part, within: tuple[tuple[str, ...], ...], above: tuple[str, ...]) -> None:
        name = self._source.name_of(part.label) if part.label else ""
        self.order.setdefault(name, len(self.order))
        self.parts.append(part)
        marks = self._marks(part.text, name)
        if marks is None:
            return
        policy = self._policy(marks, name)
        if policy is not None:
            for key in ("defaults", "people") if part.label else ():
                if key in policy.model_fields_set:
                    message = f"{key} belongs into the policy itself, not into an included file"
                    self._add(marks, (key,), message, name)
            rules = policy.rules
            for globs in within:
                rules = tuple(rule.within(globs) for rule in rules)
            self.files.append(File(name, marks, policy, rules))
        for at, include in _includes(marks.data):
            self._include(at, include, marks, (part.label, name, within, above))

    def _include(
        self, at: int, include: Include, marks: Marks, by: tuple[str, str, tuple[tuple[str, ...], ...], tuple[str, ...]]
    ) -> None:
        label, name, within, above = by
        chain = (*above, label)
        try:
            wanted = label_of(include.file, label)
            self._refuse(wanted, chain)
            text = self._source.read(wanted)
            self._room -= len(text)
            if self._room < 0:
                raise CannotInclude("all files together are larger than 4 MiB")
        except CannotInclude as error:
            self._add(marks, ("include", at, "file"), f"{quoted(include.file)}: {error}", name)
            return
        self._read(Part(wanted, text), (*within, include.models), chain)

    def _refuse(self, wanted: str, chain: Sequence[str]) -> None:
        if wanted in chain:
            raise CannotInclude("includes itself, through " + " and ".join(chain[chain.index(wanted) :]))
        if wanted in {part.label for part in self.parts}:
            raise CannotInclude("included already: name all its models in one place")
        if len(self.parts) >= _MOST_FILES or len(chain) > _DEEPEST:
            raise CannotInclude(f"too many files: the maximum is {_MOST_FILES}, {_DEEPEST} deep")

    # --- one file --------------------------------------------------------------------------------------------

    def _marks(self, text: str, name: str) -> Marks | None:
        try:
            root = compose(text, name)
        except PolicyError as error:
            self.problems += [_of_file(problem, name) for problem in error.problems]
            return None
        if root is None:
            message = "the file is empty: start with `version: 1` and `rules:`"
            self.problems.append(Problem(1, 1, "", message, name))
            return None
        marks = Marks(root)
        self.problems += [_of_file(problem, name) for problem in marks.problems]
        return marks if marks.whole else None

    def _policy(self, marks: Marks, name: str) -> Policy | None:
        including = isinstance(marks.data, Mapping) and bool(marks.data.get("include"))
        try:
            return policy_model(self._kinds, including=including).model_validate(marks.data, context=self._context)
        except ValidationError as error:
            for mistake in error.errors():
                if not follows_from_others(mistake):
                    self.problems.append(_of_file(_problem(mistake, marks, self._kinds), name))
            return None

    def _add(self, marks: Marks, at: Location, message: str, name: str) -> None:
        self.problems.append(marks.problem(at, message, file=name))


def _of_file(problem: Problem, name: str) -> Problem:
    return Problem(problem.line, problem.column, problem.where, problem.message, name)


def _includes(data: Any) -> Iterator[tuple[int, Include]]:
    """Those that can be read, also of a file with mistakes elsewhere: their own are then told, too."""
    entries = data.get("include") if isinstance(data, Mapping) else None
    for at, entry in enumerate(entries if isinstance(entries, list) else []):
        file = entry.get("file") if isinstance(entry, Mapping) else None
        for tried in (entry, {"file": file, "models": ["*"]}):
            with suppress(ValidationError):
                yield at, _INCLUDE.validate_python(tried)
                break


def follows_from_others(mistake: Mapping[str, Any]) -> bool:
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
            return str(mistake["msg"]) + _of_your_own(mistake["input"], kinds)
        case "missing":
            return "required key is missing"
        case _:
            return typed_and_wrong(mistake)


def _of_your_own(value: object, kinds: Kinds) -> str:
    """What to do where a key may be a check that is not loaded."""
    known = {kind.kind for kind in kinds}
    keys = {str(key) for key in value} - set(Check.model_fields) if isinstance(value, Mapping) else set()
    return "; checks of your own are loaded by plugins.checks" if keys and not keys & known else ""


def _hint(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f": did you mean {near[0]}?" if near else f": known keys are {', '.join(known)}"
