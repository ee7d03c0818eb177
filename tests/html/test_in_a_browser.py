"""The pages in a real browser, opened as files: their size, their keys, their access, and what strangers wrote."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.html.conftest import HOSTILE, Folder

KINDS = ("index", "completeness", "bypasses", "operated", "decisions", "policies", "duties", "as-of", "coverage")
# A4 without its margins, at 96 dots an inch.
PAPER = 688


def some_of(folder: Folder) -> dict[str, str]:
    """A page of every kind, by kind."""
    decisions = sorted(path.stem for path in folder.place.glob("decision-*.html"))
    return {kind: kind for kind in KINDS} | {"model": "model-1", "decision": decisions[0]}


def opened(page: Page, folder: Folder, name: str) -> None:
    page.goto((folder.place / f"{name}.html").as_uri())


@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_its_window(page: Page, folder: Folder, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for name in some_of(folder).values():
        opened(page, folder, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        beyond = "element => element.getBoundingClientRect().right > innerWidth && !element.closest('.scroll, .unseen')"
        assert page.evaluate(f"[...document.querySelectorAll('main *')].filter({beyond}).length") == 0, name


def test_on_paper_no_table_and_no_chart_is_cut(page: Page, folder: Folder) -> None:
    page.emulate_media(media="print")
    page.set_viewport_size({"width": PAPER, "height": 971})
    for name in some_of(folder).values():
        opened(page, folder, name)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate("document.querySelectorAll('details:not([open])').length") == 0
        beyond = "element => element.getBoundingClientRect().right > innerWidth + 1"
        cut = f"[...document.querySelectorAll('td, th, .chart, dd')].filter({beyond}).map(one => one.outerHTML)"
        assert page.evaluate(cut) == [], name


@pytest.mark.parametrize("width", [1280, 390])
def test_no_label_of_a_chart_is_cut(page: Page, folder: Folder, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    outside = """text => {
        const [inner, outer] = [text, text.ownerSVGElement].map(one => one.getBoundingClientRect());
        return inner.left < outer.left || inner.right > outer.right || inner.bottom > outer.bottom + 1;
    }"""
    for name in some_of(folder).values():
        opened(page, folder, name)
        cut = f"[...document.querySelectorAll('svg text')].filter({outside}).map(text => text.textContent)"
        assert page.evaluate(cut) == [], name


def test_names_that_differ_at_their_ends_are_told_apart_in_a_chart(page: Page, folder: Folder) -> None:
    opened(page, folder, "index")
    labels = page.locator("section:has(> #lanes) svg text", has_text="credit-risk").all_text_contents()
    assert [any(f"{end} → Production" in label for label in labels) for end in ("-north", "-south")] == [True, True]


def test_a_week_is_marked_where_it_begins(page: Page, folder: Folder) -> None:
    opened(page, folder, "index")
    marks = page.locator("section:has(> #weeks) svg .role-axis-label").first.locator("text").all_text_contents()
    days = {datetime.fromisoformat(at) for (at,) in folder.rows("SELECT decided_at FROM decisions")}
    mondays = {f"{day - timedelta(days=day.weekday()):%d %b}" for day in days}
    assert set(marks) <= mondays
    assert len(marks) >= 2


def test_on_paper_no_date_is_broken(page: Page, folder: Folder) -> None:
    page.emulate_media(media="print")
    page.set_viewport_size({"width": PAPER, "height": 971})
    for name in ("index", "decisions", "completeness"):
        opened(page, folder, name)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        dates = page.evaluate(
            "[...document.querySelectorAll('td.moment span')].map(one => one.getClientRects().length)"
        )
        assert set(dates) == {1}, name


def test_a_register_that_is_filtered_is_whole_on_paper(page: Page, folder: Folder) -> None:
    opened(page, folder, "index")
    every = folder.rows("SELECT count(*) FROM decisions")[0][0]
    page.locator("#register-filter").fill("fraud")
    seen = "[...document.querySelectorAll('#register tbody tr')].filter(row => row.offsetHeight > 0).length"
    filtered = page.evaluate(seen)
    assert 0 < filtered < every
    page.emulate_media(media="print")
    assert page.evaluate(seen) == every
    # Not even how many there were on the screen.
    assert f"{filtered} of {every}" not in page.locator("body").inner_text()
    page.emulate_media(media="screen")
    assert page.evaluate(seen) == filtered


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(browser: Browser, folder: Folder, scheme: str) -> None:
    # What axe is, the pages' own policy would stop.
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # type: ignore[arg-type]
    page = context.new_page()
    pages = some_of(folder)
    for name in (pages["index"], pages["decisions"], pages["model"], pages["decision"]):
        opened(page, folder, name)
        found = Axe().run(page)
        assert found.violations_count == 0, f"{name}: {found.generate_report()[:3000]}"
    context.close()


def column(page: Page, number: int) -> list[str]:
    cells = page.locator(f"#register tbody tr:not([hidden]) td:nth-child({number})")
    return [str(text) for text in cells.all_text_contents()]


def test_the_register_is_sorted_and_filtered_with_the_keyboard_alone(page: Page, folder: Folder) -> None:
    opened(page, folder, "index")
    every = len(column(page, 1))
    assert every == folder.rows("SELECT count(*) FROM decisions")[0][0] > 10
    page.locator("#register-filter").focus()
    page.keyboard.press("Tab")
    # The table scrolls, so it takes the keys; then its first heading.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "decided at (UTC)"
    page.keyboard.press("Enter")
    assert page.get_attribute("#register th", "aria-sort") == "ascending"
    assert column(page, 1) == sorted(column(page, 1))
    page.keyboard.press("Space")
    assert page.get_attribute("#register th", "aria-sort") == "descending"
    assert column(page, 1) == sorted(column(page, 1), reverse=True)
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#register th[aria-sort]").all_text_contents() == ["version"]
    versions = [int(text) for text in column(page, 4)]
    assert versions == sorted(versions)
    page.locator("#register-filter").focus()
    page.keyboard.type("FRAUD reject")
    expected = folder.rows("SELECT count(*) FROM decisions WHERE model = 'fraud' AND verdict = 'reject'")[0][0]
    assert column(page, 3) == ["fraud"] * expected
    shown = page.locator("output[for=register-filter]").text_content()
    assert shown == f"{expected} of {every} rows"
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    assert len(column(page, 1)) == every


def test_what_strangers_wrote_is_text(page: Page, folder: Folder) -> None:
    """No element comes from a name; each name is there to be read, cut where it is longer than a name may be."""
    for name in some_of(folder).values():
        opened(page, folder, name)
        assert page.title() != "owned"
        assert page.locator("img, iframe, object, form, body > style, main style, main script").count() == 0
        assert page.locator("script").count() == 1
    opened(page, folder, "index")
    told = set(page.locator("#models tbody td:first-child").all_text_contents())
    escaped = [re.sub(r"\u202e", r"\\u202e", name).replace("\n", "\\n").replace("\x1b", "\\u001b") for name in HOSTILE]
    assert {name if len(name) < 256 else f"{name[:255]}…" for name in escaped} <= told
    hidden = [text for text in page.locator("body").all_inner_texts() if re.search("[\u202e\x1b]", text)]
    assert hidden == []


def test_times_say_utc_and_numbers_stand_on_the_right(page: Page, folder: Folder) -> None:
    opened(page, folder, "completeness")
    heads = page.locator("th.moment").all_text_contents()
    assert heads
    assert all("(UTC)" in head for head in heads)
    align = "[...document.querySelectorAll('td.number')].map(cell => getComputedStyle(cell).textAlign)"
    assert set(page.evaluate(align)) == {"right"}


def test_each_chart_has_a_text_and_a_bypass_is_hatched(page: Page, folder: Folder) -> None:
    opened(page, folder, "index")
    charts = page.locator("svg.chart")
    assert charts.count() == 8
    for number in range(charts.count()):
        chart = charts.nth(number)
        assert chart.get_attribute("role") == "img"
        assert len(chart.locator("> title").text_content() or "") > 20
    plain = "getComputedStyle(one).backgroundColor === 'rgba(0, 0, 0, 0)' && !one.matches('.hatched')"
    assert page.evaluate(f"[...document.querySelectorAll('.swatch')].filter(one => {plain}).length") == 0
    tenures = folder.rows("SELECT count(*) FROM tenures WHERE began_by = 'bypass'")[0][0]
    lanes = page.locator("section:has(> #lanes) svg")
    names = lanes.locator(".role-axis-label text", has_text="→").all_text_contents()
    assert len(names) == len(set(names)) == folder.rows("SELECT count(DISTINCT model) FROM tenures")[0][0]
    assert lanes.locator("path.hatched").count() == tenures > 0
