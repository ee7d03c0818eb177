"""When the versions were created that open requests are about, as the lists of requests have shown."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.ports import Listed


class Asked:
    """What the last two lists have shown: whatever the last one has no more was in the one before."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self._now: dict[str, int] = {}

    def note(self, listed: Iterable[Listed]) -> None:
        self._before = self._now
        known = ((one.request.key, one.version) for one in listed)
        self._now = {key: shown.creation_timestamp for key, shown in known if shown and shown.creation_timestamp}

    def created(self, key: str) -> int | None:
        """In milliseconds since 1970 by the registry's clock; None: no list has shown it to this process."""
        return self._now.get(key, self._before.get(key))
