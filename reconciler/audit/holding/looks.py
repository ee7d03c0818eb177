"""The lease to look, what the last look left for the next one, and what is on record for a replica that takes over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, insert, literal, select, update

from reconciler.audit.holding.readable import shown
from reconciler.audit.holding.tables import (
    AttributionRow,
    HolderRow,
    LookRow,
    ObservationRow,
    UnattributedRow,
    WatchedScopeRow,
)
from reconciler.audit.requests.resolution_tables import ResolutionRow
from reconciler.audit.statements import Served, insert_new, now_after
from reconciler.audit.tables import DecisionRow, OpenRequestRow, db_now
from reconciler.domain.holding.looks import Kind, Tenure
from reconciler.domain.place import Place
from reconciler.domain.scope import Names, Part, Scope
from reconciler.domain.target import Target
from reconciler.domain.text import visible
from reconciler.domain.times import millis_of
from reconciler.ports.observations import AsOf, Known, Looked, Watch

HELD, LEFT = "held", "left"
# The sign of what is looked at only because a check asks for how long: nobody has to explain it.
WATCHED = "watched"


def watch(connection: Connection, served: Served, daemon: str, known_fence: int | None) -> Watch | None:
    """The lease of this daemon; None where it has none. It only reads."""
    row = _look_of(connection, served)
    if row is None or row.leased_by != daemon:
        return None
    known = None if row.fence == known_fence else _known(connection, served)
    return Watch(row.now, row.fence, row.watermark_ms, _as_of(row), known)


def is_free(connection: Connection, served: Served) -> bool:
    row = _look_of(connection, served)
    return row is None or row.leased_until <= row.now


def take(connection: Connection, served: Served, daemon: str, lease: timedelta) -> None:
    """Takes the lease where it is free. The first to look at a registry finds no row, or finds the state lost."""
    row = _look_of(connection, served)
    if row is None:
        values = {**served.columns, "leased_by": daemon, "fence": 1}
        added = insert_new(connection, LookRow).values(**values, leased_until=now_after(lease))
        if connection.execute(added.returning(LookRow.fence)).one_or_none() is not None:
            _restore(connection, served)
    elif row.leased_until <= row.now:
        mine = update(LookRow).where(served.among(LookRow), LookRow.fence == row.fence)
        connection.execute(mine.values(leased_by=daemon, fence=row.fence + 1, leased_until=now_after(lease)))


def _look_of(connection: Connection, served: Served) -> Row[Any] | None:
    query = select(LookRow.__table__, db_now().label("now")).where(served.among(LookRow))
    return connection.execute(query).one_or_none()


def _as_of(row: Row[Any]) -> AsOf:
    moments = {Kind.STAGES: row.stages_as_of, Kind.ALIASES: row.aliases_as_of}
    kinds = {kind: moment for kind, moment in moments.items() if moment is not None}
    take = None if row.aliases_take_ms is None else timedelta(milliseconds=row.aliases_take_ms)
    return AsOf(kinds, row.everything_as_of, take)


def keep(connection: Connection, served: Served, looked: Looked, lease: timedelta) -> None:
    """Keeps what a look leaves, and renews its lease."""
    as_of = looked.as_of
    values = {
        "watermark_ms": looked.changed_since,
        "stages_as_of": as_of.kinds.get(Kind.STAGES),
        "aliases_as_of": as_of.kinds.get(Kind.ALIASES),
        "everything_as_of": as_of.everything,
        "aliases_take_ms": None if as_of.aliases_take is None else millis_of(as_of.aliases_take),
        "problem": None if looked.problem is None else visible(looked.problem),
        "leased_until": now_after(lease),
    }
    mine = update(LookRow).where(served.among(LookRow), LookRow.fence == looked.fence)
    connection.execute(mine.values(values))


def release(connection: Connection, served: Served, daemon: str) -> None:
    mine = served.among(LookRow) & (LookRow.leased_by == daemon)
    connection.execute(update(LookRow).where(mine).values(leased_until=db_now()))


def holds_lease(connection: Connection, served: Served, daemon: str, fence: int) -> bool:
    """Whether the lease is still this one. To be asked within the transaction that rests on it."""
    mine = served.among(LookRow) & (LookRow.leased_by == daemon) & (LookRow.fence == fence)
    return connection.scalar(select(LookRow.fence).where(mine)) is not None


# --- what is on record ---------------------------------------------------------------------------------------


def _known(connection: Connection, served: Served) -> Known:
    return Known(list(_tenures(connection, served)), watched_scope(connection, served), shown(connection, served))


def _tenures(connection: Connection, served: Served) -> Iterator[Tenure]:
    began = HolderRow.__table__.join(ObservationRow.__table__, ObservationRow.id == HolderRow.tenure_id)
    query = select(HolderRow.__table__, ObservationRow.sign).select_from(began).where(served.among(HolderRow))
    for row in connection.execute(query):
        yield Tenure(row.tenure_id, place_of(row), row.created_ms, row.since, row.sign == WATCHED, row.last_seen)


def place_of(row: Any) -> Place:
    """The place of a row with the columns of `holders`.

    Of what is held no more `name` is NULL, and `model` is the name as it is shown: where that differs, nobody finds the
    version.
    """
    model = row.model if row.name is None else json.loads(row.name)
    return Place(model, row.version, Target.parse(row.target))


def watched_scope(connection: Connection, served: Served) -> Scope | None:
    newest = select(WatchedScopeRow.scope).where(served.among(WatchedScopeRow)).order_by(WatchedScopeRow.id.desc())
    text = connection.scalar(newest.limit(1))
    return None if text is None else scope_in(text)


def scope_text(scope: Scope) -> str:
    return json.dumps([_part_as_json(part) for part in scope.parts], ensure_ascii=True)


def _part_as_json(part: Part) -> dict[str, object]:
    globs, exclude, within = part.names
    # A daemon of an earlier release reads `models` alone, and looks for none there.
    prompts = list(globs) if part.of_prompts else []
    more = {"prompts": prompts, "exclude": list(exclude), "within": [list(one) for one in within]}
    return {
        "models": [] if part.of_prompts else list(globs),
        **{name: value for name, value in more.items() if value},
        "targets": sorted(map(str, part.targets)),
    }


def scope_in(text: str) -> Scope:
    return Scope(tuple(_part_in(part) for part in json.loads(text)), governed=True)


def _part_in(part: Any) -> Part:
    within = tuple(tuple(one) for one in part.get("within", ()))
    of_prompts = "prompts" in part
    names = Names(tuple(part["prompts" if of_prompts else "models"]), tuple(part.get("exclude", ())), within)
    return Part(names, frozenset(map(Target.parse, part["targets"])), of_prompts)


def _restore(connection: Connection, served: Served) -> None:
    """Makes the working state from history: it is empty where the registry was never looked at."""
    connection.execute(HolderRow.__table__.delete().where(served.among(HolderRow)))
    connection.execute(UnattributedRow.__table__.delete().where(served.among(UnattributedRow)))
    begun, ended, cause = ObservationRow.__table__, ObservationRow.__table__.alias("ended"), AttributionRow
    open_now = served.among(ObservationRow) & (begun.c.seen == HELD) & ended.c.id.is_(None)
    query = (
        select(begun, cause.cause)
        .select_from(begun.outerjoin(ended, ended.c.tenure_id == begun.c.id))
        .outerjoin(cause.__table__, cause.observation_id == begun.c.id)
        .where(open_now)
    )
    holders = [holder_of(row._mapping, json.dumps(row.model), row.cause) for row in connection.execute(query)]
    if holders:
        connection.execute(insert(HolderRow), holders)
    here = literal(served.registry), literal(served.workspace), literal(False), *_on_record_then(served)
    explained = select(cause.id).where(cause.observation_id == ObservationRow.id).exists()
    to_explain = served.among(ObservationRow) & (ObservationRow.sign != WATCHED)
    unexplained: Any = select(ObservationRow.id, *here).where(to_explain, ~explained)
    names = ["observation_id", "registry", "workspace", "looked_again", "requested", "decisions_to", "resolutions_to"]
    connection.execute(insert(UnattributedRow).from_select(names, unexplained))
    _restore_moments(connection, served)


def _on_record_then(served: Served) -> tuple[Any, Any, Any]:
    """Whether a request was known when an observation was made, and what was on record: as far as times tell."""
    seen, asked = ObservationRow, OpenRequestRow
    same = (asked.model == seen.model) & (asked.version == seen.version) & (asked.target == seen.target)
    requested = select(asked.place).where(served.among(asked), same, asked.first_seen_at <= seen.at).exists()
    moments = ((DecisionRow.id, DecisionRow.decided_at), (ResolutionRow.id, ResolutionRow.at))
    newest = (select(func.max(id)).where(at <= seen.at).scalar_subquery() for id, at in moments)
    return requested, next(newest), next(newest)


def _restore_moments(connection: Connection, served: Served) -> None:
    """A change was seen at that time at least; what was watched then was looked at no earlier than its scope says."""
    seen = connection.scalar(select(func.max(ObservationRow.at)).where(served.among(ObservationRow)))
    since = connection.scalar(select(func.max(WatchedScopeRow.since)).where(served.among(WatchedScopeRow)))
    if since is None:
        return
    moment = since if seen is None else max(since, seen)
    values = {"stages_as_of": moment, "aliases_as_of": moment, "everything_as_of": since}
    connection.execute(update(LookRow).where(served.among(LookRow)).values(values))


def holder_of(row: Any, name: str, cause: str | None = None) -> dict[str, Any]:
    """The working row of an observation that begins a tenure."""
    same = ("registry", "workspace", "model", "version", "target", "created_ms")
    kept = {column: row[column] for column in same}
    return {**kept, "tenure_id": row["id"], "since": row["at"], "name": name, "cause": cause}
