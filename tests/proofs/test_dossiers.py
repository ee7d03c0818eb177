"""Dossiers and samples: what they prove to who has neither product nor database, and that no byte of one can change."""

from __future__ import annotations

import io
import json
import os
import random
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, text

from reconciler.audit import schema
from reconciler.audit.database import Access, make_engine, one_state
from reconciler.audit.dossiers import Unprovable, dossier_of, written
from reconciler.audit.evidence.redacting import redact
from reconciler.audit.log.filling import take_in
from reconciler.audit.log.head_files import read
from reconciler.audit.log.heads import HeadKeeper
from reconciler.audit.log.verifying import verify
from reconciler.audit.reader import AuditReader
from reconciler.audit.sampling import Drawing, write_sample
from reconciler.audit.tables import DecisionRow
from reconciler.domain.proofs.checkpoint import Head
from reconciler.ports import AuditUnavailable
from tests import command
from tests.history import History, Owner, made
from tests.other_writers import decided_with_other_digests
from tests.proofs.test_heads import pause
from tests.store.test_log import decide, forget_log, without_triggers
from tests.verifier import TOOL, VERIFIER, Differs

ALL_BYTES = bool(os.environ.get("LONG_TESTS"))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return made(tmp_path_factory.mktemp("history"))


def dossier(engine: Engine, id: str, heads: Sequence[Head]) -> bytes:
    with one_state(engine) as connection:
        return written(dossier_of(connection, id, heads)).encode()


def of(history: History, heads: Sequence[Head] | None = None) -> bytes:
    engine = make_engine(history.url, Access.READ)
    content = dossier(engine, history.redacted, read(history.heads).heads if heads is None else heads)
    engine.dispose()
    return content


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The verifier as an auditor runs it: isolated, so that nothing of ours can be imported."""
    command = [sys.executable, "-I", "-S", str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd="/")


def kept(history: History) -> Any:
    heads, _ = VERIFIER.heads_in(history.heads.read_text())
    return heads


# --- what is accepted ----------------------------------------------------------------------------------------


def test_a_dossier_with_a_redacted_field_is_vouched_for_without_the_product(history: History, tmp_path: Path) -> None:
    file = tmp_path / "dossier.json"
    file.write_bytes(of(history))
    done = run(file, "--head", history.heads)
    assert (done.returncode, done.stderr) == (0, "")
    assert "is vouched for by the kept head over" in done.stdout
    assert "signature not checked" in done.stdout
    done = run(file, "--head", history.heads, "--key", history.key)
    assert done.returncode == 0
    assert "and its signature" in done.stdout
    done = run(file, "--key", history.key)
    assert done.returncode == 0
    data = json.loads(file.read_text())
    assert {entry["table"] for entry in data["entries"]} == {
        "decisions", "outcomes", "policy_versions", "confirmations", "late_effects", "earlier_outcomes", "redactions",
    }  # fmt: skip
    gone = [field for piece in data["evidence"] for field in piece["fields"] if "digest" in field]
    assert [field["field"] for field in gone] == ["version.description"] * len(gone)
    assert gone


def test_a_dossier_of_what_an_earlier_release_recorded_is_vouched_for_as_well(history: History, tmp_path: Path) -> None:
    engine = make_engine(history.url, Access.READ)
    for id in history.earlier:
        content = dossier(engine, id, read(history.heads).heads)
        [decision] = [one["row"] for one in json.loads(content)["entries"] if one["table"] == "decisions"]
        assert isinstance(decision["evidence"], list)
        file = tmp_path / f"{id}.json"
        file.write_bytes(content)
        assert run(file, "--head", history.heads).returncode == 0
        file.write_bytes(content.replace(b'"salt": "', b'"salt": "0', 1))
        assert run(file, "--head", history.heads).returncode == 1
    engine.dispose()


def test_there_is_no_dossier_of_evidence_whose_two_hashes_never_agreed(engine: Engine) -> None:
    """Whoever has the daemon's role can record that; the log then agrees, and the fields prove nothing."""
    id = decided_with_other_digests(engine)
    assert verify(engine).differences == ()
    with pytest.raises(Unprovable, match="evidence .* is not what was recorded"):
        dossier(engine, id, [])
    with pytest.raises(AuditUnavailable, match="is not what was recorded"):
        redact(engine, id, ["version.description"], "a test", "ada")
    assert AuditReader(engine).decision(id)["evidence"] is None
    if engine.dialect.name == "sqlite":
        told, _ = VERIFIER.check_copy(str(engine.url.database), [VERIFIER.Head(f"x\n1\n{'A' * 43}=")])
        assert any(f"{id} " in one and "its evidence was changed" in one for one in told)


def test_what_cannot_be_checked_by_what_was_named_is_no_difference(history: History, tmp_path: Path) -> None:
    file, none, binary = tmp_path / "dossier.json", tmp_path / "none", tmp_path / "key.pub"
    file.write_bytes(of(history))
    none.write_text("no head\n")
    binary.write_bytes(b"\xff\x00")
    heads = str(history.heads)
    for arguments, said in (
        (["--head", heads, "--key", "garbage"], "--key: is neither"),
        (["--head", heads, "--key", str(binary)], "--key: is neither"),
        (["--head", heads, "--key", " "], "--key: is neither"),
        (["--head", str(none)], f"{none}: has no head of a log"),
        (["--head", str(tmp_path)], f"{tmp_path}: cannot be read"),
    ):
        done = run(file, *arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert said in done.stderr.splitlines()[-1]
    file.write_bytes(of(history)[:-100])
    done = run(file, "--head", heads)
    assert (done.returncode, done.stdout) == (
        1,
        "dossier: is not the JSON that was written: changed, cut off, or something else\n",
    )
    assert done.stderr == f"{file}: not as it was recorded: 1 difference\n"


def test_a_copy_of_the_database_agrees_with_its_heads(history: History) -> None:
    done = run(history.path, "--head", history.heads, "--key", history.key)
    assert (done.returncode, done.stderr) == (0, "")
    assert "entries of the log and their rows" in done.stdout
    assert "epoch 2 began at" in done.stdout


def test_a_dossier_that_is_newer_than_the_kept_head_proves_that_its_log_extends_it(engine: Engine) -> None:
    decide(engine, 3)
    first = Head(*_head(engine))
    decide(engine, 4)
    with engine.connect() as connection:
        ids = connection.scalars(select(DecisionRow.decision_id).order_by(DecisionRow.id)).all()
    heads, _ = VERIFIER.heads_in(first.note)
    content = dossier(engine, ids[-1], [first])
    assert json.loads(content)["extends"]["head"] == first.note
    _, by = VERIFIER.check_dossier(content, heads, None)
    assert by == f"its log extends the kept head over {first.size} entries; it has rows that are newer than that"
    broken = json.loads(content)
    broken["extends"]["proof"][0] = "0" * 64
    with pytest.raises(Differs, match="does not extend"):
        VERIFIER.check_dossier(written(broken).encode(), heads, None)
    other = Head(first.origin, first.size, b"o" * 32)
    with pytest.raises(Unprovable, match="does not extend the head"):
        dossier(engine, ids[-1], [other])


def _head(engine: Engine) -> tuple[str, int, bytes]:
    from reconciler.audit.log.heads import head_now

    with engine.connect() as connection:
        head = head_now(connection)
    assert head is not None
    return head.origin, head.size, head.root


# --- what is refused -----------------------------------------------------------------------------------------


def test_no_byte_of_a_dossier_can_be_changed_unnoticed(history: History) -> None:
    content, heads = of(history), kept(history)
    places: Sequence[int] = range(len(content))
    if not ALL_BYTES:
        places = random.Random(20261128).sample(places, 1_500)
    VERIFIER.check_dossier(content, heads, None)
    for at in places:
        changed = content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :]
        with pytest.raises((Differs, ValueError, KeyError, TypeError)):
            VERIFIER.check_dossier(changed, heads, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data["entries"].pop(), "a field is gone that nobody redacted"),
        (lambda data: data["entries"].reverse(), "an entry is none"),
        (lambda data: data["evidence"].pop(), "evidence is missing"),
        (lambda data: data["evidence"][0]["fields"].pop(), "not what was judged"),
        (lambda data: data["evidence"][0]["fields"].reverse(), "."),
        (lambda data: data.update(note="added"), "other members"),
        (lambda data: data["entries"][0].update(note="added"), "other members"),
        (lambda data: data["entries"][0]["row"].update(note="added"), "is not in the head"),
        (lambda data: data["entries"][0]["proof"].append("00" * 32), "too long"),
        (lambda data: data["entries"][0]["proof"].pop(), "too short"),
        (lambda data: data.update(head=data["head"].replace("epoch", "epocH")), "none of the kept ones"),
        (lambda data: data.update(head=f"\n{data['head']}"), "more than that"),
        (lambda data: data.update(head="log head: " + data["head"].replace("\n", "\\n")), "more than that"),
        (lambda data: data.update(extends={"head": data["head"], "proof": []}), "nothing asks for"),
        (lambda data: data.update(decision_id="0" * 36), "the decision is missing"),
    ],
)
def test_a_dossier_that_was_put_together_otherwise_is_refused(history: History, change: Any, said: str) -> None:
    data = json.loads(of(history))
    change(data)
    with pytest.raises(Differs, match=said):
        VERIFIER.check_dossier(written(data).encode(), kept(history), None)


def test_a_row_of_another_decision_does_not_fit_into_a_dossier(history: History) -> None:
    engine = make_engine(history.url, Access.READ)
    with engine.connect() as connection:
        ids = [
            id
            for id in connection.scalars(select(DecisionRow.decision_id))
            if id not in {history.redacted, *history.earlier}
        ]
    heads = read(history.heads).heads
    mine, other = json.loads(of(history, heads[-1:])), json.loads(dossier(engine, ids[0], heads[-1:]))
    engine.dispose()
    [outcome] = [entry for entry in other["entries"] if entry["table"] == "outcomes"]
    mine["entries"] = sorted([*mine["entries"], outcome], key=lambda entry: entry["leaf"])
    with pytest.raises(Differs, match="a row of outcomes is of another decision"):
        VERIFIER.check_dossier(written(mine).encode(), kept(history), None)


def test_a_dossier_without_anything_that_vouches_for_it_is_not_accepted(history: History, tmp_path: Path) -> None:
    file = tmp_path / "dossier.json"
    file.write_bytes(of(history))
    done = run(file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing would vouch for" in done.stderr
    other = tmp_path / "other.heads"
    other.write_text(Head("mlflow-reconciler/other", 5, b"o" * 32).note + "\n")
    done = run(file, "--head", other)
    assert done.returncode == 1
    assert "nothing vouches for it" in done.stdout
    assert run(tmp_path / "missing.json", "--head", other).returncode == 2
    (tmp_path / "cut.json").write_bytes(file.read_bytes()[:-40])
    assert run(tmp_path / "cut.json", "--head", history.heads).returncode == 1


def test_a_row_that_was_changed_makes_no_dossier(tmp_path: Path) -> None:
    mine = made(tmp_path)
    owner = Owner(mine.path)
    owner.ask("UPDATE outcomes SET detail = 'another'")
    owner.close()
    with pytest.raises(Unprovable, match=r"outcomes \d+: the row is not as it was recorded"):
        of(mine)


# --- cost ----------------------------------------------------------------------------------------------------


def test_a_proof_reads_no_more_rows_than_a_logarithm(engine: Engine, tmp_path: Path) -> None:
    """Of the entries of a log in which every node of a path is there: 30 rows are enough for 10⁹ entries."""
    keeper = HeadKeeper(engine, tmp_path / "audit.heads")
    for many in (40, 40, 47):
        decide(engine, many)
        keeper.keep()
    pause(engine)
    heads = read(tmp_path / "audit.heads").heads
    with engine.connect() as connection:
        ids = connection.scalars(select(DecisionRow.decision_id)).all()
    size = heads[-1].size
    for id in random.Random(7).sample(ids, 12):
        nodes: list[int] = []

        def count(*call: Any, nodes: list[int] = nodes) -> None:
            cursor, statement = call[1], call[2]
            # The hashes of a proof, and not the comparison of a head with the log.
            if "log_nodes" in statement:
                nodes.append(statement.count("log_nodes.position = "))
            del cursor

        event.listen(engine, "before_cursor_execute", count)
        dossier(engine, id, heads)
        event.remove(engine, "before_cursor_execute", count)
        # Of two to four rows of one decision, whose proofs share most of their nodes.
        assert max(nodes) <= 3 * size.bit_length() <= 30


# --- samples -------------------------------------------------------------------------------------------------


def sample(history: History, size: int, seed: str) -> bytes:
    engine, file = make_engine(history.url, Access.READ), io.BytesIO()
    with one_state(engine) as connection:
        write_sample(connection, Drawing("decisions", None, None, size, seed), read(history.heads).heads, file)
    engine.dispose()
    return file.getvalue()


def test_a_sample_is_drawn_again_byte_by_byte_and_is_checked_without_the_product(
    history: History, tmp_path: Path
) -> None:
    assert sample(history, 2, "q3") == sample(history, 2, "q3")
    drawn = {seed: zipfile.ZipFile(io.BytesIO(sample(history, 1, seed))).namelist()[0] for seed in "abcdefgh"}
    assert len(set(drawn.values())) > 1
    file = tmp_path / "sample.zip"
    file.write_bytes(sample(history, 2, "q3"))
    done = run(file, "--head", history.heads, "--key", history.key)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 dossiers, drawn from 5 decisions" in done.stdout


def drawn_by(history: History, seed: str) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(sample(history, 2, seed))) as whole:
        return [one["decision_id"] for one in json.loads(whole.read("index.json"))["drawn"]]


@pytest.mark.parametrize(
    "what", ["another drawing", "a dossier is missing", "a dossier is changed", "the index lies", "the index adds"]
)
def test_a_sample_that_was_changed_is_refused(history: History, tmp_path: Path, what: str) -> None:
    with zipfile.ZipFile(io.BytesIO(sample(history, 2, "q3"))) as whole:
        files = {name: whole.read(name) for name in whole.namelist()}
    index = json.loads(files["index.json"])
    first = index["drawn"][0]["decision_id"]
    if what == "another drawing":
        drawn = [one["decision_id"] for one in index["drawn"]]
        index["how"]["seed"] = next(seed for seed in "abcdefgh" if drawn_by(history, seed) != drawn)
    elif what == "a dossier is missing":
        del files[f"dossiers/{first}.json"]
    elif what == "a dossier is changed":
        files[f"dossiers/{first}.json"] = files[f"dossiers/{first}.json"].replace(b'"enforce"', b'"observe"')
    elif what == "the index adds":
        index["drawn"][0]["reviewed_by"] = None
    else:
        index["drawn"][0]["verdict"] = "unsaid"
    files["index.json"] = written(index).encode()
    file = tmp_path / "sample.zip"
    with zipfile.ZipFile(file, "w") as changed:
        for name, content in files.items():
            changed.writestr(name, content)
    done = run(file, "--head", history.heads)
    assert done.returncode == 1


STRANGE = (
    "../../../tmp/out",
    "/tmp/out",
    "a/b",
    "..",
    "nul\0",
    "x" * 300,
    "abc",
    "ABC",
    "line\nagrees: 9 dossiers",
    "",
)


def test_ids_that_are_no_uuids_neither_lead_out_of_a_sample_nor_overwrite_one_another(tmp_path: Path) -> None:
    """Whoever holds the daemon's role can log any text as an id."""
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    engine = make_engine(url)
    decide(engine, len(STRANGE) + 1)
    for table in ("decisions", "decision_checks", "outcomes", "evidence"):
        without_triggers(engine, table)
    with engine.connect() as connection:
        given = connection.scalars(select(DecisionRow.decision_id).order_by(DecisionRow.id)).all()
    columns = {"decisions": "decision_id", "decision_checks": "decision_id", "outcomes": "decision_id"}
    with engine.begin() as connection:
        connection.execute(text("PRAGMA defer_foreign_keys=ON"))
        for id, strange in zip(given, STRANGE, strict=False):
            for table, column in (columns | {"evidence": "evidence_key"}).items():
                change = text(f"UPDATE {table} SET {column} = :strange WHERE {column} = :id")
                connection.execute(change, {"strange": strange, "id": id})
    forget_log(engine)
    take_in(engine)
    heads, file = tmp_path / "heads", tmp_path / "sample.zip"
    HeadKeeper(engine, heads).keep()
    environment = {**os.environ, "RECONCILER_AUDIT__URL": url}
    arguments = ["--seed", "s", "--output", str(file), "--head", str(heads)]
    done = command.run("audit", "sample", *arguments, environment=environment)
    assert done.returncode == 0, done.stderr
    assert f"{len(STRANGE)} decisions have ids that are not a UUID" in done.stderr
    with zipfile.ZipFile(file) as whole:
        names = [name.lower() for name in whole.namelist()]
        whole.extractall(tmp_path / "out")
    assert len(set(names)) == len(names) == len(STRANGE) + 2
    assert all(re.fullmatch(r"index\.json|dossiers/(sha256-)?[0-9a-f-]{36,64}\.json", name) for name in names)
    assert len(list((tmp_path / "out" / "dossiers").iterdir())) == len(STRANGE) + 1
    checked = run(file, "--head", heads)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert not any(line.startswith("agrees: 9") for line in checked.stdout.splitlines())
    pages = command.run("audit", "report", "--html", str(tmp_path / "pages"), environment=environment)
    assert pages.returncode == 0, pages.stderr
    assert len(list((tmp_path / "pages").glob("decision-sha256-*.html"))) == len(STRANGE)
