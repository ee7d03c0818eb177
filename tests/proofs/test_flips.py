"""Every changed byte of history is found, by the verifier without a line of the product and by `audit verify`."""

from __future__ import annotations

import os
import random
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.audit.append_only import APPEND_ONLY
from reconciler.audit.database import Access, make_engine
from reconciler.audit.log.appending import ENTRIES
from reconciler.audit.log.verifying import Asked, verify
from tests.history import Flip, History, Owner, made
from tests.verifier import VERIFIER

# A bit of as many bytes of each cell; all bytes take an hour.
BYTES = 4_000 if os.environ.get("LONG_TESTS") else 2
SEED = 20261128


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return made(tmp_path_factory.mktemp("history"))


@pytest.fixture
def owned(history: History, tmp_path: Path) -> Iterator[tuple[Path, Owner]]:
    path = Path(shutil.copy(history.path, tmp_path / "audit.db"))
    owner = Owner(path)
    yield path, owner
    owner.close()


def test_the_history_has_rows_in_every_append_only_table(owned: tuple[Path, Owner]) -> None:
    _, owner = owned
    assert [table for table in APPEND_ONLY if not owner.ask(f"SELECT count(*) FROM {table}").fetchone()[0]] == []


def test_the_history_has_evidence_of_each_kind_whole_and_redacted(history: History, owned: tuple[Path, Owner]) -> None:
    _, owner = owned
    gone = "evidence_key IN (SELECT evidence_key FROM redactions)"
    kinds = owner.ask(f"SELECT DISTINCT sealed IS NULL, digests IS NULL, {gone} FROM evidence ORDER BY 1, 3").fetchall()
    assert kinds == [(0, 0, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1)]


def test_the_verifier_knows_every_table_of_the_log() -> None:
    assert {row.__tablename__: key for row, key in ENTRIES.items()} == VERIFIER.KEYS


def _missed(owner: Owner, seen: Callable[[], object], flips: Iterator[Flip]) -> tuple[int, list[str]]:
    """How many flips were tried, and those that nobody saw."""
    tried, missed = 0, []
    for flip in flips:
        if not owner.put(flip):
            continue
        tried += 1
        if not seen() and not _reads_as_before(owner, flip):
            missed.append(str(flip))
        owner.put_back(flip)
    assert not seen()
    return tried, missed


def _reads_as_before(owner: Owner, flip: Flip) -> bool:
    """The compressed form of evidence has bits that change nothing when they are changed; what is sealed has none."""
    with suppress(zlib.error):
        same = flip.column == "content" and zlib.decompress(flip.after) == zlib.decompress(flip.before)
        return same and not owner.is_sealed(flip.rowid)
    return False


def test_the_verifier_finds_a_flipped_bit_in_every_column_of_every_append_only_table(
    history: History, owned: tuple[Path, Owner]
) -> None:
    path, owner = owned
    heads, _ = VERIFIER.heads_in(history.heads.read_text())

    def seen() -> bool:
        told, agree = VERIFIER.check_copy(path, heads)
        # Of evidence that reads as it did it is told that the bytes are others.
        return bool(told) or any("other bytes" in sentence for sentence in agree)

    tried, missed = _missed(owner, seen, owner.flips(random.Random(SEED), BYTES))
    assert missed == []
    assert tried > 900


def test_audit_verify_finds_them_too(history: History, owned: tuple[Path, Owner]) -> None:
    path, owner = owned
    engine = make_engine(f"sqlite:///{path}", Access.READ)
    chance = random.Random(SEED)
    flips = (flip for flip in owner.flips(chance, BYTES) if BYTES > 2 or chance.random() < 0.2)

    def seen() -> bool:
        return bool(verify(engine, asked=Asked()).differences)

    tried, missed = _missed(owner, seen, flips)
    engine.dispose()
    assert missed == []
    assert tried > 150
