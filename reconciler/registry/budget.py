"""A budget of calls per second, shared by every thread that talks to one server."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

_WINDOW = 1.0
_LEAST = 0.5
# Seconds without a 429 after which the rate doubles, until the full budget is used again.
_RECOVERY = 30.0
# However long a server asks to wait: its header must not silence a daemon.
_LONGEST_PAUSE = 60.0


class Budget:
    """At most `per_second` calls in any second; fewer for a while after the server answered 429.

    `clock` and `sleep` are in seconds. Safe for several threads.
    """

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._full = per_second
        self._rate = per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._sent: deque[float] = deque()
        self._slowed_at: float | None = None
        self._paused_until = 0.0

    @property
    def rate(self) -> float:
        """Calls per second that are currently allowed."""
        with self._lock:
            self._recover()
            return self._rate

    def wait(self, seconds: float) -> bool:
        with self._lock:
            self._recover()
            now = self._clock()
            slot = max(now, self._next_free(), self._paused_until)
            if slot - now > seconds:
                return False
            self._sent.append(slot)
        # The slot is taken; other threads get later ones.
        if slot > now:
            self._sleep(slot - now)
        return True

    def slow_down(self, pause: float | None = None) -> None:
        """Halve the rate for a while, and begin with a pause of so many seconds, in which no thread calls."""
        with self._lock:
            now = self._clock()
            # Calls that were under way are refused together, and count once.
            if self._slowed_at is None or now - self._slowed_at >= _WINDOW:
                self._rate = max(self._rate / 2, min(_LEAST, self._full))
            self._paused_until = max(self._paused_until, now + min(pause or 0.0, _LONGEST_PAUSE))
            self._slowed_at = max(now, self._paused_until)

    def _next_free(self) -> float:
        """The earliest time at which one more call keeps every window within the budget."""
        count = max(int(self._rate), 1)
        # A rate below one per second widens the window instead. Two percent are added, since clocks are coarse.
        window = _WINDOW * max(1.0, count / self._rate) * 1.02
        while len(self._sent) > count:
            self._sent.popleft()
        if len(self._sent) < count:
            return 0.0
        return self._sent[-count] + window

    def _recover(self) -> None:
        if self._slowed_at is None or self._clock() - self._slowed_at < _RECOVERY:
            return
        self._rate = min(self._rate * 2, self._full)
        self._slowed_at = None if self._rate == self._full else self._clock()
