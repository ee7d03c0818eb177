"""What the daemons' policies govern, as they say with their list calls; so whoever asks for anything else hears it now.

Without it a request that no rule covers waits in silence. Several workers serve one registry, so it is kept beside it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.exc import DBAPIError

from reconciler.domain.request import Request
from reconciler.domain.target import Target
from reconciler.domain.text import quoted, visible_name
from reconciler.mlflow_app.holders import OURS
from reconciler.mlflow_app.tables import governed as table

_OURS: Final = {OURS: True}
_LONGEST: Final = 8_000
_TOLD_AGAIN_AFTER_MS: Final = 60 * 60 * 1000
_BELIEVED_FOR_MS: Final = 3 * _TOLD_AGAIN_AFTER_MS


class Part(NamedTuple):
    """Globs over model names, and the targets that are governed there."""

    models: tuple[str, ...]
    targets: frozenset[str]

    def covers(self, model: str, target: Target) -> bool:
        return str(target) in self.targets and any(fnmatchcase(model, glob) for glob in self.models)


class Governed:
    """Args: clock: milliseconds since 1970, UTC."""

    def __init__(self, engine: Engine, clock: Callable[[], int] = lambda: round(time.time() * 1000)) -> None:
        self._engine = engine
        self._clock = clock

    def hear(self, workspace: str, teller: str, told: str) -> None:
        """Remembers what a daemon says. What cannot be understood is not: saying it is the daemon's courtesy."""
        if len(told) > _LONGEST or not _parts(told):
            return
        now = self._clock()
        where = (table.c.workspace == workspace, table.c.teller == visible_name(teller))
        with self._engine.connect() as connection:
            known = connection.execute(select(table.c.told, table.c.at_ms).where(*where)).first()
        if known is not None and known.told == told and now - known.at_ms < _TOLD_AGAIN_AFTER_MS:
            return
        row = {"workspace": workspace, "teller": visible_name(teller), "told": told, "at_ms": now}
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(table).where(*where), execution_options=_OURS)
                connection.execute(insert(table).values(row), execution_options=_OURS)
        except DBAPIError:
            return  # another worker heard it in the same moment

    def covers(self, workspace: str, believes: Callable[[str, str], bool]) -> Callable[[str, Target], bool | None]:
        """Whether a rule covers a model and target; None where no daemon has said anything for three hours.

        Args:
            believes: whether this teller decides about this model: nobody else is believed about it.
        """
        since = self._clock() - _BELIEVED_FOR_MS
        wanted = select(table.c.teller, table.c.told).where(table.c.workspace == workspace, table.c.at_ms > since)
        with self._engine.connect() as connection:
            told = {teller: _parts(said) for teller, said in connection.execute(wanted)}

        def covered(model: str, target: Target) -> bool | None:
            heard = [parts for teller, parts in told.items() if believes(teller, model)]
            return any(part.covers(model, target) for parts in heard for part in parts) if heard else None

        return covered


def _parts(told: str) -> list[Part]:
    """Empty for what is not `[{"models": […], "targets": […]}, …]`."""
    try:
        return list(_read(json.loads(told)))
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _read(data: Any) -> Iterator[Part]:
    for part in data:
        globs, targets = part["models"], part["targets"]
        if not all(isinstance(one, str) for one in (*globs, *targets)):
            raise TypeError("globs and targets are texts")
        yield Part(tuple(globs), frozenset(targets))


def is_covered(covers: Callable[[str, Target], bool | None], request: Request) -> bool | None:
    """No rule covers a prompt. None: no daemon has said what its policy governs."""
    covered = covers(request.model, request.target)
    return False if covered is not None and request.is_prompt else covered


def nobody_decides(request: Request) -> str:
    kind = "prompts" if request.is_prompt else f"{quoted(request.model)} and {request.target}"
    return f"No rule of the policy in force covers {kind}, so the daemon leaves it alone: ask a person to decide."
