"""pause and resume: every daemon on a database, and whether each has obeyed."""

from __future__ import annotations

import getpass
import time
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.common import settings
from reconciler.cli.exits import DONE, NEGATIVE, say
from reconciler.cli.options import DURATION, REASON, ByOption, duration_of
from reconciler.cli.shown.terminal import spinner
from reconciler.domain.text import counted
from reconciler.domain.times import duration_text, iso

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from reconciler.audit.running.pauses import Pause, Running

_POLL_SECONDS = 0.5
# Each attempt waits for SQLite's lock for ten seconds.
_LOCKED_FOR = 60.0


def pause(
    reason: Annotated[str, typer.Option(metavar=REASON, help="Reason; recorded, and shown until acts resume.")],
    person: ByOption = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait until every daemon has paused; exit 1 and name those that have not in time."),
    ] = False,
    timeout: Annotated[
        str, typer.Option(metavar=DURATION, help="How long --wait waits, such as 90s, 10m or 1h.")
    ] = "5m",
) -> int:
    """Stop all daemons of this database from acting. They keep listing and judging."""
    from reconciler.audit.running.pauses import PAUSE, pause_in_force, running
    from reconciler.audit.schema import shown_url

    if not reason.strip():
        raise typer.BadParameter("is empty: give a reason; it is shown until acts resume", param_hint="--reason")
    patience, url = duration_of(timeout), settings().audit.url.get_secret_value()
    with _database(url) as engine:
        changed = _noted(engine, PAUSE, reason, person)
        where = shown_url(url)
        say(f"paused in {where}" if changed else f"acts are already paused in {where}{_since(pause_in_force(engine))}")
        daemons = running(engine)
        _say_which(daemons)
        if wait:
            return _wait(engine, patience)
    return DONE if changed else NEGATIVE


def resume(
    reason: Annotated[str, typer.Option(metavar=REASON, help="Reason; recorded.")] = "",
    person: ByOption = None,
) -> int:
    """Let daemons act again."""
    from reconciler.audit.running.pauses import RESUME, running
    from reconciler.audit.schema import shown_url

    url = settings().audit.url.get_secret_value()
    with _database(url) as engine:
        changed = _noted(engine, RESUME, reason, person)
        daemons = running(engine)
    where = shown_url(url)
    say(f"resumed in {where}: {_named(daemons)}" if changed else f"acts are not paused in {where}")
    return DONE if changed else NEGATIVE


def _noted(engine: Engine, action: str, reason: str, person: str | None) -> bool:
    """Notes a pause or its end, and keeps on trying for a minute while another program holds the database's lock."""
    from reconciler.audit.running.pauses import note_pause
    from reconciler.ports import AuditLocked

    ends = time.monotonic() + _LOCKED_FOR
    while True:
        try:
            return note_pause(engine, action, reason, person or getpass.getuser())
        except AuditLocked as error:
            if time.monotonic() >= ends:
                raise
            say(f"{error}; trying again")


def _since(pause: Pause | None) -> str:
    """Since when, by whom and why acts are paused; "" where they were resumed just now."""
    return f", since {iso(pause.at)} by {pause.person}: {pause.reason}; this call changed nothing" if pause else ""


@contextmanager
def _database(url: str) -> Iterator[Engine]:
    from reconciler.audit import schema
    from reconciler.audit.database import Access

    with schema.opened_at_head(url, Access.WRITE) as engine:
        yield engine


def _say_which(daemons: Sequence[Running]) -> None:
    if not daemons:
        say("no daemon runs on this database: is it the one that your daemon uses? (mlflow-reconciler status)")
        return
    say(f"{_named(daemons)} will start no further act; --wait returns when every daemon has obeyed")


def _named(daemons: Sequence[Running]) -> str:
    names = f" ({', '.join(daemon.name for daemon in daemons)})" if daemons else ""
    return counted(len(daemons), "daemon") + names


def _wait(engine: Engine, patience: timedelta) -> int:
    from reconciler.audit.running.pauses import running

    if not running(engine):
        say("no daemon to wait for")
        return NEGATIVE
    ends = time.monotonic() + patience.total_seconds()
    with spinner(f"waiting up to {duration_text(patience)} for the daemons to end their current cycle"):
        while disobedient := [daemon for daemon in running(engine) if not daemon.obeys]:
            if time.monotonic() >= ends:
                break
            time.sleep(_POLL_SECONDS)
    if not disobedient:
        say("every daemon has obeyed")
        return DONE
    for daemon in disobedient:
        ago = duration_text(timedelta(seconds=round(daemon.last_heard.total_seconds())))
        say(f"{daemon.name} has not obeyed within {duration_text(patience)}; last heard from {ago} ago")
    return NEGATIVE
