"""What is left of a file's data when its mistakes are taken out, so that they hide no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from reconciler.domain.checks.base import Check
from reconciler.policy.problems import Location

# What stands in for a key without which nothing more could be said of its rule. None of it makes a mistake: a name that
# no other rule has, a target that archives nothing, and a check that models and prompts may have.
_NAME: Final = "\0 rule {}"
_TARGET: Final = "@stands-in"
_CHECK: Final = {"tag": "stands-in"}
_DEPTH_OF_RULE: Final = 2


def _is_check(at: Location) -> bool:
    """At `rules[0].require[0]`, or among alternatives at `rules[0].require[0].any_of[0][0]`."""
    return at[:1] == ("rules",) and at[2:3] == ("require",) and (len(at) == 4 or (len(at) == 7 and at[4] == "any_of"))


class Remainder:
    """The data without what was taken out. Lists are shorter then, so `place` says where something stands in the text.

    Args:
        out: places of what cannot be read.
    """

    def __init__(self, data: Any, out: Iterable[Location] = ()) -> None:
        self._data = data
        self._out: set[Location] = set()
        self._touched: set[Location] = set()
        self._without_kind: set[Location] = set()
        self._kept: dict[Location, list[int]] = {}
        for at in out:
            self._add(at)

    def data(self) -> Any:
        """What is left, made anew."""
        self._kept = {}
        return self._left(self._data, ())

    def place(self, at: Location) -> Location:
        """Where it stands in the text. Args: at: where it stands in what is left."""
        return self.place_within((), at)

    def place_within(self, found: Location, at: Location) -> Location:
        """The same. Args: found: the place in the text of what encloses it. at: where it stands within what is left."""
        for part in at:
            kept = self._kept.get(found)
            if isinstance(part, int) and kept is not None and part < len(kept):
                part = kept[part]
            found = (*found, part)
        return found

    def lacks(self, at: Location) -> bool:
        """Whether something was taken out here, within, or around. Args: at: as in the text."""
        return at in self._touched or any(at[:length] in self._out for length in range(1, len(at)))

    def take_out(self, at: Location) -> bool:
        """Takes out what is wrong; what encloses it where that did not help. False: nothing is left to be taken out.

        Of a check the keys stay that every check has, such as its id.
        """
        while at in self._out:
            at = at[:-1]
        if _is_check(at) and at not in self._without_kind and isinstance(self._at(at), Mapping):
            self._without_kind.add(at)
            self._touch(at)
        elif at:
            self._add(at)
        return bool(at)

    def _add(self, at: Location) -> None:
        self._out.add(at)
        self._touch(at)

    def _touch(self, at: Location) -> None:
        self._touched.update(at[:length] for length in range(1, len(at) + 1))

    def _at(self, at: Location) -> Any:
        value = self._data
        for part in at:
            value = value[part]
        return value

    def _left(self, value: Any, at: Location) -> Any:
        if at and at not in self._touched:
            return value
        if isinstance(value, list):
            self._kept[at] = [index for index in range(len(value)) if (*at, index) not in self._out]
            return [self._left(value[index], (*at, index)) for index in self._kept[at]]
        if not isinstance(value, Mapping):
            return value
        left = {key: self._left(one, (*at, key)) for key, one in value.items() if (*at, key) not in self._out}
        if at in self._without_kind:
            return {key: one for key, one in left.items() if key in Check.model_fields} | _CHECK
        return left | self._stand_ins(left, at)

    def _stand_ins(self, left: Mapping[str, Any], at: Location) -> dict[str, Any]:
        """For what is there no more."""
        if not at:
            return {"version": 1} if ("version",) in self._out else {}
        if len(at) != _DEPTH_OF_RULE or at[0] != "rules":
            return {}
        all_of_them: dict[str, Any] = {"name": _NAME.format(at[1]), "targets": [_TARGET], "require": [_CHECK]}
        return {key: one for key, one in all_of_them.items() if (*at, key) in self._touched and not left.get(key)}
