"""How much room a decision with 8 kB of evidence takes, everything that is written for it included.

`python -m bench.evidence` prints it for SQLite; with `--url postgresql://…` (an empty database) for PostgreSQL.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, text

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.store import SqlAuditLog
from reconciler.domain.codes import AbsenceCode
from reconciler.domain.decision import Judged, Mode, Outcome, OutcomeKind
from reconciler.domain.evaluate import evaluate
from reconciler.domain.evidence import (
    Absent,
    Answer,
    Evidence,
    Fact,
    LoggedModelFacts,
    Reading,
    RunFacts,
    VersionFacts,
)
from reconciler.domain.request import Assurance, Request, Requester
from reconciler.domain.target import Target
from reconciler.domain.text import Text
from reconciler.policy.file import parse_policy
from reconciler.ports import Ending

REGISTRY = "https://mlflow.example.com"
POLICY = """\
version: 1
rules:
  - name: accuracy
    targets: [Production]
    require:
      - {metric: validation_metric_0, min: 0}
      - {tag: team.note_0}
      - run: {finished: true}
"""
METRICS, TAGS = 32, 12


def judged(number: int, chance: random.Random) -> Judged:
    """A decision about a model of its own, on evidence whose values have little in common."""
    loaded, now = parse_policy(POLICY, "policy.yaml"), datetime.now(UTC)
    run_id = f"{chance.getrandbits(128):032x}"
    source = f"mlflow-artifacts:/{number}/{run_id}/artifacts/model"
    tags = {f"team.note_{at}": Text.of(f"{chance.getrandbits(192):048x}") for at in range(TAGS)}
    described = Text.of(" ".join(f"{chance.getrandbits(24):x}" for _ in range(40)))
    version = VersionFacts(run_id, source, "READY", "None", described, tags)
    metrics = {f"validation_metric_{at}": _reading(chance, run_id) for at in range(METRICS)}
    run = RunFacts(run_id, "FINISHED", "active", 1_790_000_000_000 + number, source, metrics)
    no_model = Absent(AbsenceCode.NO_LOGGED_MODEL, "none")
    answers: dict[type[Fact], Answer] = {VersionFacts: version, RunFacts: run, LoggedModelFacts: no_model}
    evidence = Evidence.of(now, answers)
    asker = Requester(f"person-{number % 50}@example.com", Assurance.AUTHENTICATED)
    id = f"{chance.getrandbits(64):x}"
    place = (REGISTRY, "", f"model-{number}", "1", Target.parse("Production"))
    request = Request(*place, asker, now, "please, for the release", id, id)
    return Judged(request, evaluate(loaded.policy, request, evidence, now), evidence, Mode.ENFORCE, loaded.digest)


def _reading(chance: random.Random, run_id: str) -> Reading:
    value = chance.random()
    at = 1_790_000_000_000 + chance.getrandbits(32)
    return Reading(repr(value), value, chance.randrange(10_000), at, run_id, "", "")


def size_of(engine: Engine) -> int:
    """In bytes, with indexes and free pages."""
    if engine.dialect.name == "postgresql":
        query = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        query += " AND relkind = 'r'"
    else:
        query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    with engine.connect() as connection:
        return int(connection.scalar(text(query)) or 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url")
    parser.add_argument("--decisions", type=int, default=5_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = asked.url or f"sqlite:///{Path(folder) / 'audit.db'}"
        schema.upgrade(url)
        engine, chance = make_engine(url), random.Random(77)
        log, loaded = SqlAuditLog(engine, "bench:1", REGISTRY), parse_policy(POLICY, "policy.yaml")
        log.keep_policy(loaded.digest, loaded.text)
        before, told = size_of(engine), 0
        for number in range(asked.decisions):
            one = judged(number, chance)
            told += len(one.evidence.to_json())
            assert log.record(one)
            [pending] = log.claim(1, (), True)
            assert log.conclude(Ending(pending, Outcome(OutcomeKind.APPLIED, "the registry shows it")))
        took = (size_of(engine) - before) / asked.decisions
        of_evidence = told / asked.decisions
        print(
            f"{engine.dialect.name}: {took:,.0f} bytes a decision, of which the evidence was {of_evidence:,.0f} as JSON"
        )
        engine.dispose()


if __name__ == "__main__":
    main()
