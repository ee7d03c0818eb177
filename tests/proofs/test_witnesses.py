"""`audit verify --head`: each way in which a database differs from the heads that were kept is told apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from bench.costs import cost, statements
from reconciler.audit.log.epochs import note_restored
from reconciler.audit.log.head_files import read
from reconciler.audit.log.heads import HeadKeeper
from reconciler.audit.log.signing import PublicKey, Signer
from reconciler.audit.log.verifying import Asked, Verified, verify
from reconciler.audit.log.witnesses import trusted
from reconciler.domain.proofs.checkpoint import Head
from tests.history import key_pair
from tests.proofs.test_heads import pause, rebuilt, rewrite
from tests.store.test_log import decide, without_triggers

Kept = Callable[[], tuple[Head, ...]]


@pytest.fixture
def kept(engine: Engine, tmp_path: Path) -> Kept:
    """The heads of a log of 3, 5 and 9 pauses, which were kept elsewhere."""
    keeper = HeadKeeper(engine, tmp_path / "audit.heads")
    for many in (3, 2, 4):
        pause(engine, many)
        keeper.keep()
    return lambda: read(tmp_path / "audit.heads").heads


def found(engine: Engine, heads: tuple[Head, ...], accepted: int = 1) -> Verified:
    return verify(engine, asked=Asked(heads, accepted_epoch=accepted))


def test_heads_of_this_log_agree(engine: Engine, kept: Kept) -> None:
    pause(engine)
    verified = found(engine, kept())
    assert (verified.differences, verified.agreeing) == ((), 3)


def test_a_row_that_was_rewritten_with_its_log_is_found_between_two_heads(engine: Engine, kept: Kept) -> None:
    heads = kept()
    rewrite(engine, 5)
    assert not verify(engine).differences, "without a head nothing tells"
    [told] = found(engine, heads).differences
    assert told.startswith(f"the log does not extend the head of {heads[1].time} over 5 entries (and 1 other head)")
    assert told.endswith("some of the entries 3 to 4 were changed since")


def test_a_log_that_was_rebuilt_from_its_first_entry_is_another_log(engine: Engine, kept: Kept) -> None:
    heads = kept()
    rewrite(engine, 1)
    [told] = found(engine, heads).differences
    assert f"is of the log {heads[0].origin}, and this is mlflow-reconciler/" in told
    assert "(and 2 other heads)" in told


def test_what_is_missing_at_the_end_is_told_by_the_head_that_has_it(engine: Engine, kept: Kept) -> None:
    heads = kept()
    rebuilt(engine, 5)
    assert not verify(engine).differences, "without a head nothing tells"
    [told] = found(engine, heads).differences
    assert told.startswith(f"the log is shorter than the head of {heads[2].time} over 9 entries: it has 5 entries")


def test_a_restore_is_told_with_its_reason_until_somebody_has_accepted_it(engine: Engine, kept: Kept) -> None:
    heads = kept()
    rebuilt(engine, 4)
    note_restored(engine, "the disk failed", "ada")
    pause(engine, 9)
    [told] = found(engine, heads).differences
    assert told.startswith("epoch 2 began at 4 entries, ")
    assert "by ada: the disk failed: entries 4 to 8 of the head" in told
    assert told.endswith("once you have looked into it: --accept-epoch 2")
    accepted = found(engine, heads, accepted=2)
    assert accepted.differences == ()
    # The head that was taken before the backup still agrees; the two behind it do not, and are explained.
    assert (accepted.agreeing, len(accepted.epochs)) == (1, 1)


def test_a_restore_explains_no_head_that_was_taken_after_it_nor_one_within_what_it_kept(
    engine: Engine, kept: Kept
) -> None:
    heads = kept()
    note_restored(engine, "an excuse, made beforehand", "nobody")
    after = HeadKeeper(engine, None)
    after.keep()
    rewrite(engine, 4)
    told = found(engine, heads, accepted=2).differences
    assert any("does not extend" in one and "over 5 entries" in one for one in told)
    rebuilt(engine, 8)
    later = replace(heads[2], more="epoch 2\n", size=12)
    assert any("the log is shorter than the head" in one for one in found(engine, (later,), accepted=2).differences)


def test_who_owns_half_of_the_heads_and_the_database_is_found_by_the_other_half(engine: Engine, kept: Kept) -> None:
    honest = kept()
    rewrite(engine, 5)
    forged = verify(engine)
    mine = Head(honest[0].origin, forged.size, bytes.fromhex(forged.root), "epoch 1\n")
    for heads in [(honest[1], mine), (mine, honest[2]), (*honest, mine, mine)]:
        assert any("does not extend" in one for one in found(engine, heads).differences)


# --- keys ----------------------------------------------------------------------------------------------------


def test_with_a_pinned_key_only_heads_that_it_signed_vouch(engine: Engine, tmp_path: Path) -> None:
    pem, public = key_pair(tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = key_pair(tmp_path / "other")
    key = PublicKey.of(public.read_text())
    pause(engine, 2)
    path = tmp_path / "audit.heads"
    HeadKeeper(engine, path, Signer.of(pem)).keep()
    [signed] = read(path).heads
    by_other = Signer.of(other).signed(replace(signed, signatures=()))
    unsigned = replace(signed, signatures=())
    forged = replace(signed, root=b"f" * 32)
    witnesses = trusted([signed, unsigned, by_other], key)
    assert (witnesses.heads, witnesses.differences) == ((signed,), ())
    assert witnesses.left_out == ("2 heads without a signature of this key: ignored",)
    assert "has a signature of this key that is wrong" in trusted([signed, forged], key).differences[0]
    assert trusted([unsigned, by_other], key).differences == ("no head is signed by this key: none proves anything",)


# --- since ---------------------------------------------------------------------------------------------------


def test_since_a_head_the_rows_behind_it_are_compared_and_no_earlier_one(engine: Engine, kept: Kept) -> None:
    before = kept()[-1]
    decide(engine, 3)
    without_triggers(engine, "pause_events")
    without_triggers(engine, "outcomes")
    with engine.begin() as connection:
        connection.execute(text("UPDATE pause_events SET person = 'nobody' WHERE id = 1"))
    verified = verify(engine, asked=Asked(since=before))
    assert (verified.differences, verified.first) == ((), 9)
    with engine.begin() as connection:
        connection.execute(text("UPDATE outcomes SET detail = 'another'"))
    assert len(verify(engine, asked=Asked(since=before)).differences) == 3


def test_a_log_that_does_not_extend_the_head_it_is_verified_since_is_read_from_its_beginning(
    engine: Engine, kept: Kept
) -> None:
    before = kept()[-1]
    rewrite(engine, 5)
    without_triggers(engine, "pause_events")
    with engine.begin() as connection:
        connection.execute(text("UPDATE pause_events SET person = 'somebody' WHERE id = 2"))
    told = verify(engine, asked=Asked(since=before)).differences
    assert told[0] == "the log does not extend the head over 9 entries that --since names"
    assert any("pause_events 2" in one for one in told)
    other = Head("mlflow-reconciler/0000000000000000", before.size, before.root)
    told = verify(engine, asked=Asked(since=other)).differences
    assert told[0].startswith("the head over 9 entries is of the log mlflow-reconciler/0000000000000000, and this is ")


def test_a_row_that_was_added_by_another_way_since_a_head_is_found(engine: Engine, kept: Kept) -> None:
    before = kept()[-1]
    with engine.begin() as connection:
        added = (
            "INSERT INTO pause_events (at, action, reason, person) SELECT at, action, reason, person FROM pause_events"
        )
        connection.execute(text(added + " WHERE id = 9"))
    assert any("is not in the log" in one for one in verify(engine, asked=Asked(since=before)).differences)


def test_a_verification_since_a_head_asks_as_much_whatever_is_older(engine: Engine, tmp_path: Path) -> None:
    def asked() -> tuple[int, int]:
        HeadKeeper(engine, tmp_path / "audit.heads").keep()
        since = Asked(since=read(tmp_path / "audit.heads").heads[-1])
        decide(engine, 2)
        if engine.dialect.name == "postgresql":
            with engine.begin() as connection:
                connection.execute(text("ANALYZE"))
        sent = len(statements(engine, lambda: verify(engine, asked=since)))
        return sent, cost(engine, lambda: verify(engine, asked=since))

    decide(engine, 60)
    few = asked()
    decide(engine, 300)
    many = asked()
    assert many[0] <= few[0] * 1.5
    # PostgreSQL reads a small table as a whole; of six times as many rows it would be six times as much.
    assert many[1] <= few[1] * 2
