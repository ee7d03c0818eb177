"""The command line where no server is needed."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import pkgutil
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import get_args

import pytest

import reconciler
from reconciler.audit import schema
from reconciler.cli.common import LogFormat, LogLevel, common_first
from reconciler.cli.exits import code_of, guarded
from reconciler.cli.shown.output import Format, Shape, write_rows
from reconciler.cli.status import _skew
from reconciler.domain.errors import ReconcilerError
from reconciler.domain.text import quoted
from reconciler.settings.model import LogSettings
from tests import command


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return command.run(*arguments, environment=os.environ)


def test_help_is_quick_since_it_imports_neither_mlflow_nor_sqlalchemy() -> None:
    code = (
        "import sys; sys.argv = ['mlflow-reconciler', '--help']\n"
        "from reconciler.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'mlflow', 'sqlalchemy', 'alembic', 'requests', 'apscheduler'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["explain", "a"], ["explain", "a", "1", "Prod"], ["audit", "list", "--since", "yesterday"],
     ["audit", "list", "--verdict", "maybe"], ["audit", "list", "--format", "xml"], ["--nonsense"]],
)  # fmt: skip
def test_a_mistake_in_the_command_line_exits_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


COMMANDS = (
    "demo, run, once, check, status, pause, resume, install-service, explain, fleet, init, request, policy, audit or db"
)


@pytest.mark.parametrize(
    ("arguments", "says", "command"),
    [
        (["nonsense"], f"no such command 'nonsense': use {COMMANDS}", ""),
        (["--log-level", "debug"], f"missing command: use {COMMANDS}", ""),
        (
            ["audit", "lits"],
            "no such command 'lits': use list, show, report, verify, dossier, sample, redact, "
            "acknowledge, baseline or reperform",
            "audit",
        ),
        (["status", "--max-ages", "5m"], "no such option '--max-ages': use --json, --format, --max-age, "
         "--all-registries, --watch, --help, --config, --log-format or --log-level", "status"),
        (["--nonsense"],
         "no such option '--nonsense': use --config, --log-format, --log-level, --version, --install-completion, "
         "--show-completion or --help", ""),
        (["explain", "m"],
         "version is missing: use mlflow-reconciler explain [OPTIONS] {model} {version} {target}", "explain"),
        (["request", "create"], "model is missing: use mlflow-reconciler request create [OPTIONS] {model} {version} "
         "{target}", "request create"),
        (["db", "current", "a\nb"],
         "got unexpected extra argument(s) (a\\x0ab): use mlflow-reconciler db current [OPTIONS]", "db current"),
        (["status", "--max-age"], "option '--max-age' requires an argument", "status"),
        (["--config", "c.yaml", "status", "--json=3"], "option '--json' does not take a value", "status"),
        (["--log-level", "foo", "once"], "--log-level: 'foo' is not one of 'debug', 'info', 'warning', 'error'", ""),
        (["audit", "list", "--mode", "foo"],
         "--mode: 'foo' is not one of 'observe', 'approve-only', 'enforce'", "audit list"),
        (["audit", "list", "--outcome", "foo"], "--outcome: 'foo' is not one of 'applied', 'failed', 'superseded', "
         "'unattributed', 'lapsed', 'observed'", "audit list"),
        (["audit", "list", "--limit", "foo"], "--limit: 'foo': must be an integer", "audit list"),
        (["audit", "list", "--limit", "0"], "--limit: '0': must be at least 1", "audit list"),
        (["audit", "list", "--since", "foo"],
         "--since: 'foo' is not a time: use 2026-11-24, 2026-11-24T09:00 or 7d", "audit list"),
        (["status", "--max-age", "foo"],
         "--max-age: 'foo' is not a duration: use for example 90s, 10m, 1h30m or 30d", "status"),
        (["explain", "m", "1", "Prod"], "target: 'Prod' is not a target: use a stage (None, Staging, Production, "
         "Archived) or an alias such as @champion", "explain"),
        (["pause", "--reason", ""], "--reason: is empty: give a reason; it is shown until acts resume", "pause"),
    ],
)  # fmt: skip
def test_a_usage_error_is_one_line_with_what_is_wrong_what_is_allowed_and_the_command_that_helps(
    arguments: list[str], says: str, command: str
) -> None:
    done = run(*arguments)
    help_of = " ".join(filter(None, ["mlflow-reconciler", command, "--help"]))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{says} (see `{help_of}`)\n"


@pytest.mark.parametrize(
    "words",
    ["audit sample --seed s --output", "audit dossier 0 --output", "init --directory", "demo --directory",
     "install-service --root", "install-service --prefix", "policy test --junit"],
)  # fmt: skip
def test_a_place_to_write_that_is_empty_is_not_taken_for_the_current_directory(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*words.split(), "")
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert done.stderr.startswith(f"{words.split()[-1]}: is empty: name a file or a directory (see `")


def test_a_group_without_a_command_shows_its_help() -> None:
    done = run("audit")
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: mlflow-reconciler audit [OPTIONS] COMMAND [ARGS]...\n")


@pytest.mark.parametrize("group", ["", "request", "policy", "audit", "db"])
def test_help_tells_what_each_command_does_in_a_whole_sentence_and_on_80_columns(group: str) -> None:
    done = command.run(*group.split(), "--help", environment={**os.environ, "COLUMNS": "80"})
    listed = done.stdout.partition("\nCommands:\n")[2].partition("\n\n")[0].strip()
    assert listed
    assert "..." not in listed
    assert max(map(len, listed.splitlines())) <= 80
    # A line that goes on has no name at its beginning.
    sentences = re.split(r"\n  (?=\S)", listed)
    assert [one[-1] for one in sentences] == ["."] * len(sentences)


def test_a_policy_is_validated_with_every_mistake_on_its_line(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nrules:\n  - name: r\n    targets: [Prod]\n    require: [{metric: a}]\n")
    done = run("policy", "validate", str(policy))
    assert done.returncode == 78
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [f"{policy}:4:15", f"{policy}:5:15"]
    policy.write_text("version: 1\nrules: [{name: r, targets: [Production], require: [{run: {}}]}]\n")
    assert run("policy", "validate", str(policy)).returncode == 0


def test_a_pattern_that_is_none_is_told_once_and_not_by_the_library(tmp_path: Path) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text("version: 1\nrules: [{name: r, targets: [Production], require: [{tag: a, matches: '(('}]}]\n")
    # Of a process of its own: the library writes where no Python can catch it.
    done = in_bash(f'"$0" policy validate {policy}')
    assert (done.returncode, done.stderr.decode().splitlines()) == (
        78,
        [f"{policy}:2:70: rules[0].require[0].matches: '((' is not a valid RE2 regular expression: missing ): (("],
    )


def test_a_plugin_that_is_none_is_told_once_and_not_by_mlflow() -> None:
    variables = {"MLFLOW_TRACKING_AUTH": "nope", "RECONCILER_REGISTRY__URI": "http://127.0.0.1:1"}
    done = in_bash('"$0" request list', **variables)
    assert (done.returncode, done.stderr.decode().splitlines()) == (
        78,
        ["MLFLOW_TRACKING_AUTH: no installed plugin is named 'nope': install it, or unset this"],
    )


def test_the_schema_is_json() -> None:
    assert "rules" in json.loads(run("policy", "schema").stdout)["properties"]


def test_a_database_is_upgraded_checked_and_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECONCILER_AUDIT__URL", f"sqlite:///{tmp_path}/audit.db")
    for words in (["db", "current"], ["audit", "list"]):
        missing = run(*words)
        assert (missing.returncode, f"{tmp_path}/audit.db: no such file" in missing.stderr) == (69, True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "audit.db").touch()
    assert run("db", "current").returncode == 1
    assert run("db", "upgrade").stdout == f"{schema.head()}\n"
    assert run("db", "current").stdout == f"{schema.head()}\n"
    assert run("db", "check").returncode == 0
    assert json.loads(run("audit", "list", "--format", "json").stdout) == []
    assert run("audit", "list", "--format", "csv").stdout.startswith("decision_id,decided_at,registry,")
    assert run("audit", "show", "nothing").returncode == 4
    as_json = run("audit", "show", "nothing", "--format", "json")
    assert (as_json.returncode, json.loads(as_json.stdout)["error"]["kind"]) == (4, "NoSuchDecision")
    assert run("status").stdout == "no cycle has run yet\n"
    monkeypatch.setenv("RECONCILER_AUDIT__URL", f"sqlite:///{tmp_path}/none/audit.db")
    assert run("audit", "list").returncode == 69


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["once", "--config", "c.yaml"], ["--config", "c.yaml", "once"]),
        (["once", "--config=c.yaml", "--dry-run"], ["--config=c.yaml", "once", "--dry-run"]),
        (
            ["--log-level", "debug", "run", "--log-format", "json"],
            ["--log-level", "debug", "--log-format", "json", "run"],
        ),
        (["explain", "--", "--config", "1", "Production"], ["explain", "--", "--config", "1", "Production"]),
        (["once", "--config"], ["--config", "once"]),
    ],
)
def test_common_options_may_stand_before_or_after_the_command(typed: list[str], meant: list[str]) -> None:
    assert common_first(typed) == meant


def test_a_command_that_is_advised_has_the_configuration_that_was_given(tmp_path: Path) -> None:
    config = tmp_path / "my config.yaml"
    config.write_text(f"audit:\n  url: sqlite:///{tmp_path}/audit.db\n")
    (tmp_path / "audit.db").touch()
    done = run("--config", str(config), "db", "current")
    assert done.stderr == f"no schema yet: run `mlflow-reconciler --config '{config}' db upgrade`\n"
    assert run("--config", str(config), "db", "upgrade").returncode == 0
    assert run("--config", str(config), "db", "current").returncode == 0
    assert run("--config", str(config), "db", "nope").stderr.endswith("(see `mlflow-reconciler db --help`)\n")


ROWS = [{"model": '=cmd|calc!A0"', "n": "-0.5", "at": None, "note": "[red]\x1b[31m"}]


def test_a_cell_is_never_a_formula_but_a_number_stays_one() -> None:
    stream = io.StringIO()
    write_rows(ROWS, Shape(Format.CSV), list(ROWS[0]), list(ROWS[0]), stream)
    assert list(csv.reader(io.StringIO(stream.getvalue())))[1] == ["'=cmd|calc!A0\"", "-0.5", "", "[red]\\u001b[31m"]


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t=", " =", "＝", "＠"])
def test_whatever_a_spreadsheet_would_run_is_quoted(first: str) -> None:
    stream = io.StringIO()
    write_rows([{"a": f"{first}1+1"}], Shape(Format.CSV), ["a"], ["a"], stream)
    assert not stream.getvalue().splitlines()[1].lstrip('" ').startswith(("=", "+", "-", "@", "＝", "＠"))


def test_a_table_takes_text_as_text() -> None:
    stream = io.StringIO()
    write_rows(ROWS, Shape(), list(ROWS[0]), list(ROWS[0]), stream)
    assert "[red]\\u001b[31m" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_json_lines_are_one_line_each() -> None:
    stream = io.StringIO()
    write_rows([{"a": "x\ny"}] * 2, Shape(Format.JSONL), ["a"], ["a"], stream)
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [{"a": "x\ny"}] * 2


def kinds_of(base: type[ReconcilerError]) -> set[type[ReconcilerError]]:
    return {one for kind in base.__subclasses__() for one in {kind, *kinds_of(kind)}}


def test_every_error_of_ours_has_its_exit_code() -> None:
    for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
        # The app's modules are loaded by an MLflow server only; its one error is that of its options.
        if not module.name.startswith("reconciler.mlflow_app.") or module.name.endswith(".options"):
            importlib.import_module(module.name)
    codes = {kind.__name__: int(kind.exit_code) for kind in kinds_of(ReconcilerError)}
    assert codes == {
        "RegistryError": 69, "Unavailable": 69, "TooLarge": 69, "NoEndpoint": 69, "Unreached": 69, "Refused": 69,
        "PlainlyRefused": 69, "NotFound": 4, "Conflict": 1, "Invalid": 2, "AuditUnavailable": 69,
        "AuditLocked": 69, "SchemaMismatch": 78,
        "NoSuchDecision": 4, "NoSuchField": 4, "NoSuchTenure": 4, "AmbiguousDecision": 2,
        "AlreadyServed": 78, "SettingsError": 78,
        "PolicyError": 78, "NoHeads": 2, "Unwritable": 2, "Unprovable": 1, "UnusableKey": 78, "UnusablePublicKey": 2,
        "UnreadableSecret": 78, "OutputClosed": 69, "ServerFailed": 69, "OptionsError": 78, "UnknownEngine": 78,
        "CannotDraw": 78, "LibraryMissing": 78, "PluginError": 78,
    }  # fmt: skip


def test_errors_of_others_are_defects_whatever_they_are_called(capsys: pytest.CaptureFixture[str]) -> None:
    class NotFound(Exception):
        """As the SDK of Databricks has one."""

    for error in (NotFound("x"), KeyError("x"), IndexError("x"), LookupError("x")):
        assert code_of(error) is None
        assert guarded(partial(_raise, error)) == 70
        assert "a defect in mlflow-reconciler" in capsys.readouterr().err


def _raise(error: Exception) -> int:
    raise error


def test_a_defect_of_ours_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: 1 // 0) == 70
    assert capsys.readouterr().err.startswith("a defect in mlflow-reconciler: ZeroDivisionError")


def test_the_text_of_a_defect_may_hold_a_secret_and_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(partial(_raise, ValueError("Invalid header value b'Bearer s3cret'"))) == 70
    told = capsys.readouterr().err
    assert "s3cret" not in told
    assert "ValueError at reconciler/cli/exits.py:" in told


def in_bash(line: str, *words: bytes, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """The script of the command itself, `$0`, since what it is started with matters."""
    return subprocess.run(
        ["bash", "-c", line, command.COMMAND, *words], capture_output=True, env={**os.environ, **variables}, check=False
    )


@pytest.mark.parametrize(
    "line", ['"$0" explain "$1" 1 Production', '"$0" request create fraud 2 Production --comment "$1"', '"$0" "$1"']
)
def test_an_argument_that_is_not_utf_8_is_usage(line: str) -> None:
    done = in_bash(line, b"\xff\xfe")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"the argument '\\xff\\xfe' is not UTF-8: ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=str,
)
def test_what_the_terminal_has_no_letters_for_is_escaped(variables: dict[str, str]) -> None:
    done = in_bash('"$0" explain fraud 1 "$1"', "Prödü".encode(), **variables)
    assert (done.returncode, done.stderr.startswith(b"target: 'Pr\\xf6d\\xfc' is not a target")) == (2, True), (
        done.stderr
    )


@pytest.mark.parametrize("line", ['"$0" policy schema >&-', '"$0" --help >&-'])
def test_a_closed_output_is_told_where_something_is_to_be_printed(line: str) -> None:
    done = in_bash(line)
    assert (done.returncode, done.stderr.startswith(b"standard output is closed: ")) == (69, True), done.stderr


def test_a_closed_output_is_no_matter_where_nothing_is_printed(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("")
    done = in_bash(f'"$0" policy validate {policy} >&-')
    assert done.returncode == 78, done
    quiet = in_bash('"$0" explain a 1 nonsense 2>&-')
    assert (quiet.returncode, quiet.stdout) == (2, b"")


@pytest.mark.parametrize("words", ["policy schema", "db roles", "audit report", "--help"])
def test_a_reader_that_goes_away_makes_no_negative_answer(words: str) -> None:
    """Typer would exit 1, as `policy diff` does where something differs."""
    done = in_bash(f'"$0" {words} | :; exit ${{PIPESTATUS[0]}}')
    assert (done.returncode, done.stderr) == (0, b"")


def test_whoever_configures_nothing_is_told_that_the_database_is_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("RECONCILER_AUDIT__URL", raising=False)
    done = run("status")
    assert done.returncode == 69
    assert "no configuration names a database: use --config or RECONCILER_AUDIT__URL" in done.stderr
    monkeypatch.setenv("RECONCILER_AUDIT__URL", f"sqlite:///{tmp_path}/audit.db")
    assert "no configuration" not in run("status").stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("db copy --from x --to sqlite:///y", 2, "--from: is not a database address: use sqlite:///PATH or "),
        ("db copy --from sqlite:///x --to y", 2, "--to: is not a database address: use sqlite:///PATH or "),
        ("demo --directory /proc/x", 78, "/proc/x: cannot be written: No such file or directory\n"),
    ],
)
def test_a_place_that_cannot_be_is_told_with_the_option_that_names_it(words: str, code: int, says: str) -> None:
    done = run(*words.split())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert done.stderr.startswith(says)


def test_a_limit_that_no_database_takes_is_usage() -> None:
    done = run("audit", "list", "--limit", "9" * 23)
    assert (done.returncode, "--limit: " in done.stderr) == (2, True), done.stderr
    assert "must be at most 1000000000 (see" in done.stderr


def test_a_skew_of_less_than_a_second_has_no_sign() -> None:
    assert [_skew({"skew_ms": ms}) for ms in (-400, 0, 499, -2000, None)] == [
        "under a second", "under a second", "under a second", "-2 s", "not known",
    ]  # fmt: skip


@pytest.mark.parametrize("command", [["explain"], ["request", "create"], ["request", "show"], ["request", "withdraw"]])
@pytest.mark.parametrize(("version", "code"), [("x", 2), (str(2**31), 4), (str(2**63), 4), ("9" * 300, 4)])
def test_a_version_that_cannot_be_is_told_without_a_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str], version: str, code: int
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nrules: [{name: r, targets: [Production], require: [{run: {}}]}]\n")
    monkeypatch.setenv("RECONCILER_POLICY", str(policy))
    # Nobody listens there: a call would end with 69.
    monkeypatch.setenv("RECONCILER_REGISTRY__URI", "http://127.0.0.1:1")
    done = run(*command, "fraud", version, "Production")
    said = "is not a version number: use digits only" if code == 2 else "the largest version number is 2147483647"
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize("command", [["explain"], ["request", "create"], ["request", "show"], ["request", "withdraw"]])
def test_an_empty_model_is_told_without_a_call(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setenv("RECONCILER_REGISTRY__URI", "http://127.0.0.1:1")
    done = run(*command, "", "1", "Production")
    said = f"model: is empty: name a registered model (see `mlflow-reconciler {' '.join(command)} --help`)\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_a_quoted_name_shows_its_escapes_once() -> None:
    assert quoted("line\nbreak") == "'line\\nbreak'"


@pytest.mark.parametrize(
    ("option", "choices"),
    [("--log-format", LogFormat), ("--log-level", LogLevel)],
)
def test_a_log_that_cannot_be_is_told_with_the_choices_which_are_those_of_the_configuration(
    option: str, choices: type[LogFormat | LogLevel]
) -> None:
    field = LogSettings.model_fields[option.removeprefix("--log-")]
    assert set(get_args(field.annotation)) == set(map(str, choices))
    done = run(option, "foo", "once")
    assert done.returncode == 2
    said = done.stderr.strip().splitlines()[-1]
    assert option in said
    assert all(str(choice) in said for choice in choices)
