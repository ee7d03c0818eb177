"""How much room a decision with 8 kB of evidence takes, everything that is written for it included.

`python -m bench.evidence` prints it for SQLite; with `--url postgresql://…` (an empty database) for PostgreSQL. With
`--demo` it prints how much evidence the decisions about the demo's models have, whose runs are on a real server.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, func, select, text

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.evidence.tables import EvidenceRow
from reconciler.audit.reader import AuditReader
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.demo import samples
from reconciler.demo.server import mlflow_server
from reconciler.domain.codes import AbsenceCode
from reconciler.domain.decision import Judged, Mode, Outcome, OutcomeKind
from reconciler.domain.engines.evaluate import evaluate
from reconciler.domain.evidence.evidence import (
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
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Transport

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


def of_the_demo(folder: Path) -> dict[str, tuple[int, int]]:
    """The bytes of each model's evidence: as JSON, and as its row holds it."""
    url, loaded = f"sqlite:///{folder / 'audit.db'}", parse_policy(samples.POLICY, "policy.yaml")
    schema.upgrade(url)
    engine, in_force = make_engine(url), PolicyInForce(loaded.policy, loaded.digest, loaded.text)
    with mlflow_server(folder / "server") as uri:
        samples.register(uri)
        transport = Transport(Endpoint(uri))
        registry, log = TagsRegistry(uri, "", transport, transport), SqlAuditLog(engine, "bench:1", uri)
        Cycle(registry, log).run(in_force, Mode.OBSERVE)
        transport.close()
    reader, row = AuditReader(engine), EvidenceRow
    stored = select(row.evidence_key, func.length(row.content) + func.length(row.salts))
    with engine.connect() as connection:
        sizes = {key: int(size) for key, size in connection.execute(stored)}
    wholes = [reader.decision(key) for key in sizes]
    engine.dispose()
    return {
        whole["model"]: (len(json.dumps(whole["evidence"], separators=(",", ":"))), sizes[whole["decision_id"]])
        for whole in wholes
    }


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
    parser.add_argument("--demo", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.demo:
            for model, (as_json, stored) in sorted(of_the_demo(Path(folder)).items()):
                print(f"{model}: {as_json:,} bytes of evidence as JSON, {stored:,} bytes stored")
            return
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
