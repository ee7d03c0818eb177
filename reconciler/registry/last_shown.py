"""When the rounds over a list showed each model last."""

from __future__ import annotations

from collections.abc import Callable, Iterable


class LastShown:
    """What one list has shown to this process, and when it was last read to its end.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._shown: dict[str, float] = {}
        self._whole_at: float | None = None

    def skipped(self, models: Iterable[str]) -> dict[str, float]:
        """Those that were shown before, and not when everything was read last: for how many seconds they were not.

        Pages are offsets: where something that was read already is deleted, the next page begins a row too late.
        """
        if self._whole_at is None:
            return {}
        last = {model: self._shown[model] for model in models if model in self._shown}
        return {model: self._clock() - at for model, at in last.items() if at < self._whole_at}

    def show(self, models: Iterable[str], began: float, whole_since: float | None) -> None:
        """These were shown.

        Args:
            began: when the look began that shows them.
            whole_since: for how many seconds the list was read that is at its end now.
        """
        self._shown.update(dict.fromkeys(models, began))
        if whole_since is not None:
            self._whole_at = self._clock() - whole_since
