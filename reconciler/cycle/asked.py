"""When the versions were created that open requests are about, as the lists of requests have shown."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.domain.holding.tenures import is_another
from reconciler.domain.place import Place
from reconciler.ports import Listed


class Asked:
    """What the last two lists have shown: whatever the last one has no more was in the one before."""

    def __init__(self) -> None:
        self._before: dict[str | Place, int] = {}
        self._now: dict[str | Place, int] = {}

    def note(self, listed: Iterable[Listed]) -> None:
        self._before, self._now = self._now, {}
        for one in listed:
            created = None if one.version is None else one.version.creation_timestamp
            if created is not None:
                self._now[one.request.key] = self._now[one.request.place] = created

    def created(self, key: str) -> int | None:
        """In milliseconds since 1970 by the registry's clock; None: no list has shown it to this process."""
        return self._now.get(key, self._before.get(key))

    def about_another(self, place: Place, created: int | None) -> bool:
        """Whether what was asked for there was of an earlier version, or model, of the same name."""
        return is_another(self._now.get(place, self._before.get(place)), created, place.target)
