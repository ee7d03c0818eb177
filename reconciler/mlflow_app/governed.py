"""What the daemons' policies govern, as stated in their list calls: warns requesters of what no rule covers.

Without it such a request waits in silence. Several workers serve one registry, so the registry's database keeps it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.exc import DBAPIError

from reconciler.domain.request import Request
from reconciler.domain.scope import Names
from reconciler.domain.text import quoted, visible_name
from reconciler.mlflow_app.holders import OURS
from reconciler.mlflow_app.tables import governed as table

_OURS: Final = {OURS: True}
_LONGEST: Final = 8_000
_REFRESHED_AFTER_MS: Final = 60 * 60 * 1000
_BELIEVED_FOR_MS: Final = 3 * _REFRESHED_AFTER_MS


Covers = Callable[[Request], bool | None]


class Part(NamedTuple):
    """Names of models and of prompts, and the targets that the policy governs there."""

    models: Names
    prompts: Names
    targets: frozenset[str]

    def covers(self, request: Request) -> bool:
        names = self.prompts if request.is_prompt else self.models
        return str(request.target) in self.targets and names.match(request.model)


class Governed:
    """Args: clock: milliseconds since 1970, UTC."""

    def __init__(self, engine: Engine, clock: Callable[[], int] = lambda: round(time.time() * 1000)) -> None:
        self._engine = engine
        self._clock = clock

    def hear(self, workspace: str, daemon: str, statement: str) -> None:
        """Remember what a daemon states. Ignore what cannot be parsed: the statement is optional."""
        if len(statement) > _LONGEST or not _parts(statement):
            return
        now = self._clock()
        where = (table.c.workspace == workspace, table.c.teller == visible_name(daemon))
        with self._engine.connect() as connection:
            known = connection.execute(select(table.c.told, table.c.at_ms).where(*where)).first()
        if known is not None and known.told == statement and now - known.at_ms < _REFRESHED_AFTER_MS:
            return
        row = {"workspace": workspace, "teller": visible_name(daemon), "told": statement, "at_ms": now}
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(table).where(*where), execution_options=_OURS)
                connection.execute(insert(table).values(row), execution_options=_OURS)
        except DBAPIError:
            return  # another worker wrote it at the same moment

    def covers(self, workspace: str, believes: Callable[[str, str], bool]) -> Covers:
        """Whether a rule covers a request; None if no daemon has stated anything for three hours.

        Args:
            believes: whether this daemon may decide about this model; statements of others about it are ignored.
        """
        since = self._clock() - _BELIEVED_FOR_MS
        wanted = select(table.c.teller, table.c.told).where(table.c.workspace == workspace, table.c.at_ms > since)
        with self._engine.connect() as connection:
            stated = {daemon: _parts(statement) for daemon, statement in connection.execute(wanted)}

        def covered(request: Request) -> bool | None:
            believed = [parts for daemon, parts in stated.items() if believes(daemon, request.model)]
            return any(part.covers(request) for parts in believed for part in parts) if believed else None

        return covered


def _parts(statement: str) -> list[Part]:
    """Empty for a statement that is not `[{"models": […], "targets": […]}, …]`.

    A part may have `prompts`, `exclude` and `within`, as `domain.scope.Names` has them.
    """
    try:
        return list(_read(json.loads(statement)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def _read(data: Any) -> Iterator[Part]:
    for part in data:
        exclude, within = _texts(part.get("exclude", [])), tuple(map(_texts, part.get("within", [])))
        models, prompts = (Names(_texts(part.get(kind, [])), exclude, within) for kind in ("models", "prompts"))
        yield Part(models, prompts, frozenset(_texts(part["targets"])))


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
        raise TypeError("globs and targets must be strings")
    return tuple(values)


def warning_of_no_rule(request: Request) -> str:
    kind = "prompts" if request.is_prompt else f"{quoted(request.model)} and {request.target}"
    return f"No rule of the policy in force covers {kind}, so the daemon leaves it alone: ask a person to decide."
