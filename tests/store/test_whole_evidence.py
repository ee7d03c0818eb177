"""Evidence of all kinds and of any content, in both databases: stored, shown, redacted, and proven."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Engine

from reconciler.audit.evidence.redacting import redact
from reconciler.audit.evidence.storing import Stored, stored_evidence
from reconciler.audit.log.verifying import verify
from reconciler.audit.reader import AuditReader
from reconciler.audit.store import SqlAuditLog
from reconciler.domain.decision import Judged, Mode
from reconciler.domain.engines.evaluate import evaluate
from reconciler.domain.evidence.evidence import Evidence, VersionFacts
from reconciler.domain.evidence.salted import KEPT, fields_of, shown_path
from reconciler.domain.text import Text
from reconciler.judging import judge_again
from tests.builders import REGISTRY, with_changed
from tests.whole_evidence import ASKED, HOSTILE, NEEDS, NOW, POLICY, flooded, kept

DIGEST = "0" * 64


@pytest.fixture
def evidence() -> Evidence:
    """Hostile, and more than there is room for."""
    names = {f"{HOSTILE}{at}": Text.of(HOSTILE * 100) for at in range(100)} | {"owner": Text.of("ada")}
    return kept(with_changed(flooded("names of parameters"), VersionFacts, tags=names), NEEDS, ("other",))


@pytest.fixture
def decision(engine: Engine, evidence: Evidence) -> str:
    log = SqlAuditLog(engine, "test:1", REGISTRY)
    log.keep_policy(DIGEST, "version: 1")
    verdict = evaluate(POLICY, ASKED, evidence, NOW)
    [recorded] = log.record(Judged(ASKED, verdict, evidence, Mode.OBSERVE, DIGEST))
    return recorded.decision.decision_id


def test_what_was_judged_is_what_is_shown_and_judged_again(engine: Engine, decision: str, evidence: Evidence) -> None:
    assert AuditReader(engine).decision(decision)["evidence"] == json.loads(evidence.to_json())
    assert verify(engine).differences == ()
    with engine.connect() as connection:
        stored = stored_evidence(connection, [decision])[decision]
    assert isinstance(stored, Stored)
    assert judge_again(2, POLICY, ASKED, stored.evidence()) == evaluate(POLICY, ASKED, evidence, NOW)


def test_every_field_can_be_redacted_and_every_proof_holds(engine: Engine, decision: str, evidence: Evidence) -> None:
    paths = [field.path for field in fields_of(json.loads(evidence.to_json()))]
    paths = [path for path in paths if path not in KEPT and not path.endswith((".answer", ".code"))]
    assert {"run.left_out", "run.datasets", "run.user", "version.creation_timestamp"} <= set(paths)
    done = redact(engine, decision, [shown_path(path) for path in paths], "all of it", "ada")
    assert len(done.removed) == len(paths)
    found = verify(engine)
    assert (found.differences, found.redacted) == ((), len(paths))
    left = json.dumps(AuditReader(engine).decision(decision)["evidence"])
    assert not any(secret in left for secret in ("train.py", "c0ffee", "sha256", "FINISHED"))


def test_whoever_redacts_is_told_which_other_fields_show_the_text(engine: Engine, decision: str) -> None:
    done = redact(engine, decision, ["version.tags.owner"], "a name", "somebody")
    assert "evidence.run.user" in done.repeated_in
    assert not [path for path in done.repeated_in if "metrics" in path]
