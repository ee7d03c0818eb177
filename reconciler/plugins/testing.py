"""For the tests of a check of your own: what it finds in evidence that the test gives."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from reconciler.plugins.check import Check, Finding, Needs
from reconciler.plugins.evidence import Evidence

Given = Mapping[str, Any]
_THEN = datetime(2026, 1, 1, tzinfo=UTC)
_VERSION = {"run_id": "run", "source": "runs:/run/model", "status": "READY", "current_stage": "None"}
_RUN = {"run_id": "run", "status": "FINISHED", "lifecycle_stage": "active", "end_time": 1, "experiment_id": "0"}
_MODEL = {"model_id": "m-1", "source_run_id": "run", "status": "READY", "experiment_id": "0"}
_HOLDER = {"version": "0", "approved": True}


def found(check: Check[Any], value: object, *, now: datetime = _THEN, **given: Given) -> Finding:
    """What a check finds, as its process would be asked: only what its needs name is shown.

    Args:
        value: what stands behind the check's key in the policy.
        given: `version`, `run`, `logged_model`, `registered_model` and `holder`, as the cases of `policy test` have
            them: `run={"metrics": {"auc": 0.9}}`; of a metric also a list, of what was logged at steps 0, 1 and so on.
            `signature={"inputs": {"age": "long"}, "outputs": ["score"]}`, and `held={"Staging": timedelta(days=7)}`:
            for how long looks saw the version there. What is not given is not there.

    Raises:
        Mistake: the check does not take this value.
        Absent, CannotTell, NotAsked: as `judge` does.
    """
    terms = check.parse(value)
    return check.judge(terms, evidence_of(check.needs(terms), now=now, **given))


def evidence_of(needs: Needs, *, now: datetime = _THEN, **given: Given) -> Evidence:
    """Evidence as a check with these needs sees it."""
    asked = {
        "version": True,
        "run": needs.reads_run,
        "logged_model": needs.logged_model,
        "registered_model": needs.reads_registered_model,
        "holder": needs.holder,
        "signature": needs.signature,
        "held": bool(needs.held),
        "histories": bool(needs.histories),
    }
    there: dict[str, Given] = {"version": {}, "registered_model": {}, "held": {}, **given}
    there |= {"histories": given["run"]} if "run" in given else {}
    shown = {name: _answer(name, there.get(name), needs, now) for name, is_asked in asked.items() if is_asked}
    return Evidence({"now": now.isoformat(), "withheld": {}, **shown})


def _answer(name: str, given: Given | None, needs: Needs, now: datetime) -> dict[str, Any]:
    if given is None:
        return {"absent": [_ABSENCES.get(name, f"no_{name}"), "the test gives none"]}
    return {"found": _PARTS[name](given, needs, now)}


def _version(given: Given, needs: Needs, now: datetime) -> dict[str, Any]:
    return _described(_VERSION, given) | {"tags": _named(given.get("tags", {}), _text, needs.tags)}


def _registered_model(given: Given, needs: Needs, now: datetime) -> dict[str, Any]:
    return _described({}, given) | {"tags": _named(given.get("tags", {}), _text, needs.model_tags)}


def _run(given: Given, needs: Needs, now: datetime) -> dict[str, Any]:
    user = {"user": None if given.get("user") is None else _text(given["user"])} if needs.run_user else {}
    names = needs.metrics | needs.histories
    metrics = _named(_logged(given), lambda values: _readings(values)[-1], names, needs.metric_globs)
    params = _named(given.get("params", {}), _text, needs.params)
    return _over(_RUN, given) | user | {"metrics": metrics, "params": params}


def _logged_model(given: Given, needs: Needs, now: datetime) -> dict[str, Any]:
    return _over(_MODEL, given) | {"metrics": _named(given.get("metrics", {}), _readings, needs.metrics)}


def _holder(given: Given, needs: Needs, now: datetime) -> dict[str, Any]:
    below = {name: _answer(name, given.get(name), needs, now) for name in ("run", "logged_model")}
    return _over(_HOLDER, given) | below


def _signature(given: Given, needs: Needs, now: datetime) -> dict[str, Any]:
    sides = {side: _columns(given.get(side)) for side in ("inputs", "outputs")}
    return {"place": "the test", "sha256": "0" * 64, "unclear": "", **sides}


def _columns(given: Any) -> list[dict[str, Any]] | None:
    """A list of names, or names with types."""
    types = given if isinstance(given, Mapping) else dict.fromkeys(given or (), "any")
    return None if given is None else [{"name": name, "type": types[name], "optional": False} for name in types]


def _held(given: Mapping[str, timedelta], needs: Needs, now: datetime) -> dict[str, Any]:
    values = {name: _time_held(given.get(name), now) for name in needs.held}
    return {"targets": {"values": values, "names": sorted(needs.held), "globs": []}}


def _time_held(lasted: timedelta | None, now: datetime) -> dict[str, Any]:
    since = None if lasted is None else (now - lasted).isoformat()
    seen = None if lasted is None else now.isoformat()
    return {"holds": lasted is not None, "since": since, "seen_at": seen, "asked_at": seen, "why": ""}


def _histories(given: Given, needs: Needs, now: datetime) -> dict[str, Any]:
    """Of a run."""
    return {"metrics": _named(_logged(given), lambda values: _history(_readings(values), needs), needs.histories)}


def _logged(given: Given) -> dict[str, Any]:
    return {name: values for name, values in given.get("metrics", {}).items() if _readings(values)}


def _history(readings: list[dict[str, Any]], needs: Needs) -> dict[str, Any]:
    numbers = [one for one in readings if math.isfinite(_number(one["text"]))]
    numbers.sort(key=lambda one: _number(one["text"]))
    at = {str(step): [one for one in readings if one["step"] == step] for step in needs.steps}
    best = [numbers[0], numbers[-1]] if numbers else []
    return {
        "points": len(readings), "best": best, "last": readings[-1:], "at": at, "steps": sorted(needs.steps), "why": ""
    }  # fmt: skip


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


_PARTS = {
    "version": _version,
    "run": _run,
    "logged_model": _logged_model,
    "registered_model": _registered_model,
    "holder": _holder,
    "signature": _signature,
    "held": _held,
    "histories": _histories,
}
# Of what is named otherwise by the product.
_ABSENCES = {"signature": "no_model_file", "histories": "no_run"}


def _over(members: Given, given: Given) -> dict[str, Any]:
    return {name: given.get(name, value) for name, value in members.items()}


def _described(members: Given, given: Given) -> dict[str, Any]:
    return _over(members, given) | {"description": _text(given.get("description", ""))}


def _named(values: Given, made: Any, names: frozenset[str], globs: frozenset[str] = frozenset()) -> dict[str, Any]:
    shown = {
        name: made(value)
        for name, value in values.items()
        if name in names or any(fnmatchcase(name, glob) for glob in globs)
    }
    return {"values": shown, "names": sorted(names), "globs": sorted(globs)}


def _text(text: str) -> dict[str, Any]:
    return {"text": text[:4096], "length": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def _reading(value: float | str, step: int) -> dict[str, Any]:
    return {"text": str(value), "step": step, "timestamp": 0, "dataset_name": "", "dataset_digest": ""}


def _readings(values: Any) -> list[dict[str, Any]]:
    listed = values if isinstance(values, list | tuple) else [values]
    return [_reading(value, step) for step, value in enumerate(listed)]
