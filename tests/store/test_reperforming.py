"""Stored decisions judged again: what agrees, what somebody changed behind the product's back, what nobody can tell."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from sqlalchemy import Engine, bindparam, select, text

from reconciler.audit import in_parts, schema
from reconciler.audit.database import Access, make_engine, one_state
from reconciler.audit.decisions.reperforming import Reperformed, reperform
from reconciler.audit.decisions.stored import Chosen, Part, parts_of, read_part
from reconciler.audit.evidence.reading import evidence_for
from reconciler.audit.evidence.redacting import redact
from reconciler.audit.evidence.storing import salted
from reconciler.audit.evidence.tables import EvidenceRow
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.store import SqlAuditLog
from reconciler.domain.decision import Judged, Mode
from reconciler.domain.engines.current import ENGINE
from reconciler.domain.engines.evaluate import evaluate
from reconciler.domain.evidence.evidence import Evidence, ModelFacts, Reading, RunFacts, VersionFacts
from reconciler.domain.request import Request
from reconciler.domain.text import Text
from reconciler.domain.verdict import VerdictKind
from reconciler.judging import judge_again
from reconciler.policy.file import LoadedPolicy, parse_policy
from tests.builders import NO_LOGGED_MODEL, REGISTRY, a_request, evidence_of, with_answer, with_changed
from tests.store.test_log import decide, without_triggers
from tests.unit.test_policy_properties import ANY, evidences, judged, policies
from tests.whole_evidence import kept, whole

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FIRST = json.loads((Path(__file__).parents[1] / "unit/data/decisions_of_engine_1.json").read_text())
TABLES = ("decisions", "decision_checks", "evidence", "policy_versions")


def read_again(engine: Engine, chosen: Chosen = Chosen()) -> tuple[int, list[Reperformed]]:  # noqa: B008
    """How many decisions were judged again, and those of them that do not agree."""
    with one_state(engine) as connection:
        parts = parts_of(connection, chosen)
    done = list(reperform(engine.url.render_as_string(hide_password=False), parts))
    return sum(part.judged for part in done), [one for part in done for one in part.told]


def told(engine: Engine) -> list[tuple[str, str, str, str, str]]:
    return [
        (str(found.kind), found.check, found.what, found.recorded, found.again)
        for one in read_again(engine)[1]
        for found in one.found
    ]


@contextmanager
def as_owner(engine: Engine) -> Iterator[Any]:
    """Whoever owns the database, and has dropped the triggers that refuse changes."""
    for table in TABLES:
        without_triggers(engine, table)
    with engine.begin() as connection:
        yield connection


def record(engine: Engine, loaded: LoadedPolicy, *given: tuple[Request, Evidence]) -> list[str]:
    """Decisions as a daemon records them, on what is kept of the evidence; returns their ids."""
    log = SqlAuditLog(engine, "test:1", REGISTRY)
    log.keep_policy(loaded.digest, loaded.text)
    judged = []
    for request, shown in given:
        evidence = kept(shown, loaded.policy.needs(request), loaded.policy.excludes)
        verdict = evaluate(loaded.policy, request, evidence, evidence.read_at)
        judged.append(Judged(request, verdict, evidence, Mode.OBSERVE, loaded.digest))
    return [one.decision.decision_id for one in log.record(*judged)]


# --- what agrees ---------------------------------------------------------------------------------------------


def test_decisions_that_nobody_touched_agree(engine: Engine) -> None:
    decide(engine, 3)
    decide(engine, 2, Mode.OBSERVE)
    assert read_again(engine) == (5, [])


def test_one_decision_and_those_of_a_period_are_chosen(engine: Engine) -> None:
    decide(engine, 3)
    rows = AuditReader(engine).decisions(DecisionFilter())
    assert read_again(engine, Chosen(rows[0]["decision_id"]))[0] == 1
    assert read_again(engine, Chosen(since=datetime(2020, 1, 1, tzinfo=UTC)))[0] == 3
    assert read_again(engine, Chosen(until=datetime(2020, 1, 1, tzinfo=UTC)))[0] == 0


def test_several_processes_say_the_same_as_one(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(engine, 4)
    with as_owner(engine) as connection:
        connection.execute(text("UPDATE decisions SET verdict = 'reject' WHERE id = (SELECT max(id) FROM decisions)"))
    alone = read_again(engine)
    monkeypatch.setattr(in_parts, "FEW", 1)
    monkeypatch.setattr("reconciler.audit.decisions.stored._TOGETHER", 1)
    assert read_again(engine) == alone
    assert len(alone[1]) == 1


@dataclass
class Dies:
    """Counts decisions, and is killed in every process but the one that it was made in."""

    pid: int = field(default_factory=os.getpid)

    def __call__(self, connection: Any, part: Part) -> int:
        if os.getpid() != self.pid:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(read_part(connection, part))


def test_what_a_killed_process_leaves_is_done_all_the_same(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(engine, 5)
    monkeypatch.setattr(in_parts, "FEW", 1)
    monkeypatch.setattr("reconciler.audit.decisions.stored._TOGETHER", 2)
    with one_state(engine) as connection:
        parts = parts_of(connection, Chosen())
    url = engine.url.render_as_string(hide_password=False)
    assert sorted(in_parts.results_of(url, Dies(), parts)) == [1, 2, 2]


def test_gaps_between_numbers_of_any_size_cost_nothing(engine: Engine) -> None:
    decide(engine, 4)
    with as_owner(engine) as connection:
        highest = text("UPDATE decisions SET id = :id WHERE id = (SELECT max(id) FROM decisions)")
        connection.execute(highest, {"id": 2**63 - 2})
        lowest = text("UPDATE decisions SET id = :id WHERE id = (SELECT min(id) FROM decisions)")
        connection.execute(lowest, {"id": -(2**62)})
    assert read_again(engine) == (4, [])


def test_what_an_earlier_engine_decided_is_judged_again_by_it(engine: Engine) -> None:
    log = SqlAuditLog(engine, "test:1", REGISTRY)
    ids = []
    for number, stored in enumerate(FIRST):
        if stored["verdict"] == "abstain":
            continue
        loaded = parse_policy(stored["policy"], "p", stored=True)
        log.keep_policy(loaded.digest, loaded.text)
        request = replace(Request.from_data(json.loads(stored["request"])), id=str(number))
        evidence = Evidence.from_json(stored["evidence"])
        verdict = judge_again(1, loaded.policy, request, evidence)
        log.record(Judged(request, verdict, evidence, Mode.OBSERVE, loaded.digest, engine=1))
        ids.append(number)
    assert read_again(engine) == (len(ids), [])
    assert len(ids) > 20


# --- a second judge ------------------------------------------------------------------------------------------

LIMITS = {"m0": (0.3, None), "m1": (None, 0.7), "m2": (0.2, 0.8)}


def by_hand(metrics: dict[str, float]) -> dict[str, str]:
    """What each check says, in plain Python, and whether all of them pass."""
    said = {}
    for name, (least, most) in LIMITS.items():
        value = metrics.get(name)
        good = value is not None and (least is None or value >= least) and (most is None or value <= most)
        said[f"limits/metric {name}"] = "passed" if good else "failed"
    return said


def _limits() -> LoadedPolicy:
    checks = [
        {"metric": name} | ({} if low is None else {"min": low}) | ({} if high is None else {"max": high})
        for name, (low, high) in LIMITS.items()
    ]
    rules = [{"name": "limits", "targets": ["Production"], "require": checks}]
    return parse_policy(json.dumps({"version": 1, "rules": rules}), "p")


def _measured(chance: random.Random) -> dict[str, float]:
    return {name: round(chance.random(), 3) for name in LIMITS if chance.random() < 0.9}


def _evidence(metrics: dict[str, float]) -> Evidence:
    readings = {name: Reading(repr(value), value, 0, 0, "r1") for name, value in metrics.items()}
    version = VersionFacts("r1", "runs:/r1/m", "READY", "None", Text.of(""), {}, left_out={})
    run = RunFacts("r1", "FINISHED", "active", 1, "s3://b/r1", readings, left_out={})
    return evidence_of(NOW, version, run, NO_LOGGED_MODEL)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_second_judge_finds_the_same_changed_rows_in_a_random_history(engine: Engine, seed: int) -> None:
    chance = random.Random(seed)
    measured = [_measured(chance) for _ in range(60)]
    given = [(a_request(f"m-{number}", NOW), _evidence(one)) for number, one in enumerate(measured)]
    ids = record(engine, _limits(), *given)
    truth = dict(zip(ids, map(by_hand, measured), strict=True))
    with as_owner(engine) as connection:
        for id in chance.sample(ids, 20):
            _change_something(connection, id, chance)
    with engine.connect() as connection:
        expected = {id for id in ids if _recorded(connection, id) != _as_it_should_be(truth[id])}
    judged, found = read_again(engine)
    assert (judged, {one.decision_id for one in found}) == (60, expected)
    assert 10 < len(expected) <= 20
    for one in found:
        for discrepancy in one.found:
            if discrepancy.what == "result":
                assert discrepancy.again == truth[one.decision_id][discrepancy.check]


def _change_something(connection: Any, id: str, chance: random.Random) -> None:
    if chance.random() < 0.5:
        verdict = chance.choice(["approve", "reject"])
        statement = text("UPDATE decisions SET verdict = :to WHERE decision_id = :id")
        connection.execute(statement, {"to": verdict, "id": id})
    else:
        statement = text("UPDATE decision_checks SET result = :to WHERE decision_id = :id AND position = :at")
        to, at = chance.choice(["passed", "failed"]), chance.randrange(3)
        connection.execute(statement, {"to": to, "id": id, "at": at})


def _recorded(connection: Any, id: str) -> dict[str, str]:
    checks = text("SELECT rule, check_name, result FROM decision_checks WHERE decision_id = :id")
    said = {f"{rule}/{check}": result for rule, check, result in connection.execute(checks, {"id": id})}
    verdict = text("SELECT verdict FROM decisions WHERE decision_id = :id")
    return said | {"": connection.execute(verdict, {"id": id}).scalar_one()}


def _as_it_should_be(said: dict[str, str]) -> dict[str, str]:
    return said | {"": "reject" if "failed" in said.values() else "approve"}


# --- what somebody changed -----------------------------------------------------------------------------------

CHANGES: list[tuple[str, tuple[str, str, str, str, str]]] = [
    ("UPDATE decisions SET verdict = 'reject'", ("differs", "", "verdict", "reject", "approve")),
    ("UPDATE decisions SET reason_code = 'checks_failed'",
     ("differs", "", "reason_code", "checks_failed", "all_checks_passed")),
    ("UPDATE decisions SET archive_existing = NOT archive_existing",
     ("differs", "", "archive_existing", "true", "false")),
    ("UPDATE decisions SET rule = 'another'", ("differs", "", "rule", "another", "accuracy")),
    ("UPDATE decisions SET model = 'another'", ("differs", "", "model", "another", "fraud")),
    ("UPDATE decisions SET target = 'Staging'", ("differs", "", "target", "Staging", "Production")),
    ("UPDATE decision_checks SET result = 'failed'",
     ("differs", "accuracy/metric validation_accuracy", "result", "failed", "passed")),
    ("UPDATE decision_checks SET code = 'below_min'",
     ("differs", "accuracy/metric validation_accuracy", "code", "below_min", "ok")),
    ("UPDATE decision_checks SET observed_number = 0.5",
     ("differs", "accuracy/metric validation_accuracy", "observed_number", "0.5", "0.95")),
    ("UPDATE decision_checks SET role = 'advises'",
     ("differs", "accuracy/metric validation_accuracy", "role", "advises", "decides")),
    ("UPDATE decision_checks SET check_name = 'another'",
     ("differs", "accuracy/another", "check", "passed", "is not judged")),
    ("DELETE FROM decision_checks",
     ("differs", "accuracy/metric validation_accuracy", "check", "is not recorded", "passed")),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "found"), CHANGES, ids=[statement for statement, _ in CHANGES])
def test_a_changed_row_is_told_with_both_values(engine: Engine, statement: str, found: tuple[str, ...]) -> None:
    record(engine, parse_policy(ACCURACY, "p"), (a_request("fraud", NOW), whole()))
    with as_owner(engine) as connection:
        connection.execute(text(statement))
    assert found in told(engine)


ACCURACY = """\
version: 1
rules:
  - name: accuracy
    targets: [Production]
    require: [{metric: validation_accuracy, min: 0.9}]
"""


def test_a_changed_policy_is_a_difference(engine: Engine) -> None:
    loaded = parse_policy(ACCURACY, "p")
    record(engine, loaded, (a_request("fraud", NOW), whole()))
    with as_owner(engine) as connection:
        connection.execute(text("UPDATE policy_versions SET text = replace(text, '0.9', '0.1')"))
    [(kind, _, what, recorded, again)] = told(engine)
    assert (kind, what, recorded) == ("differs", "policy", loaded.digest)
    assert again not in {"", loaded.digest}


# --- what nobody can tell ------------------------------------------------------------------------------------


def damaged(engine: Engine, content: bytes) -> None:
    with as_owner(engine) as connection:
        connection.execute(text("UPDATE evidence SET content = :content").bindparams(bindparam("content", content)))


HOSTILE = [
    b"", b"no zlib", zlib.compress(b"[["), zlib.compress(b'[["run.metrics", 7]]'), zlib.compress(b"[" * 100_000),
    zlib.compress(b'[["format",99]]'), zlib.compress(b'[["read_at","never"]]'), zlib.compress(b"\xff\xfe"),
    zlib.compress(b'[["read_at","2026-01-02T00:00:00.000Z"],["run.answer","found"],["run.metrics.a",{}]]'),
]  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_evidence_that_is_none_is_told_as_unknown(engine: Engine, content: bytes) -> None:
    record(engine, parse_policy(ACCURACY, "p"), (a_request("fraud", NOW), whole()))
    damaged(engine, content)
    [(kind, _, what, *_)] = told(engine)
    assert (kind, what) == ("unknown", "evidence")


def test_truncated_evidence_hides_no_flipped_verdict(engine: Engine) -> None:
    record(engine, parse_policy(ACCURACY, "p"), (a_request("fraud", NOW), whole()))
    with as_owner(engine) as connection:
        connection.execute(text("UPDATE decisions SET verdict = 'reject'"))
        connection.execute(text("UPDATE evidence SET content = substr(content, 1, 40)"))
    assert [found[:3] for found in told(engine)] == [("unknown", "", "evidence"), ("differs", "", "verdict")]


@pytest.mark.parametrize("values", [
    {"text": "x"}, {"text": None}, {"step": "x"}, {"text": {}}, {"more": 1}, {"timestamp": [1]},
])  # fmt: skip
def test_values_of_other_kinds_never_end_the_reading(engine: Engine, values: dict[str, Any]) -> None:
    [id] = record(engine, parse_policy(ACCURACY, "p"), (a_request("fraud", NOW), whole()))
    data = whole().to_data()
    data["run"]["metrics"]["validation_accuracy"].update(values)
    columns = salted(json.dumps(data)).columns
    with as_owner(engine) as connection:
        statement = "UPDATE evidence SET fields = :fields, salts = :salts, content = :content"
        connection.execute(text(statement), dict(columns))
    judged, found = read_again(engine)
    assert judged == 1
    assert all(one.decision_id == id for one in found)
    assert found or "step" in values or "timestamp" in values


@pytest.mark.parametrize("number", [0, ENGINE + 1, 99])
def test_an_engine_of_another_release_is_told_as_unknown(engine: Engine, number: int) -> None:
    record(engine, parse_policy(ACCURACY, "p"), (a_request("fraud", NOW), whole()))
    with as_owner(engine) as connection:
        connection.execute(text(f"UPDATE decisions SET engine = {number}"))
    _, [one] = read_again(engine)
    assert [(str(found.kind), found.what) for found in one.found] == [("unknown", "engine")]
    assert f"engine {number} is unknown" in one.found[0].why


@pytest.mark.parametrize("policy", ["version: 99\nrules: []\n", "[" * 5000, "", "a: &a [*a]\n", "\u0007"])
def test_a_policy_that_this_release_cannot_read_is_told_as_unknown(engine: Engine, policy: str) -> None:
    """As a newer release may have taken it: its text has the digest that the decision names."""
    digest = hashlib.sha256(policy.encode()).hexdigest()
    record(engine, parse_policy(ACCURACY, "p"), (a_request("fraud", NOW), whole()))
    SqlAuditLog(engine, "test:1", REGISTRY).keep_policy(digest, policy)
    with as_owner(engine) as connection:
        connection.execute(text("UPDATE decisions SET policy_digest = :digest"), {"digest": digest})
    [(kind, _, what, *_)] = told(engine)
    assert (kind, what) == ("unknown", "policy")


@pytest.mark.parametrize("column", ["request", "engine", "verdict", "rule", "decided_at"])
def test_bytes_in_any_column_of_sqlite_never_end_the_reading(tmp_path: Path, column: str) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    engine = make_engine(url)
    record(engine, parse_policy(ACCURACY, "p"), *[(a_request(name, NOW), whole()) for name in ("a", "b")])
    with as_owner(engine) as connection:
        connection.execute(text(f"UPDATE decisions SET {column} = x'ff00' WHERE model = 'a'"))
    judged, found = read_again(engine)
    assert judged == 2
    assert [one.model for one in found] == ([] if column == "decided_at" else ["a"])
    engine.dispose()


# --- redacted, kept out, left out ----------------------------------------------------------------------------

BY_TIER = """\
version: 1
rules:
  - name: tier-1
    targets: [Production]
    when: {model_tag: {tier: "1"}}
    require:
      - {id: auc, metric: validation_accuracy, min: 0.9, overridable: true}
      - any_of: [[{tag: owner}], [{tag: never.set}]]
  - name: all
    targets: [Production]
    require: [{description: {min_length: 5}}]
  - name: milder
    targets: [Production]
    when: {model_tag: {kind: "x"}}
    require: [{id: auc, metric: validation_accuracy, min: 0.5, overrides: [tier-1/auc]}]
"""
OF_TIER = with_answer(whole(), ModelFacts, ModelFacts({"tier": Text.of("1"), "kind": Text.of("x")}, Text.of("")))


@pytest.mark.parametrize("field", [
    "registered_model.tags.tier", "registered_model.tags.kind", "run.metrics.validation_accuracy", "version.tags.owner",
    "version.description", "run.outputs",
])  # fmt: skip
def test_what_was_redacted_is_unknown_and_never_agrees(engine: Engine, field: str) -> None:
    [id] = record(engine, parse_policy(BY_TIER, "p"), (a_request("fraud", NOW), OF_TIER))
    assert read_again(engine) == (1, [])
    redact(engine, id, [field], "ticket", "ada")
    _, [one] = read_again(engine)
    assert {str(found.kind) for found in one.found} == {"unknown"}, one.found
    assert any(field in found.why for found in one.found)


def test_what_no_check_asks_for_may_be_redacted(engine: Engine) -> None:
    [id] = record(engine, parse_policy(BY_TIER, "p"), (a_request("fraud", NOW), OF_TIER))
    redact(engine, id, ["run.params.param_1", "version.tags.ticket", "run.metrics.metric_3"], "ticket", "ada")
    assert read_again(engine) == (1, [])


@pytest.mark.parametrize("statement", [
    "UPDATE decisions SET verdict = 'reject'",
    "UPDATE decision_checks SET result = 'failed' WHERE check_name LIKE 'metric%'",
    "UPDATE decision_checks SET result = 'failed' WHERE check_name LIKE 'description%'",
])  # fmt: skip
def test_a_redaction_hides_no_flip_of_anything_else(engine: Engine, statement: str) -> None:
    [id] = record(engine, parse_policy(BY_TIER, "p"), (a_request("fraud", NOW), OF_TIER))
    redact(engine, id, ["version.tags.owner"], "ticket", "ada")
    with as_owner(engine) as connection:
        connection.execute(text(statement))
    assert "differs" in {found[0] for found in told(engine)}


def test_a_decision_that_was_made_without_what_is_kept_out_agrees(engine: Engine) -> None:
    """It failed by another check, and that one could not be judged then either."""
    text_of_policy = ACCURACY.replace("min: 0.9}", "min: 0.99}, {tag: owner}")
    loaded = parse_policy(text_of_policy, "p")
    excluding = replace(loaded, policy=loaded.policy.excluding(["own*"]))
    record(engine, excluding, (a_request("fraud", NOW), whole()))
    with engine.connect() as connection:
        codes = set(connection.scalars(text("SELECT code FROM decision_checks")))
    assert "withheld" in codes
    assert read_again(engine) == (1, [])


def test_a_tag_of_ten_megabytes_is_judged_again_by_what_is_kept_of_it(engine: Engine) -> None:
    shown = with_changed(whole(), VersionFacts, tags={"owner": Text.of("\0é" * 5_000_000), "t": Text.of("x")})
    loaded = parse_policy(ACCURACY.replace("min: 0.9}", "min: 0.9}, {tag: owner, equals: x}, {tag: t}"), "p")
    record(engine, loaded, (a_request("fraud", NOW), shown))
    with engine.connect() as connection:
        assert "too_long" in set(connection.scalars(text("SELECT code FROM decision_checks")))
    assert read_again(engine) == (1, [])


# --- reading only what is asked for --------------------------------------------------------------------------


@given(policies(ANY), evidences())
def test_what_the_rules_do_not_ask_for_changes_nothing(rules: list[dict[str, Any]], evidence: Evidence) -> None:
    verdict = judged(rules, evidence)
    policy = parse_policy(json.dumps({"version": 1, "rules": rules}), "p", stored=True).policy
    request = a_request("credit-cards", evidence.read_at)
    row = dict(salted(evidence.to_json()).columns)
    again = evaluate(policy, request, evidence_for(row, policy.needs(request)), evidence.read_at)
    assert replace(again, checks=()) == replace(verdict, checks=())
    assert again.checks == verdict.checks


@pytest.mark.parametrize("name", ['a"b', "a\\", 'a","', '"],["', "é\U0001f600", "run.metrics", "a.b.c", ""])
def test_a_name_of_any_letters_is_found(name: str) -> None:
    policy = parse_policy(json.dumps({"version": 1, "rules": [
        {"name": "r", "targets": ["Production"], "require": [{"tag": name or "x"}, {"metric": name or "x", "min": 0}]}
    ]}, ensure_ascii=False), "p").policy  # fmt: skip
    reading = Reading("0.5", 0.5, 0, 0)
    shown = with_changed(whole(), VersionFacts, tags={name: Text.of(f"{name}x"), f"{name}2": Text.of("y")})
    shown = with_changed(shown, RunFacts, metrics={name: reading, f'{name}"': reading})
    request = a_request("fraud", NOW)
    row = dict(salted(shown.to_json()).columns)
    found = evidence_for(row, policy.needs(request))
    assert evaluate(policy, request, found, NOW) == evaluate(policy, request, shown, NOW)
    assert evaluate(policy, request, found, NOW).kind is (VerdictKind.APPROVE if name else VerdictKind.REJECT)


def test_a_role_that_may_only_read_can_do_it(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no roles")
    decide(engine, 2)
    role = f"reader_{random.getrandbits(32):x}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
    reading = make_engine(engine.url.set(username=role).render_as_string(hide_password=False), Access.READ)
    with reading.connect() as connection:
        assert connection.execute(select(EvidenceRow.evidence_key)).all()
    assert read_again(reading) == (2, [])
    reading.dispose()
