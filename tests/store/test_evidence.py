"""Evidence in its table: what it takes, what its triggers allow, and what is left of it after a redaction."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError

from reconciler.audit import schema, transfer
from reconciler.audit.database import make_engine
from reconciler.audit.decisions.judgements import add_confirmation
from reconciler.audit.evidence.redacting import empty_write_ahead_log, redact
from reconciler.audit.evidence.storing import Stored, salted, stored_evidence
from reconciler.audit.evidence.tables import EvidenceRow, RedactionRow
from reconciler.audit.log.appending import REST_ON_EVIDENCE
from reconciler.audit.log.verifying import verify
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.session import Session
from reconciler.audit.tables import DecisionCheckRow, PauseEventRow, db_now
from reconciler.domain.evidence.evidence import Evidence
from reconciler.domain.evidence.salted import document_of, fields_of
from reconciler.domain.judgements import Confirmation
from reconciler.domain.request import Request
from reconciler.domain.verdict import Verdict, VerdictKind
from reconciler.judging import judge_again
from reconciler.ports import NoSuchField
from tests.other_writers import decided_before_0024, field_digests
from tests.postgres import PostgresServer
from tests.store.test_log import LOADED, decide, leaves, without_triggers

FIELD = "version.description"


@pytest.fixture(params=["of now", "of an earlier release"])
def decision(engine: Engine, request: pytest.FixtureRequest) -> str:
    """The id of one decision, among others."""
    decide(engine, 3)
    ids = [row["decision_id"] for row in AuditReader(engine).decisions(DecisionFilter())]
    id = sorted(ids)[1]
    return id if request.param == "of now" else decided_before_0024(engine, id)


def row_of(engine: Engine, decision: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(EvidenceRow.__table__).where(EvidenceRow.evidence_key == decision)).one()


def the_decision(engine: Engine) -> str:
    [id] = [str(leaf.row_key) for leaf in leaves(engine) if leaf.entry == "decisions"]
    return id


def entries_in(row: Any) -> list[list[Any]]:
    found: list[list[Any]] = json.loads(zlib.decompress(row.content))
    return found


# --- fields --------------------------------------------------------------------------------------------------

_scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=6)
_values = _scalars | st.lists(_scalars, max_size=2) | st.dictionaries(st.text(max_size=4), _scalars, max_size=2)
_names = st.text(st.characters(categories=["Ll"]), min_size=1, max_size=8)
_maps = st.dictionaries(st.text(max_size=6), _values, max_size=3)
_answers = st.dictionaries(_names, _values, min_size=1, max_size=3) | st.fixed_dictionaries(
    {"tags": _maps, "metrics": _maps}
)


@given(st.dictionaries(_names, _answers, max_size=3))
def test_evidence_is_put_together_again_from_its_fields(document: dict[str, Any]) -> None:
    fields = list(fields_of(document))
    assert len({field.path for field in fields}) == len(fields)
    assert document_of(dict(fields)) == document


def test_the_entry_of_a_decision_covers_hashes_that_anybody_can_recompute(engine: Engine, decision: str) -> None:
    row = row_of(engine, decision)
    covered: Any = field_digests(row.salts, row.content)
    if row.sealed is not None:
        told = json.dumps(covered, separators=(",", ":")).encode()
        sealed, digests = hashlib.sha256(row.salts + row.content), hashlib.sha256(told)
        assert (row.sealed, row.digests) == (sealed.digest(), digests.digest())
        covered = {"fields": len(covered), "sealed": sealed.hexdigest(), "digests": digests.hexdigest()}
    with engine.connect() as connection:
        found = connection.execute(text("SELECT * FROM decisions WHERE decision_id = :id"), {"id": decision}).mappings()
        columns = plain(dict(found.one()))
        of_it = select(DecisionCheckRow.__table__).where(DecisionCheckRow.decision_id == decision)
        checks = [plain(dict(check)) for check in connection.execute(of_it).mappings()]
    for check in checks:
        del check["decision_id"]
    entry = {
        "format": "mlflow-reconciler audit v1",
        "row": {**columns, "checks": checks, "evidence": covered},
        "table": "decisions",
    }
    written = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    [leaf] = [leaf for leaf in leaves(engine) if leaf.row_key == decision and leaf.entry == "decisions"]
    assert bytes(leaf.hash) == hashlib.sha256(b"\0" + written).digest()


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """As docs/audit.md says: times in UTC with milliseconds, fractions as text, no columns without a value."""
    told = {}
    for name, value in row.items():
        if hasattr(value, "strftime"):
            value = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z"
        if name in {"acts", "archive_existing"}:
            value = bool(value)
        if value is not None:
            told[name] = repr(value) if isinstance(value, float) else value
    return told


# --- redaction -----------------------------------------------------------------------------------------------


def test_a_redacted_field_is_gone_with_its_salt_and_every_entry_stays_as_it_was(engine: Engine, decision: str) -> None:
    before, row = leaves(engine), row_of(engine, decision)
    done = redact(engine, decision[:8], [FIELD], "a name in it", "ada")
    after = row_of(engine, decision)
    at = [path for path, *_ in entries_in(row)].index(FIELD)
    assert entries_in(after) == [[FIELD] if one == at else entry for one, entry in enumerate(entries_in(row))]
    assert after.salts == row.salts[: at * 16] + row.salts[at * 16 + 16 :]
    with engine.connect() as connection:
        [redaction] = connection.execute(text("SELECT * FROM redactions")).mappings()
    value = json.dumps(entries_in(row)[at], sort_keys=True, separators=(",", ":")).encode()
    assert redaction["digest"] == hashlib.sha256(row.salts[at * 16 : at * 16 + 16] + value).hexdigest()
    assert done.removed == ((FIELD, redaction["digest"]),)
    named = {name: redaction[name] for name in ("evidence_key", "position", "field", "reason", "person")}
    assert named == {
        "evidence_key": decision, "position": at, "field": FIELD, "reason": "a name in it", "person": "ada",
    }  # fmt: skip
    assert leaves(engine)[: len(before)] == before
    assert [(leaf.entry, leaf.row_key) for leaf in leaves(engine)[len(before) :]] == [("redactions", "1")]
    found = verify(engine)
    assert (found.differences, found.redacted) == ((), 1)


def test_what_is_redacted_is_shown_so_and_all_else_as_before(engine: Engine, decision: str) -> None:
    reader = AuditReader(engine)
    before = reader.decision(decision)
    redact(engine, decision, [FIELD, "run.metrics.validation_accuracy"], "a test", "ada")
    after = reader.decision(decision)
    assert after["evidence"]["version"].pop("description") == {"redacted": True}
    assert after["evidence"]["run"]["metrics"].pop("validation_accuracy") == {"redacted": True}
    del before["evidence"]["version"]["description"], before["evidence"]["run"]["metrics"]["validation_accuracy"]
    assert after == before


def test_it_is_told_which_columns_and_decisions_show_the_value_still(engine: Engine, decision: str) -> None:
    done = redact(engine, decision, ["run.metrics.validation_accuracy"], "a test", "ada")
    assert {"decisions.reason", "decision_checks.observed"} <= set(done.repeated_in)
    assert done.others == ()


def test_what_confirmed_a_decision_loses_the_field_as_well(engine: Engine, decision: str) -> None:
    told = AuditReader(engine).decision(decision)
    evidence = Evidence.from_json(json.dumps(told["evidence"]))
    again = Confirmation(Verdict(VerdictKind.APPROVE, "met", ()), told["policy_digest"], evidence, told["engine"])
    with Session(engine).recording() as recording:
        add_confirmation(recording, decision, again, "test:1")
    assert verify(engine).differences == ()
    done = redact(engine, decision, [FIELD, "run.metrics.validation_accuracy"], "a name in it", "ada")
    assert [path for path, _ in done.removed] == [FIELD, FIELD, *["run.metrics.validation_accuracy"] * 2]
    [shown] = AuditReader(engine).decision(decision)["confirmations"]
    assert shown["evidence"]["version"]["description"] == {"redacted": True}
    found = verify(engine)
    assert (found.differences, found.redacted) == ((), 4)
    without_triggers(engine, "evidence")
    with engine.begin() as connection:
        of_confirmation = "evidence_key NOT IN (SELECT decision_id FROM decisions)"
        connection.execute(text(f"UPDATE evidence SET fields = fields + 1 WHERE {of_confirmation}"))
    assert [told for told in verify(engine).differences if told.startswith("confirmations 1 ")]


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["version.tags.owner"], "the evidence has no field 'version.tags.owner': it has format, "),
        ([FIELD, "version"], "the evidence has no field 'version'"),
        (["read_at"], "cannot be redacted"),
        (["run.answer"], "cannot be redacted"),
    ],
)
def test_a_field_that_is_not_there_changes_nothing(engine: Engine, decision: str, paths: list[str], said: str) -> None:
    before = row_of(engine, decision)
    with pytest.raises(NoSuchField, match=said):
        redact(engine, decision, paths, "a test", "ada")
    assert row_of(engine, decision) == before
    assert verify(engine).redacted == 0


def test_a_field_is_redacted_once(engine: Engine, decision: str) -> None:
    redact(engine, decision, [FIELD], "a test", "ada")
    with pytest.raises(NoSuchField, match="'version.description' is redacted already"):
        redact(engine, decision, [FIELD], "a test", "ada")


def test_on_sqlite_the_salt_is_in_no_file_of_the_database_any_more(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    schema.upgrade(url)
    engine = make_engine(url)
    decide(engine, 3)
    [row, *_] = AuditReader(engine).decisions(DecisionFilter())
    stored = row_of(engine, row["decision_id"])
    at = [path for path, *_ in entries_in(stored)].index(FIELD)
    salt = stored.salts[at * 16 : at * 16 + 16]

    def anywhere() -> bool:
        return any(salt in file.read_bytes() for file in tmp_path.iterdir())

    assert anywhere()
    redact(engine, row["decision_id"], [FIELD], "a test", "ada")
    assert empty_write_ahead_log(engine)
    assert not anywhere()
    engine.dispose()


def test_a_copy_on_the_other_database_is_redacted_as_well(
    engine: Engine, decision: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    redact(engine, decision, [FIELD], "a test", "ada")
    sqlite = f"sqlite:///{tmp_path / 'copy.db'}"
    target = sqlite if engine.dialect.name == "postgresql" else postgres.new_database()
    schema.upgrade(target)
    transfer.copy(engine.url.render_as_string(hide_password=False), target)
    copy = make_engine(target)
    assert verify(copy) == verify(engine)
    assert AuditReader(copy).decision(decision)["evidence"]["version"]["description"] == {"redacted": True}
    redact(copy, decision, ["run.run_id"], "the copy goes on", "ada")
    assert verify(copy).differences == ()
    copy.dispose()


# --- what the triggers allow ---------------------------------------------------------------------------------

_ONE_LESS = "UPDATE evidence SET salts = substr(salts, 17)"
_ADDED = (
    "INSERT INTO redactions (at, evidence_key, position, field, digest, reason, person)"
    " VALUES ('2026-11-26T00:00:00.000Z', :key, {at}, 'x', 'x', 'x', 'x')"
)
REFUSED = {
    "another value": ["UPDATE evidence SET content = content"],
    "one salt less without a redaction": [f"{_ONE_LESS} WHERE evidence_key = :key"],
    "two salts less for one redaction": [
        _ADDED.format(at=0), "UPDATE evidence SET salts = substr(salts, 33) WHERE evidence_key = :key",
    ],
    "one redaction used twice": [
        _ADDED.format(at=0), f"{_ONE_LESS} WHERE evidence_key = :key", f"{_ONE_LESS} WHERE evidence_key = :key",
    ],
    "the redaction of another decision": [_ADDED.format(at=0), f"{_ONE_LESS} WHERE evidence_key <> :key"],
    "another number of fields": [
        _ADDED.format(at=0), f"{_ONE_LESS}, fields = fields - 1 WHERE evidence_key = :key",
    ],
    "another key": [_ADDED.format(at=0), f"{_ONE_LESS}, evidence_key = 'x' WHERE evidence_key = :key"],
    "one field twice": [_ADDED.format(at=0), _ADDED.format(at=0)],
    "a redaction changed": [_ADDED.format(at=0), "UPDATE redactions SET reason = 'better'"],
    "a redaction deleted": [_ADDED.format(at=0), "DELETE FROM redactions"],
    "evidence deleted": ["DELETE FROM evidence WHERE evidence_key = :key"],
    "one salt more": [
        _ADDED.format(at=0), f"{_ONE_LESS} WHERE evidence_key = :key",
        "UPDATE evidence SET salts = salts || substr(salts, 1, 16) WHERE evidence_key = :key",
    ],
    "what seals it changed by a redaction": [
        _ADDED.format(at=0), f"{_ONE_LESS}, sealed = salts WHERE evidence_key = :key",
    ],
    "the hash of its digests changed by a redaction": [
        _ADDED.format(at=0), f"{_ONE_LESS}, digests = salts WHERE evidence_key = :key",
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_the_triggers_allow_no_other_change(engine: Engine, decision: str, what: str) -> None:
    *allowed, refused = REFUSED[what]
    with engine.connect() as connection:
        transaction = connection.begin()
        for statement in allowed:
            connection.execute(text(statement), {"key": decision} if ":key" in statement else {})
        with pytest.raises(DBAPIError, match="append-only|unique|duplicate"):
            connection.execute(text(refused), {"key": decision} if ":key" in refused else {})
        transaction.rollback()


# What makes a row look as an earlier release wrote it, in whole or in part; or has its hashes in each other's place.
HASHES = ["sealed = NULL, digests = NULL", "sealed = NULL", "digests = NULL", "sealed = digests, digests = sealed"]


@pytest.mark.parametrize("hashes", HASHES)
def test_a_redaction_cannot_take_the_hashes_along(engine: Engine, hashes: str) -> None:
    decide(engine, 1)
    key = {"key": the_decision(engine)}
    with engine.connect() as connection:
        connection.execute(text(_ADDED.format(at=0)), key)
        with pytest.raises(DBAPIError, match="append-only"):
            connection.execute(text(f"{_ONE_LESS}, {hashes} WHERE evidence_key = :key"), key)


@pytest.mark.parametrize("hashes", HASHES)
@pytest.mark.parametrize("redacted", [False, True])
def test_a_row_without_its_hashes_is_told_with_its_decision(engine: Engine, hashes: str, redacted: bool) -> None:
    decide(engine, 1)
    key = the_decision(engine)
    if redacted:
        redact(engine, key, [FIELD], "a test", "ada")
    assert verify(engine).differences == ()
    without_triggers(engine, "evidence")
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE evidence SET {hashes} WHERE evidence_key = :key"), {"key": key})
    [told] = verify(engine).differences
    assert told.startswith(f"decisions {key} (entry ")


# --- whatever is changed behind the product ------------------------------------------------------------------


def _value(entries: list[list[Any]], salts: bytes, at: int) -> tuple[list[list[Any]], bytes]:
    return [[path, [*value, 1]] if one == at else [path, *value] for one, (path, *value) in enumerate(entries)], salts


def _path(entries: list[list[Any]], salts: bytes, at: int) -> tuple[list[list[Any]], bytes]:
    return [[f"{path}x" if one == at else path, *value] for one, (path, *value) in enumerate(entries)], salts


def _salt(entries: list[list[Any]], salts: bytes, at: int) -> tuple[list[list[Any]], bytes]:
    place = at * 16 % len(salts)
    return entries, salts[:place] + bytes([salts[place] ^ 1]) + salts[place + 1 :]


def _gone(entries: list[list[Any]], salts: bytes, at: int) -> tuple[list[list[Any]], bytes]:
    return entries[:at] + entries[at + 1 :], salts[: at * 16] + salts[at * 16 + 16 :]


def _swapped(entries: list[list[Any]], salts: bytes, at: int) -> tuple[list[list[Any]], bytes]:
    return [*entries[1:], entries[0]], salts


Change = Callable[[list[list[Any]], bytes, int], tuple[list[list[Any]], bytes]]


@pytest.mark.parametrize("change", [_value, _path, _salt, _gone, _swapped])
@pytest.mark.parametrize("redacted", [False, True])
def test_whatever_is_changed_in_evidence_is_told_with_its_decision(
    engine: Engine, decision: str, change: Change, redacted: bool
) -> None:
    if redacted:
        redact(engine, decision, [FIELD], "a test", "ada")
    without_triggers(engine, "evidence")
    row = row_of(engine, decision)
    for at in range(row.fields):
        entries, salts = change(entries_in(row), row.salts, at)
        with engine.begin() as connection:
            put(connection, decision, {"content": packed(entries), "salts": salts})
            if (entries, salts) == (entries_in(row), row.salts):
                continue
        differences = verify(engine).differences
        assert len(differences) == 1, differences
        assert f"decisions {decision} (entry " in differences[0]
    with engine.begin() as connection:
        put(connection, decision, {"content": row.content, "salts": row.salts})
    assert verify(engine).differences == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.data())
def test_no_byte_of_what_is_compressed_can_be_changed_unseen(engine: Engine, data: st.DataObject) -> None:
    if not leaves(engine):
        decide(engine, 1)
        without_triggers(engine, "evidence")
    [key] = [leaf.row_key for leaf in leaves(engine) if leaf.entry == "decisions"]
    row = row_of(engine, key)
    at = data.draw(st.integers(0, len(row.content) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    changed = row.content[:at] + bytes([row.content[at] ^ bit]) + row.content[at + 1 :]
    with engine.begin() as connection:
        put(connection, key, {"content": changed})
    differences = verify(engine).differences
    with engine.begin() as connection:
        put(connection, key, {"content": row.content})
    # A bit of the header of zlib stands for the speed of the compression, and nothing else.
    assert any(key in found for found in differences) or zlib.decompress(changed) == zlib.decompress(row.content)


def test_evidence_in_other_bytes_is_told_though_all_its_hashes_fit(engine: Engine) -> None:
    decide(engine, 1)
    key = the_decision(engine)
    without_triggers(engine, "evidence")
    row = row_of(engine, key)
    entries = entries_in(row)
    entries[-1][1] = "FAILED"
    as_before, other = zlib.decompress(row.content), json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    for content in (zlib.compress(as_before, 1), zlib.compress(other, 9)):
        digests = json.dumps(field_digests(row.salts, content), separators=(",", ":")).encode()
        hashes = {
            "sealed": hashlib.sha256(row.salts + content).digest(), "digests": hashlib.sha256(digests).digest(),
        }  # fmt: skip
        with engine.begin() as connection:
            put(connection, key, {"content": content, **hashes})
        [told] = verify(engine).differences
        assert told.startswith(f"decisions {key} ")


def test_where_salts_end_is_covered_too(engine: Engine) -> None:
    """The hash is over both columns, one behind the other."""
    decide(engine, 1)
    key = the_decision(engine)
    without_triggers(engine, "evidence")
    row = row_of(engine, key)
    for at in (-16, -1, 1, 16):
        end = len(row.salts) + at
        both = row.salts + row.content
        with engine.begin() as connection:
            put(connection, key, {"salts": both[:end], "content": both[end:]})
        [told] = verify(engine).differences
        assert told.startswith(f"decisions {key} ")


def test_evidence_of_two_decisions_in_each_others_place_is_told(engine: Engine, decision: str) -> None:
    [other] = [leaf.row_key for leaf in leaves(engine) if leaf.entry == "decisions" and leaf.row_key != decision][:1]
    without_triggers(engine, "evidence")
    rows = {decision: row_of(engine, other), other: row_of(engine, decision)}
    with engine.begin() as connection:
        for key, row in rows.items():
            put(connection, key, {name: cell for name, cell in row._asdict().items() if name != "evidence_key"})
    told = verify(engine).differences
    assert len(told) == 2
    assert all(any(f"decisions {key} " in one for one in told) for key in rows)


def test_a_redaction_on_record_without_a_removal_is_told_and_so_is_a_removal_without_one(
    engine: Engine, decision: str
) -> None:
    without_triggers(engine, "evidence")
    row = row_of(engine, decision)
    entries = [[path] if path == FIELD else [path, *value] for path, *value in entries_in(row)]
    at = entries.index([FIELD])
    left = zlib.compress(json.dumps(entries, sort_keys=True, separators=(",", ":")).encode(), 9)
    with engine.begin() as connection:
        put(connection, decision, {"content": left, "salts": row.salts[: at * 16] + row.salts[at * 16 + 16 :]})
    [told] = verify(engine).differences
    assert told.startswith(f"decisions {decision} ")
    digest = field_digests(row.salts, row.content)[at]
    with engine.begin() as connection:
        put(connection, decision, {"content": row.content, "salts": row.salts})
        added = {"evidence_key": decision, "position": at, "field": FIELD, "digest": digest}
        with_why = added | {"reason": "", "person": "", "at": db_now()}
        connection.execute(RedactionRow.__table__.insert().values(with_why))
    told = verify(engine).differences
    assert [one.split(" ")[0] for one in told] == ["decisions", "redactions"]


_BETWEEN = b'],["'


@pytest.mark.parametrize("between", [b']\n["', b']\n\n["', b'],\n["', b'] ,["', b']],[["', b']\0["'])
@pytest.mark.parametrize("many", [1, -1])
def test_no_other_sign_between_two_fields_passes_for_ours(
    engine: Engine, decision: str, between: bytes, many: int
) -> None:
    """Fields are found by what stands between them, and each has a digest of its own."""
    without_triggers(engine, "evidence")
    text_of = zlib.decompress(row_of(engine, decision).content)
    with engine.begin() as connection:
        put(connection, decision, {"content": zlib.compress(text_of.replace(_BETWEEN, between, many))})
    assert len(verify(engine).differences) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.data())
def test_no_byte_of_the_fields_can_be_changed_unseen(engine: Engine, data: st.DataObject) -> None:
    if not leaves(engine):
        decide(engine, 1)
        without_triggers(engine, "evidence")
    [key] = [leaf.row_key for leaf in leaves(engine) if leaf.entry == "decisions"]
    content = row_of(engine, key).content
    fields = zlib.decompress(content)
    at, byte = data.draw(st.integers(0, len(fields) - 1)), data.draw(st.sampled_from(b'\n\0,]["x 0'))
    with engine.begin() as connection:
        put(connection, key, {"content": zlib.compress(fields[:at] + bytes([byte]) + fields[at + 1 :])})
    differences = verify(engine).differences
    with engine.begin() as connection:
        put(connection, key, {"content": content})
    assert any(key in found for found in differences) or fields[at] == byte


def packed(entries: list[list[Any]]) -> bytes:
    return zlib.compress(json.dumps(entries).encode())


def put(connection: Any, key: str, values: dict[str, Any]) -> None:
    connection.execute(EvidenceRow.__table__.update().where(EvidenceRow.evidence_key == key).values(values))


def test_evidence_that_nobody_decided_on_is_told(engine: Engine, decision: str) -> None:
    row = row_of(engine, decision)
    with engine.begin() as connection:
        connection.execute(EvidenceRow.__table__.insert(), {**row._asdict(), "evidence_key": "of nobody"})
    assert verify(engine).differences == (
        "evidence of nobody: no row of history rests on it: it was added by another way",
    )


def test_missing_and_broken_evidence_is_told_apart_from_a_changed_row(engine: Engine, decision: str) -> None:
    without_triggers(engine, "evidence")
    content = row_of(engine, decision).content
    for broken in (b"not zlib", content[:-1], content + b"x", zlib.compress(b"[" * 10_000), zlib.compress(b"{}x")):
        with engine.begin() as connection:
            put(connection, decision, {"content": broken})
        [told] = verify(engine).differences
        assert told.startswith(f"decisions {decision} ")
        assert told.endswith("its evidence cannot be read")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM evidence WHERE evidence_key = :key"), {"key": decision})
    [told] = verify(engine).differences
    assert told.endswith("its evidence is missing")


def test_a_row_of_another_table_can_rest_on_evidence_as_well(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REST_ON_EVIDENCE, PauseEventRow, "person")
    with Session(engine).recording() as recording:
        pause = {"action": "pause", "reason": "", "person": "a key", "at": db_now()}
        recording.add(PauseEventRow, pause, '{"run":{"status":"FINISHED"}}')
    assert verify(engine).differences == ()
    assert entries_in(row_of(engine, "a key")) == [["run.status", "FINISHED"]]
    without_triggers(engine, "evidence")
    with engine.begin() as connection:
        put(connection, "a key", {"content": packed([["run.status", "FAILED"]])})
    assert verify(engine).differences == ("pause_events 1 (entry 0 of the log): the row was changed",)


def test_a_tag_of_any_name_can_be_redacted(engine: Engine) -> None:
    name = "who.ist \u00e4\0\u202e\ud800"
    evidence = {"version": {"tags": {name: {"head": "ada"}, "b": 1}}}
    decide(engine, 1)
    [row] = AuditReader(engine).decisions(DecisionFilter())
    replaced(engine, row["decision_id"], json.dumps(evidence))
    told = "version.tags.who.ist \\u00e4\\u0000\\u202e\\ud800"
    assert redact(engine, row["decision_id"], [told], "a test", "ada").removed[0][0] == told
    shown = AuditReader(engine).decision(row["decision_id"])["evidence"]
    assert shown == {"version": {"tags": {name: {"redacted": True}, "b": 1}}}


@pytest.mark.parametrize("name", ["code", "zip.code", "an.answer"])
def test_a_tag_that_is_called_as_a_part_of_an_answer_can_be_redacted(engine: Engine, name: str) -> None:
    decide(engine, 1)
    [row] = AuditReader(engine).decisions(DecisionFilter())
    replaced(engine, row["decision_id"], json.dumps({"version": {"answer": "found", "tags": {name: {"head": "ada"}}}}))
    [(path, _)] = redact(engine, row["decision_id"], [f"version.tags.{name}"], "a test", "ada").removed
    assert path == f"version.tags.{name}"


def replaced(engine: Engine, key: str, evidence: str) -> None:
    without_triggers(engine, "evidence")
    with engine.begin() as connection:
        put(connection, key, dict(salted(evidence).columns))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("ALTER TABLE evidence ENABLE TRIGGER ALL"))


def test_a_stored_decision_is_judged_again_from_its_evidence_until_a_needed_field_is_gone(engine: Engine) -> None:
    decide(engine, 1)
    [row] = AuditReader(engine).decisions(DecisionFilter())
    id = row["decision_id"]

    def again() -> tuple[str, str]:
        with engine.connect() as connection:
            stored = stored_evidence(connection, [id])[id]
            assert isinstance(stored, Stored)
            request = json.loads(
                connection.scalar(text("SELECT request FROM decisions WHERE decision_id = :id"), {"id": id}) or ""
            )
        verdict = judge_again(1, LOADED.policy, Request.from_data(request), stored.evidence())
        return str(verdict.kind), str(verdict.reason_code)

    as_decided = (row["verdict"], row["reason_code"])
    assert again() == as_decided
    redact(engine, id, [FIELD], "a test", "ada")
    assert again() == as_decided
    redact(engine, id, ["run.metrics.validation_accuracy"], "a test", "ada")
    assert again() == ("abstain", "withheld")
