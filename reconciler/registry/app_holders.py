"""The holders that the app's list call answers with: the groups of models that differ from what is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from reconciler.domain.holding.groups import GROUPS, HeldRow
from reconciler.domain.holding.looks import Kind, Look, Round, SeenModel, SeenVersion, Wanted
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.ports import Unavailable
from reconciler.registry.paging import rows_of

_NOT_KNOWN: Final = "-" * 8


class AppHolders:
    """What the app has told, group by group."""

    def __init__(self) -> None:
        self._scope: Scope | None = None
        self._told = True
        self._forget()

    def _forget(self) -> None:
        self._digests = [_NOT_KNOWN] * GROUPS
        self._groups: list[list[HeldRow]] = [[] for _ in range(GROUPS)]
        self._complete = False
        # All groups are asked for as if none were known: what the account may read can change by itself.
        self._refreshing = True
        # Models of the groups that were told since the last look; None: all of them.
        self._changed: set[int] = set()
        self._was: set[str] | None = None

    @property
    def are_not_told(self) -> bool:
        """An older app answers without them."""
        return not self._told

    def known(self, scope: Scope) -> dict[str, str]:
        """What to send with the list: the digests of the groups as they are known.

        An app of an earlier release knows nothing of prompts, and tells their holders to nobody.
        """
        if scope != self._scope:
            self._forget()
            self._scope = scope
        prompts = {"holders_of_prompts": "true"} if scope.has_prompts else {}
        return {"holders": "".join(self._digests), **prompts}

    def take(self, answer: Any) -> None:
        """Raises Unavailable where what was answered cannot be read."""
        self._told = isinstance(answer, dict) and "holders" in answer
        if not self._told:
            return
        try:
            self._take(answer["holders"])
        except (KeyError, TypeError, ValueError) as error:
            self._forget()
            raise Unavailable(f"transition-requests/list: no holders in the answer: {error!r}") from None

    def _take(self, holders: Any) -> None:
        for group in rows_of(holders, "groups"):
            number, rows = int(group["group"]), [_row(row) for row in group["held"]]
            if self._was is not None:
                self._was |= {row.model for row in self._groups[number]}
            self._groups[number], self._digests[number] = rows, str(group["digest"])
            self._changed.add(number)
        self._complete = not holders["more"]

    def look(self, wanted: Wanted) -> Look:
        """What was told since the last look; all of it where nothing of that counts any more."""
        afresh = wanted.afresh or self._was is None
        changed = range(GROUPS) if afresh else sorted(self._changed)
        rows = [row for number in changed for row in self._groups[number]]
        about = None if afresh else frozenset({row.model for row in rows} | (self._was or set()))
        complete, now = self._complete, timedelta()
        refreshed = self._refreshing and complete
        if complete:
            self._changed, self._was = set(), set()
            self._refreshing = wanted.everything and not refreshed
            if self._refreshing:
                self._digests = [_NOT_KNOWN] * GROUPS
        versions, models = _seen(rows)
        return Look(
            versions,
            models,
            rounds=_rounds(rows, about) if complete and changed else (),
            as_of={Kind.STAGES: now, Kind.ALIASES: now} if complete else {},
            everything=now if refreshed else None,
            aliases_take=now if complete else None,
        )


def _row(row: Any) -> HeldRow:
    created = row["creation_timestamp"]
    target = str(Target.parse(str(row["target"])))
    created = None if created is None else int(created)
    return HeldRow(str(row["name"]), str(row["version"]), target, created, row.get("is_prompt") is True)


def _seen(rows: Iterable[HeldRow]) -> tuple[list[SeenVersion], list[SeenModel]]:
    versions: list[SeenVersion] = []
    aliases: dict[str, dict[str, str]] = defaultdict(dict)
    shown: dict[str, HeldRow] = {}
    for row in rows:
        target = Target.parse(row.target)
        if target.is_stage:
            versions.append(SeenVersion(row.model, row.version, target.name, row.created))
        else:
            aliases[row.model][target.name] = row.version
            shown[row.model] = row
    models = (SeenModel(model, named, shown[model].created, shown[model].is_prompt) for model, named in aliases.items())
    return versions, list(models)


def _rounds(rows: Iterable[HeldRow], about: frozenset[str] | None) -> list[Round]:
    stages = frozenset((row.model, row.version) for row in rows if Target.parse(row.target).is_stage)
    aliases = frozenset((row.model, "") for row in rows if not Target.parse(row.target).is_stage)
    return [Round(Kind.STAGES, stages, about), Round(Kind.ALIASES, aliases, about)]
