"""Colours by meaning: those of Okabe and Ito, which colour-blind eyes tell apart; a bypass is hatched besides.

A chart carries them as attributes, so that it is right on paper; in the dark report.css gives the greys others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reconciler.audit.overview.ran import Doing
from reconciler.audit.reports.completeness import EXCEPTION, UNEXPLAINED, UNKNOWN_PERSON
from reconciler.domain.holding.causes import Cause

INK, QUIET, GRID = "#1f2933", "#5b6773", "#e3e8ee"
BLUE, GREEN, SKY, PURPLE, ORANGE = "#0072b2", "#009e73", "#56b4e9", "#a9568a", "#e69f00"
GREY, PALE_BLUE, PALE_ORANGE = "#98a2ad", "#a9d3ea", "#f6d898"
# Written as a colour, and drawn as the pattern of this name, which each page has.
HATCHED: Final = "#c0ffee"

Legend = Mapping[str, tuple[str, str]]

CAUSES: Final[Legend] = {
    Cause.DECISION: (BLUE, "by a decision of the daemon"),
    Cause.PERSON: (GREEN, "by a person"),
    Cause.ADMINISTRATOR: (PURPLE, "by an administrator"),
    Cause.ROLLBACK: (SKY, "rollback"),
    Cause.BASELINE: (GREY, "baseline, or renamed"),
    Cause.RENAME: (GREY, "baseline, or renamed"),
    UNKNOWN_PERSON: (ORANGE, "not known by whom"),
    Cause.UNDETERMINED: (ORANGE, "not known by whom"),
    UNEXPLAINED: (ORANGE, "not known by whom"),
    EXCEPTION: (HATCHED, "bypass: without a decision"),
}
DOINGS: Final[Legend] = {
    Doing.ACTING: (GREEN, "acting"),
    Doing.OBSERVING: (SKY, "only observing"),
    Doing.PAUSED: (ORANGE, "paused"),
    Doing.DOWN: (HATCHED, "not running"),
}
VERDICTS: Final[Legend] = {
    "approve": (BLUE, "approved"),
    "would approve": (PALE_BLUE, "would be approved (not acted on)"),
    "reject": (ORANGE, "rejected"),
    "would reject": (PALE_ORANGE, "would be rejected (not acted on)"),
}
