"""What the registry answered when it was asked for a fact, as JSON data and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.facts import Absent, Fact, Unreadable

Answer = Fact | Absent | Unreadable


def answer_data(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, Fact):
        return {"answer": "found", **answer.to_data()}
    return {"answer": "absent" if isinstance(answer, Absent) else "unreadable", **asdict(answer)}


def answer_of(kind: type[Fact], data: Mapping[str, Any]) -> Answer:
    """An answer to that kind, from what `answer_data` made of it."""
    values = {key: value for key, value in data.items() if key != "answer"}
    if data["answer"] == "absent":
        return Absent(AbsenceCode.of(values["code"]), values["detail"])
    if data["answer"] == "unreadable":
        return Unreadable(values["detail"])
    return kind.from_data(values)
