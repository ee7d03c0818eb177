"""What is wrong with a policy file, and where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from reconciler.domain.errors import ExitCode, ReconcilerError
from reconciler.domain.text import visible

Location = tuple[str | int, ...]
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `line` and `column` count from 1; None if the problem is the file itself.

    `file` is the name of the file that was included; "" for the policy itself.
    """

    line: int | None
    column: int | None
    where: str
    message: str
    file: str = ""

    def in_file(self, name: str) -> str:
        """`policy.yaml:7:9: rules[0].targets[0]: what is wrong`."""
        at = f":{self.line}:{self.column}" if self.line is not None else ""
        return f"{self.file or name}{at}: " + (f"{self.where}: " if self.where else "") + self.message


class PolicyError(ReconcilerError):
    """The policy cannot be used. `str` has one line for each problem. `includes`: files that were read for it."""

    exit_code = ExitCode.MISCONFIGURED

    def __init__(self, name: str, problems: Sequence[Problem], includes: Sequence[str] = ()) -> None:
        self.name = name
        self.includes = tuple(includes)
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.in_file(name) for problem in self.problems))


def read_both(one: Callable[[], A], other: Callable[[], B]) -> tuple[A, B]:
    """What two files hold.

    Raises:
        PolicyError: with the problems of both.
    """
    try:
        found = one()
    except PolicyError as wrong:
        try:
            other()
        except PolicyError as too:
            named = (replace(problem, file=problem.file or too.name) for problem in too.problems)
            raise PolicyError(wrong.name, [*wrong.problems, *named]) from None
        raise
    return found, other()


def path_of(location: Location) -> str:
    """`rules[0].require[1].min`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{visible(part, 80)}" for part in location)
    return "".join(parts).removeprefix(".")
