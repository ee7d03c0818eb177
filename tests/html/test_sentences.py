"""What is said above a chart holds for the rows that it is drawn from."""

from __future__ import annotations

import re
from typing import Final

import pytest

from reconciler.audit.overview.decided import LONGER, WAITS
from reconciler.html.figures import half_within
from tests.html.conftest import Folder

SECONDS: Final = {"min": 60, "h": 3_600, "day": 86_400, "week": 604_800}
CLASSES: Final = [name for name, _, _ in WAITS] + [LONGER]


def test_the_time_within_which_most_requests_were_decided_is_the_shortest_that_holds_for_half(folder: Folder) -> None:
    html = (folder.place / "index.html").read_text()
    found = re.search(r"(\d+) requests decided, (\d+) % of them within (\d+) (min|h|day|week)\.", html)
    assert found is not None
    many, share, number, unit = found.groups()
    waited = [seconds for (seconds,) in folder.rows("SELECT seconds FROM decision_times")]
    bound = int(number) * SECONDS[unit]
    assert int(many) == len(waited)
    assert int(share) == sum(seconds < bound for seconds in waited) * 100 // len(waited) >= 50
    shorter = max(below for below in (60, 300, 900, 3_600, 14_400, 86_400) if below < bound)
    assert sum(seconds < shorter for seconds in waited) * 2 < len(waited)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((0, 0, 1, 0, 0, 0, 0, 0), "1 request decided, within 15 min."),
        ((3, 0, 0, 0, 0, 0, 0, 0), "3 requests decided, all within 1 min."),
        ((33, 0, 2, 32, 0, 0, 0, 33), "100 requests decided, 67 % of them within 1 h."),
        ((0, 1, 0, 0, 0, 0, 0, 1), "2 requests decided, 50 % of them within 5 min."),
        ((1, 0, 0, 0, 0, 0, 0, 2), "3 requests decided, 66 % of them after a week or more."),
    ],
)
def test_half_of_the_requests_may_be_decided_at_once_or_after_a_week(counts: tuple[int, ...], said: str) -> None:
    assert half_within(dict(zip(CLASSES, counts, strict=True))) == said


def test_the_classes_of_waiting_say_where_each_begins(folder: Folder) -> None:
    html = (folder.place / "operated.html").read_text()
    table = html.partition('<table id="waits-table">')[2].partition("</table>")[0]
    named = re.findall(r'<tr><td class="text">([^<]+)</td>', table)
    assert named == CLASSES
    assert [name.split("–")[0].strip() for name in named[1:]] == [
        "1", "5", "15 min", "1", "4 h", "1 day", "1 week or more"
    ]  # fmt: skip
