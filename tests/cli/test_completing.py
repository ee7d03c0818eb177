"""What real shells offer behind what was typed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import event

from reconciler.audit import schema
from reconciler.audit.completions import models_beginning
from reconciler.audit.database import make_engine
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from tests.builders import REGISTRY
from tests.fake_registry import FakeRegistry
from tests.history import IN_FORCE
from tests.terminal import Watched

SCRIPTS = Path(sys.executable).parent
HOSTILE = (
    "$(touch pwned)", "fraud;touch pwned", "-rf", "fraud two", "fraud\n", "`touch pwned`", "=ls", "~root",
    "fraud:eu", "fraud@eu", "fraud=eu", "fraud*", "fraud?", "fraud'", 'fraud"', "fraud\\",
)  # fmt: skip
# Each prints what the shell offers for the last word, a word a line.
SHELLS = {
    "bash": (
        'source "$HOME/.bash_completions/mlflow-reconciler.sh"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        "_mlflow_reconciler_completion mlflow-reconciler; printf '%s\\n' \"${COMPREPLY[@]}\""
    ),
    "fish": 'complete -C (string join " " -- $argv) | string split -f1 \\t; true',
    "zsh": (
        'compdef() { :; }; _arguments() { print -r -- "$1"; }; words=("$@"); CURRENT=$#; '
        "source ~/.zfunc/_mlflow-reconciler; _mlflow_reconciler_completion | "
        """grep -o '[( ]"[^"]*"' | tr -d '( "'; true"""
    ),
}


# A shell as a person has it before them; the words that the command gets are shown, each within angle brackets.
INTERACTIVE = {
    "bash": (["--norc", "-i"], "source ~/.bash_completions/mlflow-reconciler.sh", "mlflow-reconciler() { {}; }"),
    "fish": (
        ["-N", "-i"], "source ~/.config/fish/completions/mlflow-reconciler.fish", "function mlflow-reconciler; {}; end"
    ),
    "zsh": (
        ["-f", "-i"], "autoload -Uz compinit; compinit -u; source ~/.zfunc/_mlflow-reconciler",
        "mlflow-reconciler() { {}; }"
    ),
}  # fmt: skip
OF_ALIASES = "version: 1\nrules: [{name: r, targets: ['@champion'], require: [{run: {}}]}]\n"


def decided(url: str, models: Sequence[str]) -> None:
    schema.upgrade(url)
    engine = make_engine(url)
    registry = FakeRegistry()
    for model in models:
        registry.file(model, "1", accuracy="0.95")
    Cycle(registry, SqlAuditLog(engine, "test:1", REGISTRY)).run(IN_FORCE, Mode.ENFORCE)
    engine.dispose()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('completing')}/audit.db"
    decided(url, ["fraud", "fraud-eu", "churn", *HOSTILE])
    loaded, engine, registry = parse_policy(OF_ALIASES, "policy.yaml"), make_engine(url), FakeRegistry()
    registry.file("fraud", "1", "@champion")
    in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
    Cycle(registry, SqlAuditLog(engine, "test:2", REGISTRY)).run(in_force, Mode.ENFORCE)
    engine.dispose()
    return url


class Person:
    """At a shell, in which completion was installed as the product says."""

    def __init__(self, shell: str, home: Path, database: str | None) -> None:
        if shutil.which(shell) is None:
            pytest.skip(f"there is no {shell} here")
        self.shell = shell
        self.environment = {"PATH": f"{SCRIPTS}:{os.environ['PATH']}", "HOME": str(home), "LANG": "C.UTF-8"}
        if database:
            self.environment["RECONCILER_AUDIT__URL"] = database
        # The shell above decides which completion is installed.
        self._in_shell("mlflow-reconciler --install-completion; true")

    def types(self, *words: str) -> list[str]:
        """The words that are offered; the last of `words` is incomplete."""
        done = self._in_shell(SHELLS[self.shell], "mlflow-reconciler", *words)
        return done.stdout.split("\n")[:-1] if done.stdout.strip() else []

    def gets(self, line: str) -> bool:
        """Types a line, tab keys and all, into a real terminal; whether the command gets the words that are shown."""
        options, source, function = INTERACTIVE[self.shell]
        typed, _, words = line.partition(" -> ")
        terminal = Watched([self.shell, *options], self.environment | {"TERM": "dumb", "PS1": "> "})
        show = "printf '<%s>' " + ("$argv" if self.shell == "fish" else '"$@"')
        terminal.presses(f"{source}\n{function.replace('{}', show, 1)}\n")
        terminal.presses(f"mlflow-reconciler {typed}\n")
        shown = terminal.shows("".join(f"<{word}>" for word in words.split()), 30)
        terminal.types("exit\n")
        return shown

    def _in_shell(self, script: str, *words: str) -> subprocess.CompletedProcess[str]:
        name = ["shell"] if self.shell != "fish" and words else []
        command = [self.shell, "-c", script, *name, *words]
        done = subprocess.run(
            command, env=self.environment, cwd=self.environment["HOME"], capture_output=True, text=True, timeout=60,
            check=True,
        )  # fmt: skip
        assert done.stderr == "", done.stderr
        return done


@pytest.fixture(scope="module", params=SHELLS)
def person(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, database: str) -> Person:
    return Person(request.param, tmp_path_factory.mktemp(request.param), database)


@pytest.fixture(scope="module")
def at_bash(tmp_path_factory: pytest.TempPathFactory, database: str) -> Person:
    return Person("bash", tmp_path_factory.mktemp("at-bash"), database)


def test_commands_and_options_are_offered(person: Person) -> None:
    assert person.types("audit", "ver") == ["verify"]
    assert "--since" in person.types("audit", "list", "--s")


def test_models_of_the_database_are_offered_and_nothing_that_a_shell_would_run(person: Person) -> None:
    assert person.types("explain", "fr") == ["fraud", "fraud-eu"]
    assert person.types("request", "create", "") == ["churn", "fraud", "fraud-eu"]
    assert not (Path(person.environment["HOME"]) / "pwned").exists()


OFFERED = {
    "audit list --model chu": ["churn"],
    "audit baseline --model fraud-": ["fraud-eu"],
    "audit list --target P": ["Production"],
    "audit list --requester a": ["ada"],
    "explain fraud 1 P": ["Production"],
    "audit report c": ["completeness", "coverage"],
    "audit report coverage c": ["completeness"],
    "audit report coverage --section m": ["models"],
    "audit report --section ch": ["changes"],
    "audit sample --report d": ["decisions"],
    "audit show --format js": ["json", "jsonl"],
}


@pytest.mark.parametrize("typed", OFFERED)
def test_options_that_take_a_name_offer_those_on_record(at_bash: Person, typed: str) -> None:
    assert at_bash.types(*typed.split()) == OFFERED[typed]


def test_what_is_completed_reaches_the_command_as_one_word(person: Person) -> None:
    assert person.gets("audit report comp\t--model chu\t --target @ch\t -> audit report completeness --model churn "
                       "--target @champion")  # fmt: skip


@pytest.mark.parametrize("typed", ["--target=@ch", "--model=chu", "--target=Prod"])
def test_bash_completes_behind_an_equals_sign_too(at_bash: Person, typed: str) -> None:
    whole = {
        "--target=@ch": "--target=@champion",
        "--model=chu": "--model=churn",
        "--target=Prod": "--target=Production",
    }
    assert at_bash.gets(f"audit list {typed}\t -> audit list {whole[typed]}")


def test_ids_of_decisions_are_offered(person: Person, database: str) -> None:
    engine = make_engine(database)
    with engine.connect() as connection:
        ids = sorted(connection.exec_driver_sql("SELECT decision_id FROM decisions").scalars())
    engine.dispose()
    assert sorted(person.types("audit", "show", "")) == ids
    assert person.types("audit", "show", ids[0][:12]) == [ids[0]]


@pytest.mark.parametrize("url", [None, "sqlite:////nowhere/audit.db", "postgresql://127.0.0.1:1/audit"])
def test_without_a_readable_database_nothing_is_offered_and_nothing_said(url: str | None, tmp_path: Path) -> None:
    person = Person("bash", tmp_path, url)
    assert person.types("explain", "fr") == []
    assert person.types("audit", "list", "--model", "fr") == []
    assert person.types("audit", "list", "--target", "P") == ["Production"]


def test_a_name_with_many_decisions_costs_one_probe(audit_url: str) -> None:
    schema.upgrade(audit_url)
    for _ in range(3):
        decided(audit_url, ["fraud", "fraud-eu", "zebra"])
    engine = make_engine(audit_url)
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    with engine.connect() as connection:
        del asked[:]
        assert models_beginning(connection, "fraud") == ["fraud", "fraud-eu"]
    engine.dispose()
    # Two names, and the one behind them.
    assert len([statement for statement in asked if "decisions" in statement]) == 3
