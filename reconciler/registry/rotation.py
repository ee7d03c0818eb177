"""A paged list that is read in rounds, as many pages at a time as there is time for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconciler.domain.place import ModelVersion
from reconciler.domain.prompts import SOURCES_OF_PROMPTS
from reconciler.domain.scope import Part, Scope
from reconciler.domain.target import Target
from reconciler.ports import Invalid, Unavailable
from reconciler.registry.errors import TooLarge
from reconciler.registry.paging import Row, rows_of
from reconciler.registry.versions import PROMPTS_ONLY, quotable

# Rows may carry tags of any size, so pages shrink where one is too large.
_SIZES: Final = (1000, 50, 1)
# With more filters than these one search for all names costs the server less.
_MOST_FILTERS: Final = 8

Ask = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """A round that was read to its end: what it showed, for how many seconds it went on, and whether at one go."""

    keys: frozenset[ModelVersion]
    seconds: float
    in_one_look: bool


# The rows that were read now, and the round that they have ended; None: it goes on.
PartOfRound = tuple[list[Row], Finished | None]


class Rotation:
    """Rounds over one list. Where it is in its round is remembered in this process only.

    Args:
        ask: reads one page by its query.
        key_of: what a row is about, as `domain.holding.looks.Round.shown` has it.
    """

    def __init__(self, ask: Ask, field: str, key_of: Callable[[Row], ModelVersion], clock: Callable[[], float]) -> None:
        self._ask = ask
        self._field = field
        self._key_of = key_of
        self._clock = clock
        self._filters: tuple[str, ...] = ()
        self._size = 0
        self.begin_anew()

    def begin_anew(self) -> None:
        self._left: list[str] = []
        self._query: Mapping[str, str] = {}
        self._tokens: set[str] = set()
        self._keys: set[ModelVersion] = set()
        self._started: float | None = None

    @property
    def under_way(self) -> bool:
        return self._started is not None

    def read(self, filters: Sequence[str], may_go_on: Callable[[], bool]) -> PartOfRound:
        """At least one page, and others while there is time.

        Args:
            filters: the searches of a round; others than before begin it anew.
        """
        if tuple(filters) != self._filters:
            self._filters = tuple(filters)
            self.begin_anew()
        in_one_look = self._started is None
        if self._started is None:
            self._started, self._left = self._clock(), list(filters)
        rows: list[Row] = []
        for page in self._pages():
            rows += page
            self._keys |= {self._key_of(row) for row in page}
            if self._left and not may_go_on():
                return rows, None
        finished = Finished(frozenset(self._keys), self._clock() - self._started, in_one_look)
        self.begin_anew()
        return rows, finished

    def _pages(self) -> Iterator[list[Row]]:
        while self._left:
            page = self._page({"filter": self._left[0]} if self._left[0] else {})
            token = str(page.get("next_page_token") or "")
            if token in self._tokens:
                self.begin_anew()
                raise Unavailable(
                    f"the list of {self._field} cannot be read to its end: the server repeats a page token"
                )
            if token:
                self._tokens.add(token)
                self._query = {"page_token": token}
            else:
                self._left.pop(0)
                self._query, self._tokens = {}, set()
            yield rows_of(page, self._field)

    def _page(self, query: Mapping[str, Any]) -> Mapping[str, Any]:
        while True:
            try:
                page = self._ask({**query, **self._query, "max_results": _SIZES[self._size]})
            except TooLarge:
                # Tokens are offsets, so a smaller page goes on where the last one ended.
                if self._size == len(_SIZES) - 1:
                    raise
                self._size += 1
            except Invalid:
                self.begin_anew()
                raise
            else:
                return page if isinstance(page, dict) else {}


def name_filters(scope: Scope, looked_for: Callable[[Target], bool]) -> list[str]:
    """Searches by name that find every model on which such a target is governed, and perhaps others; "": all models.

    Prompts have searches of their own.
    """
    models, prompts = (_named(scope.of_kind(of_prompts=kind), looked_for) for kind in (False, True))
    return [*models, *(" AND ".join(filter(None, [named, PROMPTS_ONLY])) for named in prompts)]


def disguised_filters(scope: Scope) -> list[str]:
    """Searches for versions that `name_filters` misses, since they have a mark of prompts and files, or neither.

    Anybody may set the mark and take it away; without files is what MLflow made as a prompt. Usually there are none.
    """
    models, prompts = (_named(scope.of_kind(of_prompts=kind), lambda target: True) for kind in (False, True))
    with_files = [PROMPTS_ONLY, *(f"source_path != '{source}'" for source in sorted(SOURCES_OF_PROMPTS))]
    return [
        *(" AND ".join(filter(None, [named, *with_files])) for named in models),
        *(
            " AND ".join(filter(None, [named, f"source_path = '{source}'"]))
            for named in prompts
            for source in sorted(SOURCES_OF_PROMPTS)
        ),
    ]


def _named(parts: Iterable[Part], looked_for: Callable[[Target], bool]) -> list[str]:
    globs = {glob for part in parts if any(map(looked_for, part.targets)) for glob in part.names.globs}
    patterns = {_pattern(glob) for glob in globs}
    if "%" in patterns or len(patterns) > _MOST_FILTERS:
        return [""]
    return [f"name LIKE '{pattern}'" for pattern in sorted(patterns)]


def _pattern(glob: str) -> str:
    """A LIKE pattern that matches at least what the glob does: in it, `_` stands for any one character."""
    head, *rest = glob.split("[", 1)
    pattern = head.replace("*", "%").replace("?", "_") + ("%" if rest else "")
    return pattern if quotable(pattern.replace("%", "")) else "%"
