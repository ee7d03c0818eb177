"""What a check of your own may look at: whatever else it looks at is refused, and remembered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar, cast

from reconciler.plugins.values import Absent, CannotTell, NotAsked

V = TypeVar("V")


class Seen:
    """The data of one judgement, and the first that it could not tell."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.withheld: Mapping[str, str] = data.get("withheld", {})
        self.refused: CannotTell | None = None

    def refuse(self, kind: str, detail: str) -> CannotTell:
        error = CannotTell(kind, detail)
        self.refused = self.refused or error
        return error


class Named(Mapping[str, V]):
    """Values by name, such as metrics: those that the check's `needs` name, as far as they are there."""

    def __init__(self, seen: Seen, path: str, values: Mapping[str, V], asked: Mapping[str, Any]) -> None:
        self._seen, self._path, self._values, self._asked = seen, path, values, asked

    def __getitem__(self, name: str) -> V:
        """Raises KeyError: it is not there. CannotTell, NotAsked."""
        self._require(f"{self._path}.{name}")
        self._require(self._path)
        if name not in self._asked["names"] and not any(fnmatchcase(name, glob) for glob in self._asked["globs"]):
            raise NotAsked(f"{self._path}.{name} is not among its needs")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        for path in self._seen.withheld:
            if path.startswith(f"{self._path}."):
                self._require(path)
        self._require(self._path)
        return iter(self._values)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _require(self, path: str) -> None:
        if path in self._seen.withheld:
            raise self._seen.refuse("withheld", self._seen.withheld[path])


class Part:
    def __init__(self, seen: Seen, path: str, data: Mapping[str, Any]) -> None:
        self._seen, self._path, self._data = seen, path, data

    def _member(self, name: str) -> Any:
        path = f"{self._path}.{name}"
        if path in self._seen.withheld:
            raise self._seen.refuse("withheld", self._seen.withheld[path])
        if name not in self._data:
            raise NotAsked(f"{path} is not among its needs")
        return self._data[name]

    def _refuse(self, kind: str, detail: str) -> CannotTell:
        return self._seen.refuse(kind, f"{self._path}: {detail}")

    def _named(self, name: str, made: Any) -> Named[Any]:
        member = self._data[name]
        values = {key: made(value) for key, value in member["values"].items()}
        return Named(self._seen, f"{self._path}.{name}", values, member)

    def _number(self, name: str) -> int | None:
        return cast("int | None", self._member(name))


def found_in(seen: Seen, path: str, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    if "absent" in answer:
        raise Absent(*answer["absent"])
    for kind in ("unreadable", "undetermined", "withheld"):
        if kind in answer:
            raise seen.refuse(kind, f"{path}: {answer[kind]}")
    found: Mapping[str, Any] = answer["found"]
    return found
