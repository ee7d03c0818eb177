"""What is said above a chart holds for the rows that it is drawn from."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from reconciler.audit import schema
from reconciler.audit.overview.decided import LONGER, WAITS
from reconciler.html.figures import half_within
from reconciler.html.things import flat
from tests.html.conftest import Folder, report

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


# --- whether the control ran ------------------------------------------------------------------------------------


def tiles(html: str) -> dict[str, str]:
    return dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd></div>", html))


def test_observed_and_acting_are_two_words_for_two_measures_and_both_are_explained(folder: Folder) -> None:
    html = (folder.place / "index.html").read_text()
    found = re.search(r"Of the period: ([\d.]+) % acting, ([\d.]+) % only observing, ", html)
    assert found is not None
    acting, observing = map(float, found.groups())
    observed = float(tiles(html)["observed"].removesuffix(" %"))
    # Each is cut after one decimal.
    assert acting < observed < 100
    assert 0 <= round(observed - acting - observing, 1) <= 0.1
    ran = "SELECT sum(julianday(last_seen_at) - julianday(began_at)) FROM running_periods WHERE state = 'running'"
    assert observed == pytest.approx(folder.rows(ran)[0][0] / 30 * 100, abs=0.11)
    assert {"Observed", "Acting", "Not running"} <= set(re.findall("<dt>(.+?)</dt>", html.partition('"glossary"')[2]))
    assert "% running" not in html


def test_where_no_daemon_ever_ran_no_gap_has_a_length(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    assert report(url, "--html", str(tmp_path / "report")).returncode == 0
    shown = tiles((tmp_path / "report/index.html").read_text())
    assert (shown["observed"], shown["longest gap"]) == ("never", "–")


def said_of_policies(folder: Folder, since: str, until: str) -> str:
    done = report(folder.url, "policies", "--since", since, "--until", until, "--format", "html")
    assert done.returncode == 0, done.stderr
    section = done.stdout.partition('<h2 id="policies">')[2]
    return section.partition('<p class="sentence">')[2].partition("</p>")[0]


def test_of_a_period_without_a_policy_the_nearest_one_is_told(folder: Folder) -> None:
    periods = folder.rows("SELECT policy_digest, began_at, ended_at FROM policy_periods ORDER BY began_at")
    [(digest, ended, resumed)] = [
        (one[0], one[2], other[1]) for one, other in pairwise(periods) if one[2] and one[2] < other[1]
    ]
    until = ended[:19].replace("T", " ")
    said = f"No policy was in force in the period. The last before it, {digest[:12]}, was until {until} UTC."
    assert said_of_policies(folder, ended, resumed) == said
    began = periods[0][1]
    said = f"No policy was in force yet. The first, {periods[0][0][:12]}, is since {began[:19].replace('T', ' ')} UTC."
    assert said_of_policies(folder, "2020-01-01", began) == said
    assert f"the last is {periods[-1][0][:12]}" in said_of_policies(folder, ended, "2099-01-01")


def test_on_a_database_without_a_row_no_policy_is_on_record(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    assert "No policy is on record." in report(url, "policies", "--format", "html").stdout


# --- what a reader would have to work out -----------------------------------------------------------------------


def of_table(html: str, id: str) -> list[list[str]]:
    """The texts of its rows, the head first."""
    table = html.partition(f'<table id="{id}">')[2].partition("</table>")[0]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in table.split("<tr>")[1:]]
    return [[re.sub("<.*?>", "", cell) for cell in row] for row in cells]


def test_times_are_told_in_days_and_hours_and_not_in_seconds(folder: Folder) -> None:
    html = (folder.place / "operated.html").read_text()
    head, *rows = of_table(html, "times")
    assert head == ["requests", "decided", "half within", "95 % within", "longest"]
    assert all(re.fullmatch(r"–|\d+[smhd]( \d+[smh])?", cell) for row in rows for cell in row[2:])
    [longest] = [row[4] for row in rows if row[0] == "dated"]
    seconds = folder.rows("SELECT max(seconds) FROM decision_times")[0][0]
    assert longest == f"{seconds // 3600}h {seconds % 3600 // 60}m"
    assert re.search(r"<dt>states of the daemons</dt><dd>\d+d.* enforce", html)
    # What is not there stands where numbers stand.
    assert html.count('<td class="number">–</td>') == 3


def test_a_decision_is_shown_with_the_whole_digest_of_its_policy_and_times_of_the_run_as_dates(folder: Folder) -> None:
    [(id, digest)] = folder.rows("SELECT decision_id, policy_digest FROM decisions LIMIT 1")
    assert f"<dd>{digest}</dd>" in (folder.place / f"decision-{id}.html").read_text()
    evidence = {"run": {"end_time": 1_764_412_345_678, "step": 1_764_412_345_678, "params": {"end_time": "soon"}}}
    assert dict(flat(evidence)) == {
        "run › end_time": "1764412345678 (2025-11-29 10:32:25 UTC)",
        "run › step": "1764412345678",
        "run › params › end_time": "soon",
    }


def test_a_command_in_a_sentence_is_code(folder: Folder) -> None:
    html = (folder.place / "index.html").read_text()
    assert "<code>mlflow-reconciler audit verify --head FILE</code>" in html
    assert "`" not in html.partition("<main")[2].partition("<script>")[0]
