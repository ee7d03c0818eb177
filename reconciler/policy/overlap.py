"""Whether two rules can match one name, as far as it can be seen from their globs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import product

from reconciler.domain.scope import Names

_TOKEN = re.compile(r"\*+|\[!?\]?[^]]*\]|.", re.DOTALL)
# What is tried where a glob allows several characters.
_TRIED = "ab019-_.AZ"
# Globs of more parts are not looked into.
_MOST_PARTS = 50


@dataclass
class Budget:
    """However many rules and globs a policy has, this many pairs of globs are looked at."""

    pairs: int = 2_000


def common_name(one: Names, other: Names, budget: Budget) -> str | None:
    """A name that both match; None where none was found."""
    for first, second in product(one.globs, other.globs):
        budget.pairs -= 1
        if budget.pairs < 0:
            break
        for name in _names_of_both(first, second):
            if one.match(name) and other.match(name):
                return name
    return None


def _names_of_both(one: str, other: str) -> Iterator[str]:
    """Some names that both globs match, with nothing and with something for each `*`."""
    for filled in ("", "a", "0"):
        name = _name_of_both(one, other, filled)
        if name:
            yield name


def _name_of_both(one: str, other: str, filled: str) -> str | None:
    first, second = _TOKEN.findall(one), _TOKEN.findall(other)
    if len(first) > _MOST_PARTS or len(second) > _MOST_PARTS:
        return None

    @lru_cache(None)
    def rest(at: int, by: int) -> str | None:
        """A text that what is left of both globs matches."""
        if at == len(first) or by == len(second):
            left = first[at:] + second[by:]
            return filled if left and all(map(_is_star, left)) else None if left else ""
        mine, its = first[at], second[by]
        if _is_star(mine):
            taken = rest(at, by + 1)
            if taken is not None:
                return taken if _is_star(its) else _characters(its)[0] + taken
            return rest(at + 1, by)
        if _is_star(its):
            taken = rest(at + 1, by)
            return rest(at, by + 1) if taken is None else _characters(mine)[0] + taken
        both = [one for one in _characters(mine) if fnmatchcase(one, its)]
        both += [one for one in _characters(its) if fnmatchcase(one, mine)]
        below = rest(at + 1, by + 1) if both else None
        return None if below is None else both[0] + below

    return rest(0, 0)


def _is_star(token: str) -> bool:
    return token.startswith("*")


def _characters(token: str) -> list[str]:
    """Characters that a part of a glob matches; of many, some."""
    return [one for one in dict.fromkeys((*_TRIED, *token)) if fnmatchcase(one, token)] or [token[0]]
