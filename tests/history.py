"""An SQLite database with rows in every table of history and its heads, and every way to change a byte of it."""

from __future__ import annotations

import random
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from sqlalchemy import Engine

from reconciler.audit import schema
from reconciler.audit.append_only import APPEND_ONLY
from reconciler.audit.database import make_engine
from reconciler.audit.decisions.judgement_tables import EarlierOutcomeRow, LateEffectRow
from reconciler.audit.decisions.judgements import add_confirmation
from reconciler.audit.evidence.redacting import redact
from reconciler.audit.holding.accepting import acknowledge
from reconciler.audit.holding.tables import DriftRow
from reconciler.audit.log.epochs import note_restored
from reconciler.audit.log.heads import HeadKeeper
from reconciler.audit.log.signing import Signer
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.requests.resolution_tables import ResolutionRow
from reconciler.audit.running.pauses import PAUSE, RESUME, note_pause
from reconciler.audit.session import Session
from reconciler.audit.store import SqlAuditLog
from reconciler.audit.tables import db_now
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.domain.codes import ReasonCode
from reconciler.domain.decision import Mode
from reconciler.domain.judgements import Confirmation
from reconciler.domain.target import Target
from reconciler.domain.verdict import Verdict, VerdictKind
from reconciler.policy.file import parse_policy
from tests import whole_evidence
from tests.builders import REGISTRY, accuracy_policy
from tests.fake_registry import FakeRegistry
from tests.other_writers import decided_before_0024

LOADED = parse_policy(accuracy_policy(), "policy.yaml")
IN_FORCE = PolicyInForce(LOADED.policy, LOADED.digest, LOADED.text)


class History(NamedTuple):
    """`redacted`: the decision with a row in every table about decisions, and a field that was redacted.

    `earlier`: two decisions as an earlier release recorded them; of the second a field was redacted.
    """

    path: Path
    heads: Path
    key: Path
    redacted: str
    earlier: tuple[str, str]

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"


def key_pair(folder: Path) -> tuple[str, Path]:
    """A private key in PEM, and the file with its public half."""
    private = Ed25519PrivateKey.generate()
    public = folder / "audit.pub"
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), public


def made(folder: Path) -> History:
    pem, public = key_pair(folder)
    path, heads = folder / "audit.db", folder / "audit.heads"
    schema.upgrade(f"sqlite:///{path}")
    engine = make_engine(f"sqlite:///{path}")
    keeper = HeadKeeper(engine, heads, Signer.of(pem))
    for accuracies in (("0.95", "0.5"), ("0.97",)):
        decide(engine, accuracies)
        keeper.keep()
    redacted = _with_the_rest(engine)
    earlier = decided_before_0024(engine, redacted), decided_before_0024(engine, redacted)
    redact(engine, earlier[1], ["run.run_id"], "ticket", "ada")
    keeper.keep()
    assert keeper.problem is None
    engine.dispose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    return History(path, heads, public, redacted, earlier)


def decide(engine: Engine, accuracies: tuple[str, ...], mode: Mode = Mode.ENFORCE) -> None:
    """A decision for each, and a request that waits."""
    registry = FakeRegistry()
    for number, accuracy in enumerate(accuracies):
        registry.file(f"model-{random.getrandbits(64):x}", str(number + 1), accuracy=accuracy)
    log = SqlAuditLog(engine, "test:1", REGISTRY)
    Cycle(registry, log).run(IN_FORCE, mode)


def _with_the_rest(engine: Engine) -> str:
    """Rows in the tables in which a cycle without trouble adds none; returns the decision that they are about."""
    ids = [row["decision_id"] for row in AuditReader(engine).decisions(DecisionFilter(verdict="approve"))]
    about = ids[0]
    session = Session(engine)
    with session.recording() as recording:
        verdict = Verdict(VerdictKind.APPROVE, ReasonCode.ALL_CHECKS_PASSED)
        add_confirmation(recording, about, Confirmation(verdict, LOADED.digest, whole_evidence.whole(), 2), "test:1")
        late = {"decision_id": about, "at": db_now(), "detail": "late, é"}
        recording.add(LateEffectRow, late)
        recording.add(
            EarlierOutcomeRow, {"id": 7, "decision_id": about, "outcome": "failed", "at": db_now(), "detail": ""}
        )
        now = datetime(2026, 1, 2, tzinfo=UTC)
        place = {"registry": REGISTRY, "workspace": "", "model": "m", "version": "1", "target": "Production"}
        who = {"decider": "ada", "decider_assurance": "asserted", "comment": "so", "resolved_at": now}
        said = {"resolution": "approved", "source": "history", "source_number": 3, "request_id": "r", "at": db_now()}
        recording.add(ResolutionRow, place | who | said)
    note_pause(engine, PAUSE, "a test", "me")
    note_pause(engine, RESUME, "", "me")
    note_restored(engine, "a test", "me")
    redact(engine, about, ["version.description"], "ticket", "ada")
    _with_an_abstention(engine)
    _with_a_bypass(engine)
    with session.recording() as recording:
        tenure = recording.connection.exec_driver_sql("SELECT max(tenure_id) FROM tenures").scalar_one()
        changed = {"tenure_id": tenure, "decision_id": about, "field": "version.tags.owner", "at": db_now()}
        recording.add_many(DriftRow, [changed | {"judged": "ada, é", "found": None}])
    return about


def _with_an_abstention(engine: Engine) -> None:
    policy = parse_policy(accuracy_policy(least="0.9, on_missing: abstain"), "policy.yaml")
    registry = FakeRegistry()
    registry.file("waits", "1", accuracy="")
    log = SqlAuditLog(engine, "test:1", REGISTRY)
    Cycle(registry, log).run(PolicyInForce(policy.policy, policy.digest, policy.text), Mode.ENFORCE)


def _with_a_bypass(engine: Engine) -> None:
    """Somebody moves a version, and somebody accepts that."""
    registry = FakeRegistry()
    cycle = Cycle(registry, SqlAuditLog(engine, "test:1", REGISTRY))
    cycle.run(IN_FORCE, Mode.ENFORCE)
    registry.accuracy["moved", "1"] = "0.95"
    registry.holders["moved", Target.parse("Production")] = "1"
    for _ in range(3):
        cycle.run(IN_FORCE, Mode.ENFORCE)
    with engine.connect() as connection:
        tenure = connection.exec_driver_sql("SELECT tenure_id FROM bypasses WHERE model = 'moved'").scalar_one()
    acknowledge(engine, tenure, "an emergency, é", "ada")


# --- changing it ---------------------------------------------------------------------------------------------


class Flip(NamedTuple):
    """A cell, what it held, and what it is to hold."""

    table: str
    column: str
    rowid: int
    before: Any
    after: Any
    is_text: bool
    is_key: bool

    def __str__(self) -> str:
        return f"{self.table}.{self.column} of row {self.rowid}: {self.before!r:.80} -> {self.after!r:.80}"


class Owner:
    """Who owns the file, and has dropped every trigger."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.text_factory = bytes
        self.ask = self._connection.execute
        self.ask("PRAGMA foreign_keys=OFF")
        for (name,) in self.ask("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            self.ask(f"DROP TRIGGER {name.decode()}")

    def close(self) -> None:
        self._connection.close()

    def put(self, flip: Flip) -> bool:
        """Changes the cell; False where a constraint of the table itself refuses that."""
        try:
            self._update(flip, flip.after, flip.rowid)
        except sqlite3.IntegrityError:
            return False
        return True

    def is_sealed(self, rowid: int) -> bool:
        """Whether a hash covers each byte of this row of evidence."""
        redacted = "evidence_key IN (SELECT evidence_key FROM redactions)"
        query = f"SELECT sealed IS NOT NULL AND NOT {redacted} FROM evidence WHERE rowid = ?"
        [(sealed,)] = self.ask(query, (rowid,)).fetchall()
        return bool(sealed)

    def put_back(self, flip: Flip) -> None:
        self._update(flip, flip.before, flip.after if flip.is_key else flip.rowid)

    def _update(self, flip: Flip, cell: Any, rowid: int) -> None:
        value = "CAST(? AS TEXT)" if flip.is_text and isinstance(cell, bytes) else "?"
        self.ask(f"UPDATE {flip.table} SET {flip.column} = {value} WHERE rowid = ?", (cell, rowid))

    def flips(self, chance: random.Random, most: int) -> Iterator[Flip]:
        """Of each cell of each append-only table one bit of as many bytes at most."""
        for table in APPEND_ONLY:
            columns = [row[1].decode() for row in self.ask(f"PRAGMA table_info({table})")]
            for (rowid,) in self.ask(f"SELECT rowid FROM {table}").fetchall():
                for column in columns:
                    yield from self._of_cell(table, column, rowid, chance, most)

    def _of_cell(self, table: str, column: str, rowid: int, chance: random.Random, most: int) -> Iterator[Flip]:
        query = f"SELECT {column}, typeof({column}) FROM {table} WHERE rowid = ?"
        [(cell, kind)] = self.ask(query, (rowid,)).fetchall()
        # A column that is the table's key by itself is the number of the row.
        is_key = kind == b"integer" and column in {"id", "leaf"} and cell == rowid
        for after in _changed(cell, chance, most):
            yield Flip(table, column, rowid, cell, after, kind == b"text", is_key)


def _changed(cell: Any, chance: random.Random, most: int) -> Iterator[Any]:
    if cell is None:
        yield b"x"
    elif isinstance(cell, int):
        yield cell ^ 1
        yield cell ^ (1 << chance.randrange(1, 31))
    elif isinstance(cell, float):
        yield struct.unpack("<d", struct.pack("<Q", struct.unpack("<Q", struct.pack("<d", cell))[0] ^ 1))[0]
    else:
        yield cell + b"x"
        for at in chance.sample(range(len(cell)), min(most, len(cell))):
            yield cell[:at] + bytes([cell[at] ^ (1 << chance.randrange(8))]) + cell[at + 1 :]
