"""A database of an earlier version, full of rows, is brought to this one."""

from __future__ import annotations

import ast
import json
import os
import sys
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from reconciler.audit import schema
from reconciler.audit.database import Access, make_engine
from reconciler.audit.integrity.checking import check
from reconciler.audit.log.verifying import verify
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.store import SqlAuditLog
from reconciler.domain.decision import Judged, Mode, Outcome, OutcomeKind
from reconciler.domain.engines.evaluate import ENGINES
from reconciler.domain.evidence.evidence import Evidence, LoggedModelFacts, Reading, RunFacts, VersionFacts
from reconciler.domain.request import Request
from reconciler.domain.text import Text
from reconciler.domain.verdict import VerdictKind
from reconciler.judging import judge_again
from reconciler.policy.file import parse_policy
from reconciler.ports import Ending, SchemaMismatch
from tests.builders import a_request
from tests.builders import evidence_of as an_evidence
from tests.other_writers import all_before_0024
from tests.postgres import PostgresServer
from tests.store.test_store import NOW, REGISTRY, Audit, audit, claimed

__all__ = ["audit"]  # a fixture

# What a column was called, by the revision that named it anew.
RENAMED = {"0008_leased_by": {("pending_acts", "leased_by"): "holder"}}
Rows = dict[str, list[dict[str, Any]]]


def at_revision(url: str, revision: str) -> None:
    """As the version of that revision made it: by its migrations, and no later ones."""
    engine = make_engine(url, Access.CREATE)
    with engine.begin() as connection:
        schema.migrate(connection, revision)
    engine.dispose()


def renamed(since: str, table: str) -> dict[str, str]:
    """What columns of a table were called at this revision, by the name that they have now."""
    later = [names for revision, names in RENAMED.items() if revision > since]
    return {now: then for names in later for (where, now), then in names.items() if where == table}


def evidence_of(engine: Engine) -> dict[str, str]:
    """The evidence of each decision as the releases before its table kept it, unpacked by nothing of ours."""
    texts = {}
    with engine.connect() as connection:
        for key, content in connection.execute(text("SELECT evidence_key, content FROM evidence")):
            document: dict[str, Any] = {}
            for path, value in json.loads(zlib.decompress(content)):
                *above, name = path.split(".", 2)
                place = document
                for step in above:
                    place = place.setdefault(step, {})
                place[name] = value
            texts[key] = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return texts


def copied(source: str, target: str, revision: str) -> Rows:
    """Every row of ours, in the columns that the target has, through SQLAlchemy's reflection and nothing of ours.

    The source becomes what an earlier release would have made it.
    """
    if revision < "0024":
        engine = make_engine(source)
        all_before_0024(engine)
        engine.dispose()
    there, here = create_engine(source), create_engine(target)
    old, new = MetaData(), MetaData()
    old.reflect(there)
    new.reflect(here)
    put: Rows = {}
    evidence = evidence_of(there)
    with there.connect() as reading, here.begin() as writing:
        for table in new.sorted_tables:
            if table.name == "alembic_version":
                continue
            columns = [column.name for column in table.columns]
            rows = [dict(row) for row in reading.execute(old.tables[table.name].select()).mappings()]
            for row in rows if table.name == "decisions" else ():
                row["evidence"] = evidence[row["decision_id"]]
            now = {then: now for now, then in renamed(revision, table.name).items()}
            put[table.name] = [{name: row[now.get(name, name)] for name in columns} for row in rows]
            if table.name == "log_state":
                # The state of an empty log, which that of the source replaces.
                writing.execute(table.delete())
            if put[table.name]:
                writing.execute(table.insert(), put[table.name])
    there.dispose()
    here.dispose()
    return put


def held(url: str, like: Rows, revision: str) -> Rows:
    """The same columns of the same tables, by the names that they had."""
    engine = create_engine(url)
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        found = {
            name: [
                {renamed(revision, name).get(key, key): value for key, value in row.items()}
                for row in connection.execute(tables.tables[name].select()).mappings()
            ]
            for name in like
        }
        evidence = evidence_of(engine)
    for row in found["decisions"]:
        row["evidence"] = evidence[row["decision_id"]]
    engine.dispose()
    return {
        name: [{key: row[key] for key in (rows[0] if rows else row)} for row in found[name]]
        for name, rows in like.items()
    }


def as_text(rows: Rows) -> dict[str, list[str]]:
    return {name: sorted(map(repr, some)) for name, some in rows.items()}


def imported_by(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def assert_intact(url: str) -> None:
    """`db check --all` finds nothing: what was upgraded is as what is new."""
    engine = make_engine(url, Access.READ)
    found = check(engine, everything=True)
    engine.dispose()
    assert found.faults == ()
    assert found.entries


@pytest.mark.parametrize("revision", schema.revisions())
def test_a_revision_imports_nothing_of_ours_so_that_it_never_changes(revision: str) -> None:
    imported = imported_by(schema.migrations_path() / "versions" / f"{revision}.py")
    assert imported - sys.stdlib_module_names <= {"sqlalchemy", "alembic"}


@dataclass
class Earlier:
    url: str
    revision: str


EARLIER = schema.revisions()[:-1]


# The first, and each second one back from the last; the long run has all of them.
@pytest.fixture(params=EARLIER if os.environ.get("LONG_TESTS") else sorted({EARLIER[0], *EARLIER[::-2]}))
def earlier(audit_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> Earlier:
    """An empty database at an earlier revision, of the same kind."""
    url = f"sqlite:///{tmp_path}/earlier.db"
    if not audit_url.startswith("sqlite"):
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.new_database()
    at_revision(url, request.param)
    return Earlier(url, request.param)


def test_a_full_database_of_an_earlier_version_keeps_every_row_and_tells_what_each_decision_did(
    audit: Audit, earlier: Earlier
) -> None:
    for model, accuracy, outcome in (
        ("approved", "0.95", OutcomeKind.APPLIED),
        ("rejected", "0.5", OutcomeKind.APPLIED),
        ("overtaken", "0.95", OutcomeKind.SUPERSEDED),
        ("under-way", "0.95", None),
    ):
        audit.log.record(audit.judged(model, accuracy=accuracy))
        [pending] = [one for one in claimed(audit.log) if one.decision.request.model == model]
        if outcome is not None:
            audit.log.conclude(Ending(pending, Outcome(outcome, "shown")))
    put = copied(audit.url, earlier.url, earlier.revision)
    assert {"decisions", "outcomes", "pending_acts", "policy_versions"} <= {name for name, rows in put.items() if rows}
    schema.upgrade(earlier.url)
    assert as_text(held(earlier.url, put, earlier.revision)) == as_text(put)
    there = create_engine(earlier.url)
    assert "evidence" not in {column["name"] for column in inspect(there).get_columns("decisions")}
    there.dispose()
    assert_intact(earlier.url)
    engine = make_engine(earlier.url)
    found = {row["model"]: (row["effect"], row["decider"]) for row in AuditReader(engine).decisions(DecisionFilter())}
    assert found == {
        "approved": ("moved", "daemon"),
        "rejected": ("refused", "daemon"),
        "overtaken": ("nothing", "daemon"),
        "under-way": (None, "daemon"),
    }
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.execute(text("UPDATE decisions SET reason = 'better'"))
    engine.dispose()


@pytest.mark.parametrize("earlier", ["0006_effects_and_ends"], indirect=True)
def test_what_an_earlier_version_decided_was_judged_by_the_first_engine(audit: Audit, earlier: Earlier) -> None:
    audit.log.record(audit.judged())
    put = copied(audit.url, earlier.url, earlier.revision)
    assert "engine" not in put["decisions"][0]
    schema.upgrade(earlier.url)
    engine = make_engine(earlier.url)
    reader = AuditReader(engine)
    [row] = reader.decisions(DecisionFilter())
    assert reader.decision(row["decision_id"])["engine"] == 1
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.execute(text("UPDATE decisions SET engine = 2"))
    engine.dispose()


# Each was approved by the first release, and none of it would be today.
BELIEVED = """\
version: 1
rules:
  - name: r
    targets: [Production]
    require:
      - {metric: val_acc, min: 0.9}
      - {run: {linked: true}}
      - {description: {min_length: 20}}
"""


@pytest.mark.parametrize("earlier", ["0001_decisions", "0007_engine"], indirect=True)
def test_what_the_first_engine_believed_it_still_believes_after_the_upgrade(audit: Audit, earlier: Earlier) -> None:
    run = RunFacts("r1", "FINISHED", "active", 1, "s3://b/r1", {"val_acc": Reading("94", 94.0, 0, 0)})
    model = LoggedModelFacts("m-1", "r1", "READY", {})
    version = VersionFacts("r1", "models:/m-1", "READY", "None", Text.of("\u200b" * 20))
    request = a_request("fraud", NOW)
    evidence, loaded = an_evidence(NOW, version, run, model), parse_policy(BELIEVED, "p")
    assert not {"experiment_id", "outputs"} & json.loads(evidence.to_json())["run"].keys()
    verdict = ENGINES[1](loaded.policy, request, evidence, NOW)
    audit.log.keep_policy(loaded.digest, loaded.text)
    audit.log.record(Judged(request, verdict, evidence, Mode.ENFORCE, loaded.digest, engine=1))
    copied(audit.url, earlier.url, earlier.revision)
    schema.upgrade(earlier.url)
    engine = make_engine(earlier.url)
    reader = AuditReader(engine)
    [row] = reader.decisions(DecisionFilter())
    stored = reader.decision(row["decision_id"])
    assert (row["verdict"], stored["engine"]) == ("approve", 1)
    policy, shown = parse_policy(stored["policy"], "p").policy, Evidence.from_json(json.dumps(stored["evidence"]))
    asked = Request.from_data(stored["request"])
    again = judge_again(stored["engine"], policy, asked, shown)
    assert (again.kind, again.reason) == ("approve", stored["reason"])
    assert judge_again(2, policy, asked, shown).kind is not VerdictKind.APPROVE
    engine.dispose()


@pytest.mark.parametrize("earlier", ["0007_engine"], indirect=True)
def test_who_had_leased_an_act_has_leased_it_still_and_concludes_it(audit: Audit, earlier: Earlier) -> None:
    audit.log.record(audit.judged())
    assert [row["holder"] for row in copied(audit.url, earlier.url, earlier.revision)["pending_acts"]] == ["test:1"]
    schema.upgrade(earlier.url)
    engine = make_engine(earlier.url)
    another, same = (SqlAuditLog(engine, name, REGISTRY) for name in ("test:2", "test:1"))
    if engine.dialect.name == "postgresql":
        # A SQLite file is served by one process: there whoever asks has it.
        assert claimed(another) == []
    [pending] = claimed(same)
    assert same.conclude(Ending(pending, Outcome(OutcomeKind.APPLIED, "shown")))
    engine.dispose()


@pytest.mark.parametrize("earlier", ["0010_unread_lists"], indirect=True)
def test_evidence_is_moved_in_parts_and_an_interruption_leaves_each_in_one_place(
    audit: Audit, earlier: Earlier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.audit.log.filling.MOVED_TOGETHER", 2)
    for number in range(7):
        audit.log.record(audit.judged(f"model-{number}"))
    told = {
        row["decision_id"]: row["evidence"] for row in copied(audit.url, earlier.url, earlier.revision)["decisions"]
    }

    def interrupt(done: int, of: int) -> None:
        if done > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        schema.upgrade(earlier.url, interrupt)
    there = create_engine(earlier.url)
    with there.connect() as connection:
        left = dict(connection.execute(text("SELECT decision_id, evidence FROM decisions")).all())  # type: ignore[arg-type]
    moved = evidence_of(there)
    assert {key for key, kept in left.items() if not kept} == moved.keys()
    assert {**{key: kept for key, kept in left.items() if kept}, **moved} == told
    assert 0 < len(moved) < 7
    with pytest.raises(DBAPIError, match="append-only"), there.begin() as connection:
        connection.execute(text("UPDATE decisions SET evidence = ''"))
    engine = make_engine(earlier.url)
    with pytest.raises(SchemaMismatch, match="is not complete yet: run `mlflow-reconciler db upgrade`"):
        schema.require_head(engine)
    seen: list[tuple[int, int]] = []
    schema.upgrade(earlier.url, lambda done, of: seen.append((done, of)))
    assert seen[0][0] > 0
    assert seen[-1] == (8, 8)
    assert evidence_of(there) == told
    found = verify(engine)
    assert (found.size, found.differences) == (8, ())
    engine.dispose()
    there.dispose()
    if engine.dialect.name == "sqlite":
        # Nor in free pages, where a redaction would not reach it.
        assert b'"current_stage":"None"' not in Path(str(engine.url.database)).read_bytes()


@pytest.mark.parametrize("earlier", ["0001_decisions", "0010_unread_lists"], indirect=True)
def test_decisions_of_one_request_are_numbered_and_of_several_outcomes_the_last_one_counts(
    audit: Audit, earlier: Earlier
) -> None:
    audit.log.record(audit.judged(mode=Mode.OBSERVE))
    audit.log.record(replace(audit.judged(mode=Mode.ENFORCE), judgement=2))
    [pending] = claimed(audit.log)
    audit.log.conclude(Ending(pending, Outcome(OutcomeKind.APPLIED, "shown")))
    put = copied(audit.url, earlier.url, earlier.revision)
    id = pending.decision.decision_id
    old = create_engine(earlier.url)
    with old.begin() as connection:
        # As the first release could, before leases had fences.
        at = "2026-01-01T00:00:00.000Z"
        later = [
            {"id": 98, "outcome": "failed", "detail": "403"},
            {"id": 99, "outcome": "superseded", "detail": "gone"},
        ]
        insert = text(
            "INSERT INTO outcomes (id, decision_id, outcome, at, detail) VALUES (:id, :of, :outcome, :at, :detail)"
        )
        connection.execute(insert, [{**row, "of": id, "at": at} for row in later])
    old.dispose()
    schema.upgrade(earlier.url)
    engine = make_engine(earlier.url)
    reader = AuditReader(engine)
    rows = sorted(reader.decisions(DecisionFilter()), key=lambda row: row["judgement"])
    assert [(row["judgement"], row["mode"], row["outcome"]) for row in rows] == [
        (1, "observe", "observed"),
        (2, "enforce", "superseded"),
    ]
    whole = reader.decision(id)
    assert [row["outcome"] for row in whole["earlier_outcomes"]] == ["applied", "failed"]
    assert [row["outcome"] for row in whole["outcomes"]] == ["superseded"]
    assert as_text(held(earlier.url, {"decisions": put["decisions"]}, earlier.revision)) == as_text(
        {"decisions": put["decisions"]}
    )
    assert_intact(earlier.url)
    assert not verify(engine).differences
    for change in (
        "DELETE FROM earlier_outcomes",
        "UPDATE outcomes SET detail = ''",
        "UPDATE decisions SET judgement = 3",
    ):
        with pytest.raises(DBAPIError), engine.begin() as connection:
            connection.execute(text(change))
    engine.dispose()


@pytest.mark.parametrize("earlier", ["0010_unread_lists"], indirect=True)
def test_a_decision_whose_child_rows_are_there_is_rebuilt_with_every_reference_intact(
    audit: Audit, earlier: Earlier
) -> None:
    audit.log.record(audit.judged())
    copied(audit.url, earlier.url, earlier.revision)
    schema.upgrade(earlier.url)
    engine = make_engine(earlier.url)
    orphan = text("INSERT INTO outcomes (decision_id, outcome, at, detail) VALUES ('none', 'failed', :at, '')")
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.execute(orphan, {"at": "2026-01-01T00:00:00.000Z"})
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            assert list(connection.execute(text("PRAGMA foreign_key_check"))) == []
            assert connection.scalar(text("PRAGMA integrity_check")) == "ok"
            assert connection.scalar(text("PRAGMA foreign_keys")) == 1
    engine.dispose()
