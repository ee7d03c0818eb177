"""For the tests of a check of your own: what it finds in evidence that the test gives."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
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
            them: `run={"metrics": {"auc": 0.9}}`. What is not given is not there.

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
    }
    there: dict[str, Given] = {"version": {}, "registered_model": {}, **given}
    shown = {name: _answer(name, there.get(name), needs) for name, is_asked in asked.items() if is_asked}
    return Evidence({"now": now.isoformat(), "withheld": {}, **shown})


def _answer(name: str, given: Given | None, needs: Needs) -> dict[str, Any]:
    if given is None:
        return {"absent": [f"no_{name}", "the test gives none"]}
    return {"found": _PARTS[name](given, needs)}


def _version(given: Given, needs: Needs) -> dict[str, Any]:
    return _described(_VERSION, given) | {"tags": _named(given.get("tags", {}), _text, needs.tags)}


def _registered_model(given: Given, needs: Needs) -> dict[str, Any]:
    return _described({}, given) | {"tags": _named(given.get("tags", {}), _text, needs.model_tags)}


def _run(given: Given, needs: Needs) -> dict[str, Any]:
    user = {"user": None if given.get("user") is None else _text(given["user"])} if needs.run_user else {}
    metrics = _named(given.get("metrics", {}), _reading, needs.metrics, needs.metric_globs)
    params = _named(given.get("params", {}), _text, needs.params)
    return _over(_RUN, given) | user | {"metrics": metrics, "params": params}


def _logged_model(given: Given, needs: Needs) -> dict[str, Any]:
    return _over(_MODEL, given) | {"metrics": _named(given.get("metrics", {}), _readings, needs.metrics)}


def _holder(given: Given, needs: Needs) -> dict[str, Any]:
    below = {name: _answer(name, given.get(name), needs) for name in ("run", "logged_model")}
    return _over(_HOLDER, given) | below


_PARTS = {
    "version": _version,
    "run": _run,
    "logged_model": _logged_model,
    "registered_model": _registered_model,
    "holder": _holder,
}


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


def _reading(value: float | str) -> dict[str, Any]:
    return {"text": str(value), "step": 0, "timestamp": 0, "dataset_name": "", "dataset_digest": ""}


def _readings(values: Any) -> list[dict[str, Any]]:
    return [_reading(value) for value in (values if isinstance(values, list | tuple) else [values])]
