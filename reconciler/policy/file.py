"""Reading a policy file: every mistake at once, each with its line and column."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from reconciler.domain.errors import ExitCode, ReconcilerError
from reconciler.domain.mistakes import typed_and_wrong
from reconciler.domain.policy import (
    CHECK_KINDS,
    DescriptionCheck,
    MetricCheck,
    Policy,
    Rule,
    RunCheck,
    TagCheck,
)
from reconciler.domain.text import visible

_MAX_BYTES = 1024 * 1024
_MAX_NODES = 10_000

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `line` and `column` count from 1; None where the file itself is the matter."""

    line: int | None
    column: int | None
    where: str
    message: str

    def in_file(self, name: str) -> str:
        """`policy.yaml:7:9: rules[0].targets[0]: what is wrong`."""
        at = f":{self.line}:{self.column}" if self.line is not None else ""
        return f"{name}{at}: " + (f"{self.where}: " if self.where else "") + self.message


class PolicyError(ReconcilerError):
    """The policy cannot be used. `str` has one line for each problem."""

    exit_code = ExitCode.MISCONFIGURED

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        self.name = name
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.in_file(name) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """`digest` is the SHA-256 (hex) of the text's UTF-8 bytes."""

    policy: Policy
    text: str
    digest: str
    warnings: tuple[Problem, ...]


def read_policy(path: Path) -> LoadedPolicy:
    """Raises PolicyError, with all problems, when the file cannot be read or is no policy."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PolicyError(str(path), [Problem(None, None, "", f"cannot be read: {error.strerror}")]) from None
    try:
        return parse_policy(raw.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text: byte {error.start} cannot be read"
        raise PolicyError(str(path), [Problem(None, None, "", message)]) from None


def parse_policy(text: str, name: str) -> LoadedPolicy:
    """Raises PolicyError; `name` stands in its lines."""
    if len(text) > _MAX_BYTES:
        raise PolicyError(name, [Problem(None, None, "", "is larger than 1 MiB: this is no policy")])
    marks = _Marks(_compose(text, name))
    if marks.problems:
        raise PolicyError(name, marks.problems)
    try:
        policy = Policy.model_validate(marks.data)
    except ValidationError as error:
        told = [marks.problem(one) for one in error.errors() if not _follows_from_others(one)]
        problems = sorted(told, key=lambda one: (one.line or 0, one.column or 0))
        raise PolicyError(name, problems) from None
    repeated = list(_repeated_names(policy, marks))
    if repeated:
        raise PolicyError(name, repeated)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return LoadedPolicy(policy, text, digest, tuple(_warnings(policy, marks)))


def _follows_from_others(error: Mapping[str, Any]) -> bool:
    """A list counts as empty when all its items are wrong; that is told at the items."""
    return error["type"] == "too_short" and bool(error.get("input"))


def _compose(text: str, name: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
        problem = Problem(line, column, "", f"is not YAML: {visible(error.problem or str(error), 300)}")
        raise PolicyError(name, [problem]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise PolicyError(name, [Problem(None, None, "", f"is not YAML: {visible(str(error), 300)}")]) from None
    if node is None:
        raise PolicyError(name, [Problem(1, 1, "", "is empty: begin with `version: 1` and `rules:`")])
    return node


class _Marks:
    """The data of a YAML document, and where each part of it stands."""

    def __init__(self, root: yaml.Node) -> None:
        self._places: dict[Location, yaml.Mark] = {}
        self._keys: dict[Location, yaml.Mark] = {}
        self._scalars = yaml.SafeLoader("")
        self.problems: list[Problem] = []
        self.data = self._build(root, ())

    def _build(self, node: yaml.Node, at: Location) -> Any:
        self._places[at] = node.start_mark
        if len(self._places) > _MAX_NODES or len(at) > 20:
            if not self.problems:
                self._complain(node.start_mark, at, f"is too large: more than {_MAX_NODES} values, or 20 deep")
            return None
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, at))
        if isinstance(node, yaml.SequenceNode):
            return [self._build(child, (*at, index)) for index, child in enumerate(node.value)]
        return self._scalar(node, at)

    def _pairs(self, node: yaml.MappingNode, at: Location) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            if key in seen:
                self._complain(key_node.start_mark, (*at, key), "stands twice: keep one")
            seen.add(key)
            self._keys[*at, key] = key_node.start_mark
            yield key, self._build(value_node, (*at, key))

    def _scalar(self, node: yaml.Node, at: Location) -> Any:
        try:
            return self._scalars.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            self._complain(node.start_mark, at, f"cannot be read: {visible(str(error), 200)}")
            return None

    def _complain(self, mark: yaml.Mark, at: Location, message: str) -> None:
        self.problems.append(Problem(mark.line + 1, mark.column + 1, where(at), message))

    def problem(self, error: Mapping[str, Any]) -> Problem:
        """A validation error at the place in the text that caused it."""
        at = self._without_kinds(error["loc"])
        line, column = self.place(at, key=error["type"] == "extra_forbidden")
        return Problem(line, column, where(at), _message(error, at))

    def _without_kinds(self, loc: Location) -> Location:
        """Without the discriminator's parts: `require[0].metric.min` is `require[0].min` in the text."""
        kept: list[str | int] = []
        for index, part in enumerate(loc):
            in_check = index >= 2 and loc[index - 2] == "require" and isinstance(loc[index - 1], int)
            if not (in_check and part in CHECK_KINDS):
                kept.append(part)
        return tuple(kept)

    def place(self, at: Location, key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of this part or of the nearest one around it."""
        marks = {**self._places, **self._keys} if key else self._places
        while at not in marks and at:
            at = at[:-1]
        mark = marks[at]
        return mark.line + 1, mark.column + 1


def where(at: Location) -> str:
    """`rules[0].require[1].min`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{visible(str(part), 80)}" for part in at)
    return text.removeprefix(".")


_KNOWN: dict[str, type[BaseModel]] = {
    "metric": MetricCheck,
    "description": DescriptionCheck,
    "tag": TagCheck,
    "run": RunCheck,
}


def _message(error: Mapping[str, Any], at: Location) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        return "is not known here" + _hint(str(at[-1]), _known_keys(error["loc"]))
    if kind == "check_kind":
        return str(error["msg"])
    return "is missing" if kind == "missing" else typed_and_wrong(error)


def _known_keys(loc: Location) -> list[str]:
    if len(loc) == 1:
        return list(Policy.model_fields)
    for part, model in _KNOWN.items():
        if "require" in loc and part in loc[:-1]:
            return list(model.model_fields)
    return list(Rule.model_fields)


def _hint(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f": did you mean {near[0]}?" if near else f": known are {', '.join(known)}"


def _repeated_names(policy: Policy, marks: _Marks) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, rule in enumerate(policy.rules):
        if rule.name in seen:
            at: Location = ("rules", index, "name")
            yield Problem(*marks.place(at), where(at), f"{rule.name!r} names two rules: reasons must tell them apart")
        seen.add(rule.name)


def _warnings(policy: Policy, marks: _Marks) -> Iterator[Problem]:
    for index, rule in enumerate(policy.rules):
        for at, message in _doubts(rule):
            full: Location = ("rules", index, *at)
            yield Problem(*marks.place(full), where(full), message)


def _doubts(rule: Rule) -> Iterator[tuple[Location, str]]:
    for index, glob in enumerate(rule.models):
        if not glob or "/" in glob or ":" in glob:
            yield ("models", index), f"{glob!r} never matches: MLflow allows neither / nor : nor nothing in a name"
    if len(set(rule.targets)) < len(rule.targets):
        yield ("targets",), "names a target twice"
    if rule.archive_existing and not any(target.is_stage for target in rule.targets):
        yield ("archive_existing",), "has no effect: only stages archive"
    for index, check in enumerate(rule.require):
        if isinstance(check, MetricCheck) and check.never_passes:
            yield ("require", index), f"can never pass: {check.never_passes}"
