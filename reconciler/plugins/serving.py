"""The process that a check of your own runs in: `python -P -m reconciler.plugins.serving NAME`.

It speaks in lines of JSON: first whose code it has, read before any of it runs; then what the check is; then an answer
to each question. Only the product starts it, with an environment that holds no credentials.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, BinaryIO

from reconciler.plugins.check import Check, Finding, Mistake, Needs
from reconciler.plugins.evidence import Evidence
from reconciler.plugins.source import CannotVouch, Package
from reconciler.plugins.values import Absent

GROUP = "mlflow_reconciler.checks"
_KEPT = 1000

Answer = dict[str, Any]


class Unusable(Exception):
    """The check cannot be loaded; the message is one sentence."""


def main(name: str) -> int:
    questions, answers = _streams()
    for number in (signal.SIGINT, signal.SIGTERM):
        # They reach the whole unit; this process ends when its questions do.
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        for line in _introduced(name, questions):
            answers.write(json.dumps(line).encode() + b"\n")
            answers.flush()
    except BrokenPipeError:
        pass
    return 0


def _streams() -> tuple[BinaryIO, BinaryIO]:
    """What is asked and answered by; what the check prints goes nowhere."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nowhere, stream)
    return questions, answers


def _end_with(parent: int) -> None:
    """A check that never returns does not see that nobody asks any more."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _introduced(name: str, questions: BinaryIO) -> Iterator[Answer]:
    try:
        entry = _entry(name)
        package = Package(entry.module)
        distribution = entry.dist
        yield {
            "distribution": distribution.name if distribution else "",
            "version": distribution.version if distribution else "",
            "sha256": package.sha256,
        }
        package.import_it()
        served = Served(_made(name, entry, package))
        yield served.about()
    except (Unusable, CannotVouch, OSError) as error:
        yield {"refused": _one_line(str(error))}
        return
    for line in questions:
        question = json.loads(line)
        yield served.answer(question) | {"number": question["number"]}


def _entry(name: str) -> EntryPoint:
    found = entry_points(group=GROUP)
    named = sorted({(one.dist.name if one.dist else "", one.value): one for one in found if one.name == name}.items())
    if len(named) > 1:
        packages = " and ".join(package for (package, _), _ in named)
        raise Unusable(f"{packages} both have a check {name}: uninstall all but one")
    if not named:
        others = ", ".join(sorted({one.name for one in found})) or "none"
        raise Unusable(f"no installed package has a check {name} (installed: {others}): install it beside the product")
    return named[0][1]


def _made(name: str, entry: EntryPoint, package: Package) -> Check[Any]:
    try:
        made = entry.load()()
    except BaseException as error:  # noqa: BLE001  a package of others may raise anything, SystemExit too
        raise Unusable(f"{entry.value} cannot be loaded: {_said(error)}") from None
    if not isinstance(made, Check):
        raise Unusable(f"{entry.value} is not a subclass of reconciler.plugins.Check")
    if not package.has(where := type(made).__module__):
        # Another class of that module would be another check under the same digest.
        raise Unusable(f"{entry.value} is a class of {where}, which is not in {package.name}: name that module instead")
    if getattr(made, "name", None) != name:
        raise Unusable(f"{entry.value} has the name {getattr(made, 'name', None)!r}: make it that of its entry point")
    return made


class Served:
    """A check, and what it made of the values that it has parsed."""

    def __init__(self, check: Check[Any]) -> None:
        self._check = check
        self._terms: dict[str, Any] = {}

    def about(self) -> Answer:
        check = self._check
        told = {
            "codes": dict(check.codes),
            "remedy": str(check.remedy),
            "of": sorted(check.of),
            "schema": dict(check.schema),
            "about": (type(check).__doc__ or "").strip().partition("\n")[0],
        }
        return {"check": json.loads(json.dumps(told))}

    def answer(self, question: Mapping[str, Any]) -> Answer:
        ask: Callable[[Mapping[str, Any]], Answer] = self._judge if "evidence" in question else self._told
        try:
            answer = ask(question)
            json.dumps(answer)
            return answer
        except Mistake as mistake:
            return {"mistake": _one_line(str(mistake))}
        except BaseException as error:  # noqa: BLE001  a package of others may raise anything
            return {"error": _said(error)}

    def _told(self, question: Mapping[str, Any]) -> Answer:
        terms, check = self._of(question["value"]), self._check
        needs = check.needs(terms)
        if not isinstance(needs, Needs):
            raise TypeError(f"needs returned {type(needs).__name__}, not Needs")
        wanted = {name: _wanted(name, getattr(needs, name)) for name in Needs.__dataclass_fields__}
        title, expected = check.title(terms), check.expected(terms)
        return {"title": title, "expected": expected, "needs": wanted, "doubts": list(check.doubts(terms))}

    def _judge(self, question: Mapping[str, Any]) -> Answer:
        evidence = Evidence(question["evidence"])
        try:
            found: Answer = {"finding": _finding(self._check.judge(self._of(question["value"]), evidence))}
        except Absent as absent:
            found = {"absent": [absent.code, absent.detail]}
        except Exception:
            if evidence.refused is None:
                raise
            found = {}
        # Whatever it made of what it was not shown.
        refused = evidence.refused
        return {refused.kind: refused.detail} if refused is not None else found

    def _of(self, value: object) -> Any:
        key = json.dumps(value, sort_keys=True)
        if key not in self._terms:
            if len(self._terms) >= _KEPT:
                self._terms.clear()
            self._terms[key] = self._check.parse(value)
        return self._terms[key]


def _wanted(name: str, value: object) -> list[Any] | bool:
    """What the needs ask for, of one kind: names or steps, or whether they ask at all."""
    if isinstance(getattr(Needs(), name), bool):
        return bool(value)
    kind, words = (int, "whole numbers") if name == "steps" else (str, "names")
    if isinstance(value, str) or not isinstance(value, Collection) or not all(isinstance(one, kind) for one in value):
        raise TypeError(f"{name} of its needs is {value!r}: give a frozenset of {words}")
    return sorted(set(map(kind, value)))


def _finding(found: object) -> Answer:
    if not isinstance(found, Finding):
        raise TypeError(f"judge returned {type(found).__name__}, not a Finding")
    number = None if found.number is None or not math.isfinite(found.number) else float(found.number)
    texts = {"code": str(found.code), "observed": str(found.observed), "source": str(found.source)}
    return {**texts, "number": number, "missing": bool(found.missing)}


def _said(error: BaseException) -> str:
    return _one_line(f"{type(error).__name__}: {error}")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
