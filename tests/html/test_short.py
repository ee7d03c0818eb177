"""What lasted a moment is seen in a long period, and a period of a moment says which."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser

from reconciler.audit.overview.held import Held, Lane, Lanes
from reconciler.html import charts
from reconciler.html.drawing import Drawing
from tests.html.conftest import Folder, report

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
SPAN = (NOW - timedelta(days=90), NOW)
LANE = Lane("http://mlflow", "", "fraud", "Production")
BAR = re.compile(r'<path [^>]*d="M([\d.]+),[\d.]+h([\d.]+)v14h[^"]*"[^>]*fill="([^"]+)"')


def held(counted_as: str, began: datetime, ended: datetime | None, version: str = "1") -> Held:
    return Held(1, *LANE[:3], version, LANE.target, counted_as, began, ended, None)


def bars(*tenures: Held) -> list[tuple[float, float, str]]:
    """Where each begins, how wide it is, in pixels, and its fill, in the order in which they are drawn."""
    drawing: Drawing = charts.lanes(Lanes([LANE], tenures, 1, cut=False), SPAN, "what held it")
    found = BAR.findall(drawing.svg)
    assert len(found) == len(tenures), drawing.svg[:3000]
    return [(float(left), float(width), fill) for left, width, fill in found]


@pytest.mark.parametrize("ago", [timedelta(seconds=1), timedelta(days=45), timedelta(days=90)])
def test_a_bypass_of_a_second_is_seen_in_a_quarter_and_stays_within_it(ago: timedelta) -> None:
    [(left, width, _)] = bars(held("exception", NOW - ago, NOW - ago + timedelta(seconds=1)))
    assert width >= 5
    assert -0.01 <= left <= left + width <= charts.WIDE - 200 + 0.01


def test_what_followed_a_short_bypass_does_not_hide_it() -> None:
    began = NOW - timedelta(days=30)
    back = began + timedelta(minutes=1)
    long_ago = began - timedelta(days=9)
    for after in (None, back + timedelta(minutes=1)):
        before, bypass = held("decision", long_ago, began), held("exception", began, back, "2")
        assert "hatch" in bars(held("decision", back, after), bypass, before)[-1][2]


def told(folder: Folder, *period: str) -> Any:
    done = report(folder.url, "completeness", *period, "--format", "html")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_period_of_less_than_two_days_says_from_which_hour_to_which(folder: Folder) -> None:
    [(began,)] = folder.rows("SELECT substr(min(decided_at), 1, 10) FROM decisions")
    html = told(folder, "--since", f"{began}T01:00", "--until", f"{began}T01:01")
    assert f'<p class="question">{began} 01:00:00 to {began} 01:01:00 UTC</p>' in html


def test_a_period_that_is_yet_to_come_ends_where_it_was_asked_to_end(folder: Folder) -> None:
    asked = ("--since", "2098-01-01", "--until", "2098-03-01")
    assert '<p class="question">1 January 2098 to 1 March 2098</p>' in told(folder, *asked)
    done = report(folder.url, "completeness", *asked, "--format", "json")
    assert '"until": "2098-03-01T00:00:00.000Z"' in done.stdout
    assert "nothing is on record of the period" in done.stdout


def test_no_two_parts_of_a_page_have_one_name(folder: Folder) -> None:
    for page in sorted(folder.place.glob("*.html")):
        names = re.findall(r"<h2 id=[^>]*>(.*?)</h2>", page.read_text())
        assert len(names) == len(set(names)), f"{page.name}: {names}"


def test_on_a_phone_a_long_text_has_the_width_of_the_screen(browser: Browser, folder: Folder) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto((folder.place / "index.html").as_uri())
    width = page.locator("#register td.long").first.evaluate("cell => cell.getBoundingClientRect().width")
    page.close()
    assert width >= 330
