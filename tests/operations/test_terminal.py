"""What people see: tables that keep words whole, colours on a terminal and nowhere else, plurals."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests import command
from tests.acceptance.conftest import Product
from tests.command import COMMAND
from tests.databricks_double import Workspace
from tests.terminal import Watched, on_terminal

LATER = (
    "version: 1\nrules:\n  - name: later\n    targets: [Production]\n"
    "    require: [{metric: validation_accuracy, min: 0.9, on_missing: abstain}]\n"
)
MODEL = "fraud-detector-emea"


def shown(product: Product, *arguments: str, columns: int = 80, **variables: str) -> str:
    environment = {**product.environment(), **variables}
    return on_terminal([COMMAND, *arguments], environment, columns)[1]


@pytest.fixture
def waiting(held: Workspace, product: Product) -> Product:
    """A request that stays open, with names as people give them."""
    product.policy(LATER)
    held.ask(MODEL, held.version(MODEL), user="ada.lovelace@example.com", comment="it beats the one in Production")
    product.ok("once")
    return product


@pytest.mark.parametrize("columns", [80, 100, 60])
@pytest.mark.parametrize("command", ["status", "request list"])
def test_a_table_fits_the_terminal_and_splits_no_word(waiting: Product, command: str, columns: int) -> None:
    text = shown(waiting, *command.split(), columns=columns, NO_COLOR="1")
    for word in ("Production", MODEL, "ada.lovelace@example.com", "version"):
        assert word in text
    table = text[text.index(MODEL) :]
    assert max(len(line) for line in table.splitlines()) <= columns


def test_a_checks_table_fits_80_columns(held: Workspace, product: Product) -> None:
    held.ask(MODEL, held.version(MODEL, "0.5"))
    product.ok("once")
    [row] = product.decisions()
    text = shown(product, "audit", "show", row["decision_id"], NO_COLOR="1")
    table = text[text.index("checks\n") :]
    assert "validation_accuracy" in table
    assert max(len(line) for line in table.splitlines()) <= 80


@pytest.mark.parametrize("columns", [80, 60])
def test_one_decision_fits_the_terminal_and_shows_no_empty_field(
    held: Workspace, product: Product, columns: int
) -> None:
    why = "it beats the one in Production by far, and was measured on more"
    held.ask(MODEL, held.version(MODEL, "0.5"), comment=why)
    product.ok("once")
    [row] = product.decisions()
    text = shown(product, "audit", "show", row["decision_id"], columns=columns, NO_COLOR="1")
    assert max(len(line) for line in text.splitlines() if row["policy_digest"] not in line) <= columns
    # What is there to be copied is whole.
    assert f"\n  {row['policy_digest']}\n" in text or columns < 66
    assert not re.search(r"^[\w ]+ -$", text, re.MULTILINE)
    assert "\nworkspace" not in text


def test_nothing_open_is_said_and_no_bare_header_is_shown(held: Workspace, product: Product) -> None:
    assert product.ok("request", "list") == "no open requests\n"
    product.ok("once")
    assert product.ok("status").splitlines()[-1] == "no open requests"


def test_after_a_cycle_that_failed_nothing_is_said_of_open_requests(held: Workspace, product: Product) -> None:
    held.wire = lambda method, path: "503"
    assert product.run("once").returncode == 69
    told = product.ok("status")
    assert told.startswith("FAILED: last cycle of ")
    assert "no open requests" not in told


def test_a_failure_looks_like_one_on_a_terminal_and_colours_go_nowhere_else(held: Workspace, product: Product) -> None:
    product.ok("once")
    assert "\x1b[32mok\x1b[0m" in shown(product, "status")
    held.wire = lambda method, path: "503"
    product.run("once")
    assert "\x1b[1;31mFAILED\x1b[0m" in shown(product, "status")
    assert "\x1b[1;31mFAIL\x1b[0m registry" in shown(product, "check")
    for text in (
        shown(product, "status", NO_COLOR="1"),
        shown(product, "status", TERM="dumb"),
        product.run("status").stdout,
        product.run("check").stdout,
    ):
        assert "\x1b" not in text


def test_a_table_in_a_pipe_has_no_colours_even_where_they_are_forced(waiting: Product) -> None:
    waiting.variables |= {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
    assert "\x1b" not in waiting.ok("status")
    assert "\x1b" not in waiting.ok("request", "list")


def test_one_is_singular(held: Workspace, product: Product, tmp_path: Path) -> None:
    assert "1 rule, digest" in product.ok("policy", "validate", str(tmp_path / "policy.yaml"))
    assert "OK   policy: 1 rule governs Production; digest" in product.ok("check")
    held.ask("m", held.version("m", "0.5"))
    product.ok("once")
    [row] = product.decisions()
    assert row["reason"] == "validation_accuracy 0.5, at least 0.9 required (accuracy)"
    assert not re.search(r"\b1 \w+s\b(?! failed)", product.ok("audit", "report", "decisions"))


def test_a_watched_status_shows_what_changes_and_errors_too_until_ctrl_c(waiting: Product) -> None:
    watched = Watched([COMMAND, "status", "--watch"], waiting.environment())
    assert watched.shows(MODEL)
    waiting.ok("pause", "--reason", "a release freeze")
    assert watched.shows("a release freeze")
    database = waiting.place / "audit.db"
    database.rename(waiting.place / "elsewhere.db")
    assert watched.shows("no such file")
    (waiting.place / "elsewhere.db").rename(database)
    assert watched.shows("a release freeze")
    assert watched.interrupted() == 130


def screen_and_cursor(text: str) -> tuple[str, str]:
    """What was said last of each: h turns it on, l off. The screen: whether it is another than that of the shell."""
    return re.findall(r"\x1b\[\?1049([hl])", text)[-1], re.findall(r"\x1b\[\?25([hl])", text)[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_whatever_ends_a_watched_status_gives_screen_and_cursor_back(waiting: Product, number: signal.Signals) -> None:
    watched = Watched([COMMAND, "status", "--watch"], waiting.environment())
    assert watched.shows(MODEL)
    code, shown = watched.gets(number)
    assert code == (130 if number == signal.SIGINT else -number)
    assert screen_and_cursor(shown) == ("l", "h")


def test_a_watched_status_that_is_suspended_gives_the_screen_back_and_takes_it_again(waiting: Product) -> None:
    watched = Watched([COMMAND, "status", "--watch"], waiting.environment())
    assert watched.shows(MODEL)
    assert screen_and_cursor(watched.suspended()) == ("l", "h")
    watched.goes_on()
    assert watched.shows("\x1b[?1049h")
    assert watched.shows(MODEL)
    assert watched.types("\x1c")[0] == -signal.SIGQUIT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_a_command_that_waits_shows_the_cursor_again(waiting: Product, number: signal.Signals) -> None:
    request = [COMMAND, "request", "create", MODEL, "1", "Production", "--wait"]
    watched = Watched(request, waiting.environment())
    assert watched.shows("\x1b[?25l")
    code, shown = watched.gets(number)
    assert code == -number
    assert re.findall(r"\x1b\[\?25([hl])", shown)[-1] == "h"


@pytest.mark.parametrize("options", [["--watch", "--json"], ["--watch", "--max-age", "5m"], ["--watch"]])
def test_what_cannot_be_watched_is_one_sentence(waiting: Product, options: list[str]) -> None:
    done = waiting.run("status", *options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("--watch: ")


@pytest.fixture
def decided(held: Workspace, product: Product) -> Product:
    held.ask(MODEL, held.version(MODEL, "0.5"))
    product.ok("once")
    return product


MEANWHILE = {
    "verifying": ["audit", "verify"],
    "judging again": ["audit", "reperform"],
    "judging by the policy": ["policy", "replay", "policy.yaml"],
    "judging holders": ["fleet"],
    "counting for decisions": ["audit", "report", "decisions"],
    "writing decisions": ["audit", "report", "decisions", "--output", "report.txt"],
    "proving the decision": ["audit", "dossier", ""],
    "writing dossiers": ["audit", "sample", "--seed", "s", "--output", "sample.zip"],
    "checking": ["check"],
    "checking rows": ["db", "check"],
    "copying pages": ["db", "backup", "backup.db"],
    "copying rows": ["db", "copy", "--from", "sqlite:///audit.db", "--to", "sqlite:///copy.db"],
    "adding rows to the log": ["db", "upgrade"],
}


def test_what_may_take_long_shows_a_bar_on_a_terminal_and_nothing_in_a_pipe(
    decided: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(decided.place)
    environment = decided.environment()
    command.run("db", "upgrade", environment=environment | {"RECONCILER_AUDIT__URL": "sqlite:///copy.db"})
    for text, arguments in MEANWHILE.items():
        told = on_terminal([COMMAND, *arguments], environment)[1]
        assert f"{text} " in told, arguments
        # It leaves nothing behind.
        assert text not in re.split(r"\x1b\[2K", told)[-1]
        for made in ("backup.db", "sample.zip"):
            Path(made).unlink(missing_ok=True)
        done = decided.run(*arguments)
        assert "\x1b" not in done.stdout + done.stderr
        assert text not in done.stdout + done.stderr


def test_lines_for_a_file_go_there_while_a_terminal_shows_the_bar(decided: Product, tmp_path: Path) -> None:
    """Rich would print them above the bar, and leave the file empty."""
    kept = tmp_path / "kept.txt"
    for arguments in (["fleet"], ["audit", "reperform"], ["audit", "list"]):
        expected = decided.run(*arguments).stdout
        words = ["sh", "-c", '"$0" "$@" > ' + str(kept), COMMAND, *arguments]
        on_terminal(words, decided.environment())
        assert kept.read_text() == expected
