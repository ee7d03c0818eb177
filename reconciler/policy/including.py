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
from reconciler.domain.fields import NEW, STORED
from reconciler.domain.mistakes import typed_and_wrong
from reconciler.domain.policy import Include, Policy, Rule
from reconciler.domain.text import quoted
from reconciler.policy.bundle import Part
from reconciler.policy.grammar import known_keys, place_in_text, policy_model
from reconciler.policy.marks import Marks, compose
from reconciler.policy.problems import Location, PolicyError, Problem
from reconciler.policy.remainder import Remainder
from reconciler.policy.sources import MAX_BYTES, CannotInclude, Source, label_of
from reconciler.policy.spelling import hidden_characters
from reconciler.policy.validating import Validated, Wrong, validated

_MOST_FILES = 1000
_DEEPEST = 10
_INCLUDE: TypeAdapter[Include] = TypeAdapter(Include)


@dataclass(frozen=True, slots=True)
class File:
    """A file that is a policy by itself, without its mistakes. `rules` are bound.

    `name`: as problems name it; "" for the policy. `left`: what is left without its mistakes. `is_bound`: all files
    above say to which models.
    """

    name: str
    marks: Marks
    policy: Policy
    rules: tuple[Rule, ...]
    left: Remainder
    is_bound: bool = True

    def problem(self, at: Location, message: str) -> Problem:
        return self.marks.problem(self.left.place(at), message, file=self.name)

    def lacks(self, *at: str | int) -> bool:
        """Whether a mistake was taken out there, within, or around."""
        return self.left.lacks(self.left.place(at))


class Files:
    """Reads a policy and what it includes. `files` are those that are one, `problems` are of all.

    `unread`: something that is included could not be read.

    Args:
        name: of the policy itself, in messages.
        stored: it was in force once, by a release that may have taken what this one refuses.
    """

    def __init__(self, name: str, source: Source, kinds: Kinds, *, stored: bool = False) -> None:
        self._name = name
        self._source = source
        self._kinds = kinds
        self._context = STORED if stored else NEW
        self._room = MAX_BYTES
        self.files: list[File] = []
        self.parts: list[Part] = []
        self.problems: list[Problem] = []
        self.unread = False
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
            self.unread = True
            return
        found = self._validated(marks, name)
        for key in ("defaults", "people") if part.label and isinstance(marks.data, Mapping) else ():
            if key in marks.data:
                message = f"{key} belongs into the policy itself, not into an included file"
                self._add(marks, (key,), message, name)
        if found.value is None:
            self.unread = True
        else:
            rules = found.value.rules
            for globs in filter(None, within):
                rules = tuple(rule.within(globs) for rule in rules)
            self.files.append(File(name, marks, found.value, rules, found.left, is_bound=all(within)))
        for at, include in _includes(marks.data):
            if include is None:
                self.unread = True
            else:
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
            self.unread = True
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
        # What an earlier release read, it read so.
        stored = self._context == STORED
        marks = Marks(root, as_read=not stored)
        hidden = [] if stored else hidden_characters(text)
        self.problems += [_of_file(problem, name) for problem in (*hidden, *marks.problems)]
        return marks if marks.whole else None

    def _validated(self, marks: Marks, name: str) -> Validated[Policy]:
        including = isinstance(marks.data, Mapping) and bool(marks.data.get("include"))
        models = policy_model(self._kinds, including=including), policy_model(self._kinds)
        found = validated(marks.data, models, place_in_text, broken=marks.broken, context=self._context)
        for wrong in found.wrong:
            at_key = wrong.kind == "extra_forbidden"
            self.problems.append(marks.problem(wrong.at, _message(wrong, self._kinds), at_key=at_key, file=name))
        return found

    def _add(self, marks: Marks, at: Location, message: str, name: str) -> None:
        self.problems.append(marks.problem(at, message, file=name))


def _of_file(problem: Problem, name: str) -> Problem:
    return Problem(problem.line, problem.column, problem.where, problem.message, name)


def _includes(data: Any) -> Iterator[tuple[int, Include | None]]:
    """Those that name a file, also where there are mistakes elsewhere: their own are then told, too.

    Without `models` where these are wrong; None where it cannot be told which file it is.
    """
    entries = data.get("include") if isinstance(data, Mapping) else None
    for at, entry in enumerate(entries if isinstance(entries, list) else [entries] if entries else []):
        file = entry.get("file") if isinstance(entry, Mapping) else None
        for tried, left_out in ((entry, {}), ({"file": file, "models": ["*"]}, {"models": ()})):
            with suppress(ValidationError):
                yield at, _INCLUDE.validate_python(tried).model_copy(update=left_out)
                break
        else:
            yield at, None


def _message(wrong: Wrong, kinds: Kinds) -> str:
    match wrong.kind:
        case "extra_forbidden":
            return "unknown key" + _hint(str(wrong.location[-1]), known_keys(wrong.location, kinds))
        case "check_kind":
            return str(wrong.error["msg"]) + _of_your_own(wrong.error["input"], kinds)
        case _:
            return wrong.message or typed_and_wrong(wrong.error)


def _of_your_own(value: object, kinds: Kinds) -> str:
    """What to do where a key may be a check that is not loaded."""
    known = {kind.kind for kind in kinds}
    if isinstance(value, str) and value in known:
        return f": write `{value}: …`, with what it asks for"
    keys = {str(key) for key in value} - set(Check.model_fields) if isinstance(value, Mapping) else set()
    return "; checks of your own are loaded by plugins.checks" if keys and not keys & known else ""


def _hint(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f": did you mean {near[0]}?" if near else f": known keys are {', '.join(known)}"
