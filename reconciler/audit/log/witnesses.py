"""Heads of the log that were kept elsewhere, compared with the log as it is now: each way to differ is told apart."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from reconciler.audit.log.canonical import Damaged
from reconciler.audit.log.signing import PublicKey
from reconciler.audit.log.tables import LogEpochRow
from reconciler.domain.proofs.checkpoint import Head
from reconciler.domain.text import counted, visible, visible_name
from reconciler.domain.times import iso


@dataclass(frozen=True, slots=True)
class Epoch:
    """A restore that somebody declared: what was recorded behind `size` entries may be lost."""

    number: int
    size: int
    at: str
    person: str
    reason: str

    def __str__(self) -> str:
        began = f"epoch {self.number} began at {counted(self.size, 'entry', 'entries')}, {self.at}"
        return f"{began}, by {self.person}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Heads that vouch for a log. `left_out`: a sentence for each kind of head that vouches for nothing."""

    heads: tuple[Head, ...]
    differences: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def sizes(self) -> frozenset[int]:
        return frozenset(head.size for head in self.heads)


def trusted(heads: Sequence[Head], key: PublicKey | None) -> Witnesses:
    """The heads that may vouch: of a pinned key those that it signed, else all."""
    if key is None:
        return Witnesses(tuple(heads))
    signed = tuple(head for head in heads if key.signed(head))
    forged = [head for head in heads if key.claims(head) and head not in signed]
    others = len(heads) - len(signed) - len(forged)
    told = [f"{_named(forged[0])} has a signature of this key that is wrong{_and_more(forged)}"] if forged else []
    if not signed:
        told.append("no head is signed by this key: none proves anything")
    vouches = f"{counted(others, 'head')} without a signature of this key: ignored"
    return Witnesses(signed, tuple(told), (vouches,) if others else ())


def epochs_in(connection: Connection) -> list[Epoch]:
    """The restores on record. A row that cannot have been written so explains nothing; the log names it."""
    row = LogEpochRow
    found = []
    for id in connection.scalars(select(row.id).order_by(row.id)).all():
        with contextlib.suppress(Damaged):
            found += [_epoch(one) for one in connection.execute(select(row.__table__).where(row.id == id))]
    return found


def _epoch(row: Row[Any]) -> Epoch:
    if not isinstance(row.size, int) or not isinstance(row.person, str) or not isinstance(row.reason, str):
        raise Damaged("holds what no epoch has")
    return Epoch(row.id + 1, row.size, iso(row.at), visible_name(row.person), visible(row.reason))


@dataclass(frozen=True, slots=True)
class Log:
    """A log as it was recomputed: the roots at the sizes that heads vouch for, as far as it has them."""

    origin: str
    size: int
    roots: Mapping[int, bytes]
    epochs: Sequence[Epoch]


def compared(heads: Sequence[Head], log: Log, accepted_epoch: int) -> list[str]:
    """How the log differs from what these heads say of it: one sentence for each way, which names the first head.

    Args:
        accepted_epoch: what epochs up to this one explain is no difference; somebody has looked at it.
    """
    mine = [head for head in heads if head.origin == log.origin]
    differ = [head for head in mine if log.roots.get(head.size) != head.root]
    explained = {head: epoch for head in differ if (epoch := _explained(head, log.epochs)) is not None}
    unexplained = [head for head in differ if head not in explained]
    shorter = [head for head in unexplained if head.size > log.size]
    forked = [head for head in unexplained if head.size <= log.size]
    others = [head for head in heads if head.origin != log.origin]
    told = [of_others(others, log.origin)] if others else []
    if forked:
        told.append(_forked(forked, [head for head in mine if head not in differ]))
    if shorter:
        told.append(
            f"the log is shorter than {_named(shorter[0])}{_and_more(shorter)}: it has "
            f"{counted(log.size, 'entry', 'entries')}, so what was recorded last is missing"
        )
    return told + _of_epochs(explained, accepted_epoch)


def _explained(head: Head, epochs: Sequence[Epoch]) -> Epoch | None:
    """The restore that may have lost what a head vouches for: declared after the head, and cut off before its end."""
    return next((epoch for epoch in epochs if epoch.number > head.epoch and epoch.size < head.size), None)


def of_others(heads: Sequence[Head], origin: str) -> str:
    """That these heads, at least one, are of another log than this one."""
    named = f"{_named(heads[0])}{_and_more(heads)}"
    rebuilt = "it is of another database, or this log was rebuilt from its first entry"
    return f"{named} is of the log {visible_name(heads[0].origin)}, and this is {origin}: {rebuilt}"


def _forked(heads: Sequence[Head], agreeing: Sequence[Head]) -> str:
    first = min(heads, key=lambda head: head.size)
    before = max((head.size for head in agreeing if head.size < first.size), default=0)
    where = f"some of the entries {before} to {first.size - 1} were changed since"
    return f"the log does not extend {_named(first)}{_and_more(heads)}: {where}"


def _of_epochs(explained: Mapping[Head, Epoch], accepted: int) -> list[str]:
    told = {}
    for head, epoch in explained.items():
        if epoch.number > accepted:
            lost = f"entries {epoch.size} to {head.size - 1} of {_named(head)} are not in this log"
            looked = f"once you have looked into it: --accept-epoch {epoch.number}"
            told[epoch.number] = f"{epoch}: {lost}; {looked}"
    return list(told.values())


def _named(head: Head) -> str:
    at = f" of {visible_name(head.time)}" if head.time else ""
    return f"the head{at} over {counted(head.size, 'entry', 'entries')}"


def _and_more(heads: Sequence[Head]) -> str:
    return f" (and {counted(len(heads) - 1, 'other head')})" if len(heads) > 1 else ""
