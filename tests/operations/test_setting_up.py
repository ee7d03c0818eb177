"""`init`, as somebody with a laptop and a server runs it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from reconciler.cli.setting_up import _folder
from tests import command
from tests.postgres import PostgresServer
from tests.terminal import on_terminal

COMMAND = Path(sys.executable).with_name("mlflow-reconciler")


def init(place: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(place), **variables}
    return command.run("init", "--directory", str(place / "set-up"), *options, environment=environment)


def test_the_files_that_it_writes_work_at_once(mlflow_uri: str, tmp_path: Path) -> None:
    done = init(tmp_path, "--server", mlflow_uri, "--target", "@champion", "--bound", "val_loss<=1e-2")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "FAIL" not in done.stdout
    assert "explain MODEL VERSION @champion" in done.stderr
    [rule] = yaml.safe_load((tmp_path / "set-up/policy.yaml").read_text())["rules"]
    assert rule["targets"] == ["@champion"]
    assert rule["require"][0] == {"metric": "val_loss", "max": 0.01}
    config = str(tmp_path / "set-up/config.yaml")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    for words in (["once", "--dry-run"], ["status"], ["policy", "validate", str(tmp_path / "set-up/policy.yaml")]):
        assert command.run("--config", config, *words, environment=environment).returncode == 0, words


def test_on_a_terminal_it_asks_for_what_no_option_says_until_it_can_be_used(mlflow_uri: str, tmp_path: Path) -> None:
    typed = "\n".join([str(tmp_path / "here"), "ftp://nowhere", mlflow_uri, "", "", "accuracy > 1", "accuracy >= 0.8"])
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    code, shown = on_terminal([COMMAND, "init"], variables, typed=f"{typed}\n")
    assert code == 0, shown
    assert shown.count("MLflow server [http://127.0.0.1:5000]:") == 2
    assert "write METRIC>=NUMBER or METRIC<=NUMBER" in shown
    [rule] = yaml.safe_load((tmp_path / "here/policy.yaml").read_text())["rules"]
    assert rule["require"][0] == {"metric": "accuracy", "min": 0.8}
    assert (tmp_path / "here/audit.db").exists()


def test_without_a_terminal_nothing_is_asked_and_mlflows_own_variable_names_the_server(
    mlflow_uri: str, tmp_path: Path
) -> None:
    done = init(tmp_path, MLFLOW_TRACKING_URI=mlflow_uri)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((tmp_path / "set-up/config.yaml").read_text())["registry"]["uri"] == mlflow_uri


def test_variables_that_the_configuration_has_no_say_against_are_the_defaults_or_warned_of(
    mlflow_uri: str, tmp_path: Path
) -> None:
    variables = {"RECONCILER_REGISTRY__URI": mlflow_uri, "RECONCILER_AUDIT__URL": f"sqlite:///{tmp_path}/own.db"}
    done = init(tmp_path, **variables)
    assert (done.returncode, "warning" in done.stderr) == (0, False), done.stderr
    assert yaml.safe_load((tmp_path / "set-up/config.yaml").read_text())["audit"]["url"].endswith("/own.db")
    elsewhere = ("--directory", str(tmp_path / "b"), "--database", f"sqlite:///{tmp_path}/other.db")
    assert "warning: RECONCILER_AUDIT__URL is set to another value" in init(tmp_path, *elsewhere, **variables).stderr


def test_nothing_that_exists_is_overwritten(mlflow_uri: str, tmp_path: Path) -> None:
    (tmp_path / "set-up").mkdir()
    (tmp_path / "set-up/policy.yaml").write_text("mine")
    done = init(tmp_path, "--server", mlflow_uri)
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert "policy.yaml exists with other content, and is not overwritten" in done.stderr
    assert [path.name for path in (tmp_path / "set-up").iterdir()] == ["policy.yaml"]
    assert (tmp_path / "set-up/policy.yaml").read_text() == "mine"


def test_a_password_of_the_database_is_kept_apart(mlflow_uri: str, postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.new_database().replace("postgres:@", "postgres:s3cret@")
    done = init(tmp_path, "--server", mlflow_uri, "--database", url)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "s3cret" not in done.stdout + done.stderr + (tmp_path / "set-up/config.yaml").read_text()
    secret = tmp_path / "set-up/credentials/audit.url"
    assert "s3cret" in secret.read_text()
    assert (secret.stat().st_mode & 0o777, secret.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_server_that_does_not_answer_is_told_with_what_to_run_next(tmp_path: Path) -> None:
    done = init(tmp_path, "--server", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "connection refused" in done.stdout
    assert done.stderr.startswith("next: fix what FAIL names, then `mlflow-reconciler --config")


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--bound", "accuracy=0.9"], 2, "--bound: 'accuracy=0.9' is not a bound: write METRIC>=NUMBER"),
        (["--bound", "accuracy>=1.2.3"], 2, "--bound: 'accuracy>=1.2.3' is not a bound"),
        (["--target", "@"], 2, "--target"),
        (["--server", "ftp://x"], 2, "--server"),
        (["--database", "mysql://u:s3cret@h/d"], 2, "--database: is not a database address"),
        (["--bound", "abc"], 2, "--bound: 'abc' is not a bound"),
        (["--bound", "accuracy>=nan"], 2, "--bound: 'accuracy>=nan' is not a bound"),
        (["--bound", "accuracy>=1e999"], 2, "--bound: 'accuracy>=1e999' is not a bound"),
        (["--target", "Produktion"], 2, "--target: 'Produktion' is not a target: use a stage"),
        (["--directory", "/proc/nowhere"], 78, "/proc/nowhere: cannot be written"),
        (["--directory", __file__], 2, f"--directory: {__file__} is a file: name a directory"),
        (["--directory", "a" * 5000], 2, "--directory: cannot be used: File name too long"),
    ],
)
def test_a_wrong_answer_is_one_sentence_and_leaves_no_file(
    options: list[str], code: int, says: str, tmp_path: Path
) -> None:
    done = init(tmp_path, *options)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert says in done.stderr
    assert "s3cret" not in done.stderr
    assert not (tmp_path / "set-up").exists()


DEAD = {
    "postgresql://ada:s3cret@127.0.0.1:1/audit": "Connection refused",
    "sqlite:////nowhere/audit.db": "unable to open database file",
    "sqlite:////tmp": "unable to open database file",
}


@pytest.mark.parametrize("database", DEAD)
def test_a_database_that_cannot_be_used_leaves_nothing_behind_and_names_the_command_that_goes_on(
    database: str, tmp_path: Path
) -> None:
    folder = tmp_path / "new/set-up"
    # The last --directory counts.
    done = init(tmp_path, "--server", "http://127.0.0.1:1", "--database", database, "--directory", str(folder))
    assert (done.returncode, done.stdout) == (69, "")
    wrong, next_one = done.stderr.splitlines()
    assert DEAD[database] in wrong
    assert "s3cret" not in done.stderr
    assert list(tmp_path.iterdir()) == []
    *_, again = next_one.partition("mlflow-reconciler ")
    assert shlex.split(again)[:7] == [
        "init", "--directory", str(folder), "--server", "http://127.0.0.1:1", "--database", shown(database)
    ]  # fmt: skip
    meant = [f"sqlite:///{folder}/audit.db" if word == shown(database) else word for word in shlex.split(again)]
    went_on = command.run(*meant, environment={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    assert went_on.returncode == 1
    assert "OK   database: " in went_on.stdout
    assert "then `mlflow-reconciler --config" in went_on.stderr


def shown(database: str) -> str:
    return database.replace("s3cret", "***").replace("postgresql:", "postgresql+psycopg:")


def test_after_a_server_was_down_the_same_answers_go_on_and_others_change_nothing(
    mlflow_uri: str, tmp_path: Path
) -> None:
    down = "http://127.0.0.1:1"
    assert init(tmp_path, "--server", down).returncode == 1
    files = {path: path.read_bytes() for path in (tmp_path / "set-up").glob("*.yaml")}
    assert len(files) == 2
    again = init(tmp_path, "--server", down)
    assert again.returncode == 1
    assert again.stdout.startswith("".join(f"kept {tmp_path}/set-up/{name}.yaml\n" for name in ("config", "policy")))
    other = init(tmp_path, "--server", mlflow_uri)
    assert (other.returncode, other.stdout, other.stderr.count("\n")) == (78, "", 1)
    assert "config.yaml exists with other content, and is not overwritten" in other.stderr
    assert {path: path.read_bytes() for path in files} == files


def test_a_folder_that_this_user_may_not_write_is_said_at_once() -> None:
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            _folder("/usr/new")
        except ValueError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert told.read() == "/usr cannot be written by this user: name another directory"


def test_a_name_is_yaml_whatever_it_holds(mlflow_uri: str, tmp_path: Path) -> None:
    metric = "a:{}#'\"\\é"
    done = init(tmp_path, "--server", mlflow_uri, "--bound", f"{metric}>=0.5")
    assert done.returncode == 0, done.stderr
    [rule] = yaml.safe_load((tmp_path / "set-up/policy.yaml").read_text())["rules"]
    assert rule["require"][0] == {"metric": metric, "min": 0.5}
