"""Following a request until it is decided."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from reconciler.cli.exits import ABSTAINED, DONE, NEGATIVE, NO_SUCH, say
from reconciler.cli.shown.terminal import Colour, painted, spinner
from reconciler.domain.text import command_line, visible
from reconciler.domain.times import duration_text

if TYPE_CHECKING:
    from reconciler.bootstrap.asking import RequestTool
    from reconciler.domain.request import Request
    from reconciler.ports import Found, Unavailable

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0


def wait_for_decision(tool: RequestTool, request: Request, before: Found, patience: timedelta) -> int:
    """0 approved, 1 rejected, 3 still open, 4 withdrawn. `before`: what was found when it was filed.

    Raises:
        Unavailable: the registry could not be reached when the time was up.
        NotFound: the version was deleted meanwhile.
    """
    with spinner(f"waiting up to {duration_text(patience)} for a decision about {request.place.text}"):
        found = _until_decided(tool, request, patience)
    if found is None:
        again = command_line("request show", request.model, request.version, str(request.target))
        say(f"still open after {duration_text(patience)}; look again: {again}")
        return ABSTAINED
    return _say_result(request, before, found, tool.registry.shows_decisions)


def _until_decided(tool: RequestTool, request: Request, patience: timedelta) -> Found | None:
    """What the registry shows once the request is gone; None where it is still open when the time is up."""
    from reconciler.ports import Unavailable

    ends, pause = time.monotonic() + patience.total_seconds(), _FIRST_PAUSE
    while True:
        failure: Unavailable | None = None
        try:
            found = tool.find(request.model, request.version, request.target)
            if not found.open or found.listed.request.key != request.key:
                return found
        except Unavailable as error:
            # It may be back before the time is up.
            failure = error
        left = ends - time.monotonic()
        if left <= 0:
            if failure is not None:
                raise failure
            return None
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _say_result(request: Request, before: Found, found: Found, shows_decisions: bool) -> int:
    text = visible(found.decided) if found.decided != before.decided else ""
    if text.startswith("Approved") or (not text and found.holds and not before.holds):
        say(painted("approved", Colour.GOOD, sys.stderr) + f": {text or f'the version holds {request.target} now'}")
        return DONE
    if text:
        say(painted("rejected", Colour.BAD, sys.stderr) + f": {text}")
        return NEGATIVE
    if shows_decisions:
        say("withdrawn: the request was taken back, and nothing was decided")
        return NO_SUCH
    say("the request is gone, and this registry does not show whether it was withdrawn or rejected")
    return NEGATIVE
