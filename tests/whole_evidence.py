"""Evidence of all that a registry shows, of an honest size or far beyond, and a policy that asks for some of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from reconciler.domain.evidence.evidence import (
    Dataset,
    Evidence,
    LoggedModelFacts,
    Needs,
    Reading,
    RunFacts,
    VersionFacts,
)
from reconciler.domain.evidence.keeping import permitted, within_room
from reconciler.domain.text import Text
from reconciler.policy.file import parse_policy
from tests.builders import a_request, evidence_of, with_changed

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ASKED = a_request("fraud", NOW)
POLICY = parse_policy(
    """\
version: 1
rules:
  - name: r
    targets: [Production]
    require:
      - {metric: validation_accuracy, min: 0.9}
      - {metric: auc, min: 0.9, source: logged_model, dataset: holdout}
      - {tag: owner}
      - {tag: never.set}
      - {description: {min_length: 5}}
      - {run: {max_age: 30d}}
""",
    "p",
).policy
NEEDS = POLICY.needs(ASKED)
HOSTILE = "\0\x1b[2J\u202e\ud800\U0001f600\n"


def kept(evidence: Evidence, needs: Needs, exclude: Sequence[str]) -> Evidence:
    """What is stored of a decision, without what the configuration keeps out."""
    return within_room(permitted(evidence, needs, exclude), needs)


def reading(value: float, step: int = 0, dataset: str = "", digest: str = "") -> Reading:
    return Reading(repr(value), value, step, 5, "r1", dataset, digest)


def whole() -> Evidence:
    """What an honest run of some size shows."""
    metrics = {f"metric_{at}": reading(at / 10) for at in range(40)} | {"validation_accuracy": reading(0.95)}
    run = RunFacts(
        "r1", "FINISHED", "active", int(NOW.timestamp() * 1000), "s3://bucket/r1", metrics, "1", ("m-1",),
        params={f"param_{at}": Text.of(str(at)) for at in range(20)},
        datasets=(Dataset("train", "1a", "training"), Dataset("holdout", "2b")),
        user=Text.of("ada"), git_commit=Text.of("c0ffee"), source_name=Text.of("train.py"), left_out={},
    )  # fmt: skip
    readings = (reading(0.5, 1, "holdout"), reading(0.99, 2, "train"), reading(0.94, 2, "holdout"))
    model = LoggedModelFacts("m-1", "r1", "READY", {"auc": readings, "loss": readings}, "1", left_out={})
    tags = {"owner": Text.of("team"), "ticket": Text.of("T-1"), "transition_decision.stage.Production": Text.of("No.")}
    described = Text.of("made for the release")
    version = VersionFacts("r1", "models:/m-1", "READY", "None", described, tags, 1_700_000_000_000, {})
    return evidence_of(NOW, version, run, model)


def _readings(name: str, many: int, value: float) -> dict[str, Any]:
    measured = {f"{name}{at:06}": reading(value) for at in range(many)}
    return {"metrics": measured | {"validation_accuracy": reading(0.95)}}


# What a run can be flooded with, by a name for it.
FLOODS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "metrics": lambda: _readings("m", 100_000, 0.5),
    "no numbers": lambda: _readings("x", 3000, math.inf),
    "huge parameters": lambda: {"params": {f"p{at}": Text.of(HOSTILE * 1000) for at in range(300)}},
    "names of parameters": lambda: {"params": {f"{HOSTILE * 400}{at}": Text.of("") for at in range(300)}},
    "one user": lambda: dict.fromkeys(("user", "source_name", "git_commit"), Text.of("\0" * 9000)),
    "datasets": lambda: {"datasets": tuple(Dataset(f"{at}{HOSTILE * 70}", HOSTILE) for at in range(2000))},
}


def flooded(flood: str) -> Evidence:
    return with_changed(whole(), RunFacts, **FLOODS[flood]())
