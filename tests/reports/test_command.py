"""`audit report` as people and programs meet it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

import reconciler
from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.log.heads import head_now
from reconciler.audit.reporting import Asked, Reading
from reconciler.audit.reports import reports
from reconciler.cli.service import templates
from reconciler.domain.target import Target
from tests import command
from tests.postgres import PostgresServer
from tests.store.test_observations import Looking

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "=cmd|calc!A0\n\x1b[31m"
HEAD = {
    "report", "question", "made_at", "product_version", "registries", "database", "log", "since", "until", "at",
    "model", "target", "opinion", "qualified", "qualifications", "counts",
}  # fmt: skip


def lived_in(url: str) -> None:
    """Something for every report: decisions, a baseline, a bypass, and a model whose name attacks."""
    schema.upgrade(url)
    engine = make_engine(url)
    looking = Looking(engine)
    looking.registry.accuracy["churn", "1"] = "0.9"
    looking.registry.holders["churn", Target.parse("Production")] = "1"
    looking.cycle()
    for model, accuracy in (("fraud", "0.95"), (HOSTILE, "0.5")):
        looking.registry.file(model, "1", accuracy=accuracy)
    looking.cycles(2)
    looking.move("2")
    looking.cycles(2)
    engine.dispose()


def running(url: str) -> Run:
    environment = {**os.environ, "RECONCILER_AUDIT__URL": url}
    return lambda *arguments: command.run("audit", "report", *arguments, environment=environment)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('lived')}/audit.db"
    lived_in(url)
    return url


@pytest.fixture
def report(url: str) -> Run:
    return running(url)


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_a_name_the_reports_are_listed_a_line_each(report: Run) -> None:
    lines = ok(report()).splitlines()
    assert [line.split()[0] for line in lines] == sorted(reports())
    assert all(20 < len(line) <= 80 for line in lines)
    assert [one["name"] for one in json.loads(ok(report("--format", "json")))] == sorted(reports())


@pytest.mark.parametrize("name", sorted(reports()))
def test_each_report_says_what_it_is_of_and_its_lists_add_up_in_every_format(report: Run, name: str) -> None:
    whole = json.loads(ok(report(name, "--format", "json")))
    assert set(whole) > HEAD
    assert (whole["report"], whole["product_version"]) == (name, reconciler.__version__)
    assert whole["registries"] == ["http://registry.test"]
    assert whole["database"].startswith("sqlite:///")
    assert whole["log"]["size"] > 10
    lists = {section: rows for section, rows in whole.items() if isinstance(rows, list) and section not in HEAD}
    assert tuple(lists) == tuple(reports()[name].sections)
    first, *rest = (json.loads(line) for line in ok(report(name, "--format", "jsonl")).splitlines())
    assert set(first) == HEAD
    # What goes on until now is longer in the next report.
    for section in set(lists) - {"control", "gaps"}:
        told = [row for row in rest if row["section"] == section]
        assert told == [{"section": section} | row for row in lists[section]]
    text = ok(report(name))
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[0].startswith(f"{name}: ")
    assert "\x1b" not in text
    for section, rows in lists.items():
        done = report(name, "--format", "csv", "--section", section)
        told = list(csv.DictReader(io.StringIO(ok(done))))
        assert len(told) == len(rows)
        assert done.stderr.startswith(f"{name}: ")
        plain = report(name, "--no-headers", "--section", section)
        assert len(ok(plain).splitlines()) == len(rows)
        assert plain.stderr.startswith(f"{name}: ")
        assert whole["log"]["root"] in done.stderr


def test_people_are_shown_durations_and_programs_seconds(report: Run) -> None:
    [seconds] = {
        row["longest_gap_seconds"] for row in json.loads(report("operated", "--format", "json").stdout)["control"]
    }
    table = report("operated").stdout
    assert (isinstance(seconds, float), "longest gap" in table, "seconds" in table.partition("control\n")[2]) == (
        True, True, False,
    )  # fmt: skip
    assert report("operated", "--section", "times").stdout.count("p50") == 1


def test_no_cell_of_a_csv_is_a_formula(report: Run) -> None:
    told = ok(report("decisions", "--format", "csv"))
    assert "'=cmd|calc!A0\\n\\u001b[31m" in told
    assert not [cell for row in csv.reader(io.StringIO(told)) for cell in row if cell.lstrip().startswith("=")]


def head_of(url: str) -> str:
    engine = make_engine(url)
    with engine.connect() as connection:
        head = head_now(connection)
    engine.dispose()
    assert head is not None
    return f"{head.note}\n"


def test_the_log_of_a_report_is_the_one_that_a_kept_head_stands_for(url: str, report: Run) -> None:
    log = json.loads(ok(report("policies", "--format", "json")))["log"]
    assert [log["origin"], str(log["size"]), log["root"]] == head_of(url).splitlines()[:3]


def asked_on_the_page() -> dict[str, str]:
    """By question, the command that the page names."""
    page = (ROOT / "docs/audit.md").read_text().partition("## Which command answers which question")[2]
    table = page.partition("\n## ")[0]
    return dict(re.findall(r"^\| (.+?) \| `mlflow-reconciler (audit .+?)` \|", table, re.MULTILINE))


@pytest.mark.parametrize("question", sorted(asked_on_the_page()))
def test_the_command_that_the_page_names_for_a_question_answers_it(url: str, question: str, tmp_path: Path) -> None:
    line = asked_on_the_page()[question]
    environment = {**os.environ, "RECONCILER_AUDIT__URL": url}
    listed = command.run("audit", "list", "--format", "json", environment=environment)
    id = json.loads(listed.stdout)[0]["decision_id"]
    heads = tmp_path / "audit.heads"
    heads.write_text(head_of(url))
    # The past of the test is of today.
    for date, day in (("2026-07-01", "2020-01-01"), ("2026-09-30", "2020-01-01"), ("2026-10-01", "2099-01-01")):
        line = line.replace(date, day)
    places = {"ID": id, "audit.heads": str(heads), "q3.zip": str(tmp_path / "q3.zip")}
    words = [places.get(word, word) for word in shlex.split(line)]
    done = command.run(*words, environment=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr


def test_each_question_of_an_auditor_is_on_the_page() -> None:
    assert len(asked_on_the_page()) >= 11


def test_a_period_and_filters_are_stated(report: Run) -> None:
    asked = ("--since", "2026-01-01", "--until", "2026-02-01", "--model", "fraud*", "--target", "Production")
    whole = json.loads(ok(report("completeness", *asked, "--format", "json")))
    assert (whole["since"], whole["until"]) == ("2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z")
    assert (whole["model"], whole["target"], whole["tenures"]) == ("fraud*", "Production", [])
    told = ok(report("completeness", *asked))
    assert "2026-01-01 00:00:00 UTC to 2026-02-01 00:00:00 UTC" in told
    assert re.search(r"^models +fraud\*$", told, re.MULTILINE)


@pytest.mark.parametrize("format", ["table", "csv", "json", "jsonl", "html"])
def test_a_name_that_nothing_on_record_has_is_told_and_changes_no_answer(report: Run, format: str) -> None:
    done = report("completeness", "--model", "Fraud*", "--target", "Production", "--format", format)
    assert done.returncode == 0
    assert done.stdout != ""
    said = "no model on record matches 'Fraud*': * matches anything, and case matters"
    assert done.stderr.splitlines()[0] == said
    assert not any("on record" in line for line in report("completeness", "--model", "fraud*").stderr.splitlines())


@pytest.mark.parametrize(
    ("model", "target", "said"),
    [
        ("fr*", "staging", ["nothing on record is about the target 'Staging'"]),
        ("x\n", "@x", ["no model on record matches 'x\\n': * matches anything, and case matters",
                       "nothing on record is about the target '@x'"]),
        ("churn", "@champion", ["nothing on record is about the target '@champion'"]),
        ("churn", "Production", []),
        # Its only request was decided, and it never held anything.
        ("=cmd*", "Production", []),
    ],
)  # fmt: skip
def test_each_name_that_nothing_on_record_has_is_told(report: Run, model: str, target: str, said: list[str]) -> None:
    done = report("decisions", "--model", model, "--target", target, "--format", "json")
    assert (done.returncode, done.stderr.splitlines()) == (0, said)


def test_a_target_that_another_model_has_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    engine = make_engine(url)
    looking = Looking(engine)
    looking.govern("Production, '@champion'")
    looking.registry.file("churn", "1", "@champion")
    looking.registry.file("fraud", "1")
    looking.cycles(2)
    engine.dispose()
    done = running(url)("decisions", "--model", "fraud", "--target", "@champion")
    assert done.stderr == "nothing on record is about the target '@champion' of models 'fraud'\n"
    assert running(url)("decisions", "--model", "churn", "--target", "@champion").stderr == ""


def test_several_reports_go_into_a_directory_and_are_of_one_moment(report: Run, tmp_path: Path) -> None:
    done = report("completeness", "bypasses", "--format", "json", "--output", str(tmp_path))
    assert done.returncode == 0
    whole = [json.loads(path.read_text()) for path in sorted(tmp_path.iterdir())]
    assert [one["report"] for one in whole] == ["bypasses", "completeness"]
    assert all(re.fullmatch(r"(bypasses|completeness)-\d{4}-\d\d-\d\d\.json", path.name) for path in tmp_path.iterdir())
    assert len({one["made_at"] for one in whole}) == len({one["log"]["root"] for one in whole}) == 1
    assert done.stderr.count("wrote ") == 2


def test_the_unit_of_the_timer_writes_its_reports(report: Run, tmp_path: Path) -> None:
    unit = (templates() / "mlflow-reconciler-report.service").read_text()
    [line] = re.findall(r"^ExecStart=/usr/bin/mlflow-reconciler audit report (.*)$", unit, re.MULTILINE)
    (tmp_path / "mlflow-reconciler/reports").mkdir(parents=True)
    words = shlex.split(line.replace("%S", str(tmp_path)))
    ok(report(*words))
    names = words[: words.index("--since")]
    assert set(names) <= set(reports())
    assert len(names) > 4
    written = {
        path.name[:-16]: json.loads(path.read_text()) for path in (tmp_path / "mlflow-reconciler/reports").iterdir()
    }
    assert set(written) == set(names)
    assert all(one["since"] for one in written.values())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope"], f"name: 'nope' is not one of: {', '.join(sorted(reports()))}"),
        (["decisions", "--since", "2026-03-01", "--until", "2026-02-01"], "--until: the period ends before it begins"),
        (["decisions", "--since", "2099-01-01"], "--since: is in the future"),
        (
            ["decisions", "--since", "2026-03-01", "--until", "2026-03-01"],
            "--until: the period ends as it begins, and is empty: --until is the first moment behind it",
        ),
        (["as-of", "--at", "2099-01-01"], "--at: is in the future"),
        (["as-of", "--since", "7d"], "--since: as-of is about a moment: use --at"),
        (["decisions", "--at", "7d"], "--at: decisions is about a period: use --since and --until"),
        (["decisions", "--format", "csv", "--section", "x"], "--section: 'x' is not one of: register, crossed, "
         "failed_checks, by_model, pending"),
        (["decisions", "policies"], "--output: several reports need a directory: name an existing one"),
        (["--html", "x", "--format", "csv"], "--format: cannot be combined with --html, which writes every report"),
        (["--html", "x", "--no-headers"], "--no-headers: cannot be combined with --html, which writes every report"),
        (["decisions", "--format", "html", "--no-headers"], "--no-headers: applies to rows, and an HTML page has "
         "none: leave it out"),
        (["--html", ""], "--html: is empty: name a file or a directory"),
        (["decisions", "--output", ""], "--output: is empty: name a file or a directory"),
        (["operated", "--longer-than", "x"], "--longer-than: 'x' is not a duration: use for example 90s, 10m, 1h30m "
         "or 30d"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_sentence(
    report: Run, arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = report(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert list(tmp_path.iterdir()) == []
    assert done.stderr == f"{says} (see `mlflow-reconciler audit report --help`)\n"


def test_a_report_that_fails_half_way_leaves_the_file_that_was_there(url: str, tmp_path: Path) -> None:
    """One of many rows is damaged, so that the first are written already."""
    copy = tmp_path / "audit.db"
    copy.write_bytes(Path(str(make_url(url).database)).read_bytes())
    owner = create_engine(f"sqlite:///{copy}")
    with owner.begin() as connection:
        connection.execute(text("DROP TRIGGER decisions_no_update"))
        connection.execute(text("UPDATE decisions SET requested_at = 'soon' WHERE model = 'fraud'"))
    owner.dispose()
    place = tmp_path / "report.json"
    place.write_text("of yesterday")
    done = running(f"sqlite:///{copy}")("decisions", "--format", "json", "--output", str(place))
    assert (done.returncode, "holds no time" in done.stderr) == (69, True), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert place.read_text() == "of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir() if "report" in path.name) == ["report.json"]


def test_a_directory_that_is_not_there_is_one_sentence(report: Run, tmp_path: Path) -> None:
    done = report("decisions", "--output", str(tmp_path / "none/report.txt"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{tmp_path}/none/report.txt: cannot be written: No such file or directory\n"


def test_a_role_that_may_only_read_gets_every_report(postgres: PostgresServer, tmp_path: Path) -> None:
    owner = postgres.new_database()
    lived_in(owner)
    role = f"reader_{make_url(owner).database}"
    engine = create_engine(owner, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
    engine.dispose()
    report = running(make_url(owner).set(username=role).render_as_string(hide_password=False))
    for name in reports():
        whole = json.loads(ok(report(name, "--format", "json")))
        assert whole["report"] == name
        assert max(map(len, ok(report(name)).splitlines())) <= 80
    narrowed = report(
        "--html", str(tmp_path / "narrowed"), "--model", "Fraud*", "--since", "2020-01-01", "--until", "2020-02-01"
    )
    assert narrowed.stderr.splitlines()[0].startswith("no model on record matches 'Fraud*': ")
    assert "No policy was in force yet." in (tmp_path / "narrowed/policies.html").read_text()
    ok(report("--html", str(tmp_path / "report")))
    assert {f"{name}.html" for name in reports()} < {path.name for path in (tmp_path / "report").iterdir()}


def test_what_no_look_has_explained_yet_qualifies_the_report_on_bypasses_until_it_is_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    looking, auditor = Looking(make_engine(url)), make_engine(url)
    looking.cycle()
    looking.move("1")
    told = []
    for _ in range(2):
        looking.cycle()
        with auditor.connect() as connection:
            reading = Reading(connection, Asked())
            # The clock of the looks is ahead.
            reading.until += timedelta(hours=1)
            told.append(reports()["bypasses"].answer(reading))
    looking.engine.dispose()
    auditor.dispose()
    waiting = "1 tenure will be explained by the next look: a bypass may be among them"
    assert [(one.counts["bypasses"], waiting in one.qualifications) for one in told] == [(0, True), (1, False)]


def test_on_a_database_without_a_row_every_report_says_so(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    for name in reports():
        whole = json.loads(ok(running(url)(name, "--format", "json")))
        assert (whole["log"], whole["registries"]) == (None, [])
        ok(running(url)(name))
    ok(running(url)("--html", str(tmp_path / "report")))
    assert "no daemon is on record" in ok(running(url)("completeness"))
