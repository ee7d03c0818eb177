"""How long what failed waits before it is tried again."""

from __future__ import annotations

from datetime import timedelta

FIRST_RETRY = timedelta(seconds=30)
_LONGEST_RETRY = timedelta(hours=1)


def retry_after(attempts: int) -> timedelta:
    """30 s, 1 min, 2 min … at most an hour."""
    return min(FIRST_RETRY * float(2 ** min(attempts, 12)), _LONGEST_RETRY)
