"""install-service: the printed steps are executed, and nothing of the builder's machine gets into a package."""

from __future__ import annotations

import grp
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from reconciler.cli.service import UNITS, _is_hidden
from tests.acceptance.conftest import Product
from tests.command import COMMAND
from tests.postgres import PostgresServer

OURS = Path(sys.executable).parents[1]
# What systemd does with these options, by a shell: this machine need not run systemd.
SYSTEMD_RUN = """\
#!/bin/sh
export CREDENTIALS_DIRECTORY="$PWD/credentials" STATE_DIRECTORY="$PWD/state"
mkdir -p "$CREDENTIALS_DIRECTORY" "$STATE_DIRECTORY"
while [ "${1#-}" != "$1" ]; do
  if [ "$1" = -p ]; then
    shift
    case "$1" in LoadCredential=*)
      pair="${1#LoadCredential=}"; cp "${pair#*:}" "$CREDENTIALS_DIRECTORY/${pair%%:*}" || exit 243;;
    esac
  fi
  shift
done
echo "$@" >> ran
exec "$@"
"""
SYSTEMCTL = '#!/bin/sh\necho systemctl "$@" >> ran\n'


def installed(product: Product, root: Path, *more: str) -> str:
    done = product.run("install-service", "--root", str(root), *more)
    assert done.returncode == 0, done.stderr
    return done.stderr


def commands_of(printed: str) -> str:
    """The lines that are printed to be run, as they stand there."""
    return "\n".join(line.strip() for line in printed.splitlines() if line.startswith("       "))


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_printed_steps_are_run_as_printed(
    product: Product, tmp_path: Path, postgres: PostgresServer, database: str
) -> None:
    root, place = tmp_path / "root", tmp_path / "host"
    place.mkdir()
    command = tmp_path / "opt/bin/mlflow-reconciler"
    command.parent.mkdir(parents=True)
    command.symlink_to(COMMAND)
    printed = installed(product, root, "--prefix", str(tmp_path / "opt"))
    if database == "postgresql":
        url = postgres.new_database()
        (root / "etc/mlflow-reconciler/credentials/audit.url").write_text(url)
    else:
        url = f"sqlite:///{place}/state/audit.db"
    for name, text in (("systemd-run", SYSTEMD_RUN), ("systemctl", SYSTEMCTL)):
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    # The host's /etc is the folder that was written; every other word is as it is printed.
    script = commands_of(printed).replace("/etc/mlflow-reconciler", str(root / "etc/mlflow-reconciler"))
    script = script.rpartition("\n")[0]
    config = str(root / "etc/mlflow-reconciler/config.yaml")
    variables = {"PATH": f"{place}:{os.environ['PATH']}", "HOME": str(place), "RECONCILER_CONFIG": config}
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=place, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (place / "ran").read_text().splitlines() == [
        "systemctl daemon-reload",
        f"{command} db upgrade",
        "systemctl enable --now mlflow-reconciler",
        "systemctl status mlflow-reconciler",
    ]
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    assert inspect(engine).has_table("decisions")
    engine.dispose()
    # Left out above, since it needs a registry: tests/operations/test_credentials.py.
    assert commands_of(printed).endswith(f"{command} check")


def test_a_package_holds_nothing_of_the_machine_that_built_it(product: Product, tmp_path: Path) -> None:
    root = tmp_path / "root"
    printed = installed(product, root)
    written = [path.read_text() for path in root.rglob("*") if path.is_file()]
    for text in [*written, printed]:
        assert str(OURS) not in text
        assert str(tmp_path) not in text
    service = (root / "etc/systemd/system/mlflow-reconciler.service").read_text()
    assert "\nExecStart=/usr/bin/mlflow-reconciler run\n" in service


def test_a_prefix_stands_in_every_unit(product: Product, tmp_path: Path) -> None:
    root = tmp_path / "root"
    printed = installed(product, root, "--prefix", "/opt/reconciler")
    starts = re.findall(r"^ExecStart=(\S+)", "".join(
        (root / "etc/systemd/system" / unit).read_text() for unit in UNITS
    ), re.MULTILINE)  # fmt: skip
    assert starts == ["/opt/reconciler/bin/mlflow-reconciler"] * 3
    assert "/opt/reconciler/bin/mlflow-reconciler db upgrade" in printed


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_place_that_the_units_hide_is_a_fail_that_says_where_to_install(
    product: Product, tmp_path: Path, more: list[str]
) -> None:
    root = tmp_path / "root"
    done = product.run("install-service", "--root", str(root), "--prefix", "/home/ada/venv", *more)
    listed = done.stdout.splitlines()
    assert (done.returncode, f"would write {root}/etc/mlflow-reconciler/config.yaml" in listed) == (1, bool(more))
    assert {line.split(" /")[0] for line in listed} == ({"would write"} if more else set())
    assert done.stderr.startswith("FAIL exec: the service could not start: the units hide /home/ada/venv/bin/mlflow-")
    assert "\n     /usr/bin/python3 -m venv /opt/mlflow-reconciler\n" in done.stderr
    assert not root.exists()


def test_what_protecthome_hides_is_what_systemd_says() -> None:
    for path in ("/home/ada/venv/bin/x", "/root/.local/bin/x", "/run/user/1000/x"):
        assert _is_hidden(Path(path))
    for path in ("/opt/home/x", "/homes/x", "/usr/bin/x", "/var/lib/x"):
        assert not _is_hidden(Path(path))
    for unit in UNITS:
        if unit.endswith(".service"):
            from reconciler.cli.service import templates

            assert "\nProtectHome=yes\n" in (templates() / unit).read_text()


def test_an_interpreter_that_the_units_hide_is_one_too(product: Product, tmp_path: Path) -> None:
    """A virtual environment in /opt whose Python lies in somebody's home fails at exec all the same."""
    done = product.run("install-service", "--dry-run")
    hidden = [path for path in (OURS, Path(sys.base_prefix), Path(sys.executable).resolve()) if _is_hidden(path)]
    assert done.returncode == (1 if hidden else 0)
    assert ("FAIL exec" in done.stderr) == bool(hidden)


def test_an_operators_group_may_read_the_credentials_and_nobody_else(product: Product, tmp_path: Path) -> None:
    root = tmp_path / "root"
    ours = grp.getgrgid(os.getgid()).gr_name
    installed(product, root)
    credentials = root / "etc/mlflow-reconciler/credentials"
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o700
    printed = installed(product, root, "--operators", ours)
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o750
    for path in credentials.iterdir():
        assert (stat.S_IMODE(path.stat().st_mode), path.group()) == (0o640, ours)
    assert f"by group {ours}" in printed
    config = (root / "etc/mlflow-reconciler/config.yaml").read_text()
    assert "\ncredentials_directory: credentials\n" in config
    unknown = product.run("install-service", "--root", str(root), "--operators", "no-such-group")
    assert (unknown.returncode, "groupadd --system no-such-group" in unknown.stderr) == (78, True)


def test_a_place_that_cannot_be_one_is_a_mistake_in_the_command(product: Product, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for option, value, said in (
        ("--prefix", "opt/x", "is relative"),
        ("--root", str(tmp_path / "file"), "is not a folder"),
    ):
        done = product.run("install-service", "--root", str(tmp_path / "root"), option, value)
        assert (done.returncode, said in " ".join(done.stderr.split())) == (2, True), done.stderr
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    "prefix", ["/opt/with space", "/opt/%h", "/opt/$HOME", "/opt/a'b", "/opt/a;b", "/opt/a\\b", "/opt/a\nb"]
)
def test_a_prefix_that_a_unit_would_read_otherwise_is_refused(product: Product, tmp_path: Path, prefix: str) -> None:
    done = product.run("install-service", "--root", str(tmp_path / "root"), "--prefix", prefix)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "may be in a unit's paths: install in a folder with such a name" in " ".join(done.stderr.split())
    assert not (tmp_path / "root").exists()


def test_a_command_that_lies_in_such_a_folder_is_refused_too(tmp_path: Path) -> None:
    command = tmp_path / "with space/mlflow-reconciler"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom reconciler.cli import main\nmain()\n")
    command.chmod(0o755)
    done = subprocess.run([command, "install-service", "--dry-run"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "with space/mlflow-reconciler" in done.stderr


def test_a_kept_configuration_without_the_credentials_folder_is_told_what_to_add(
    product: Product, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    config = root / "etc/mlflow-reconciler/config.yaml"
    assert "WARN" not in installed(product, root)
    config.write_text("mode: observe\n")
    assert f"WARN {config} was kept and has no credentials_directory" in installed(product, root)
    assert "add the line `credentials_directory: credentials`" in installed(product, root)
    assert config.read_text() == "mode: observe\n"


def test_nobody_is_sent_to_an_index_that_has_not_got_it(product: Product, tmp_path: Path) -> None:
    refused = product.run("install-service", "--root", str(tmp_path / "root"), "--prefix", "/home/ada/venv")
    assert "pip install mlflow_reconciler-*.whl" in refused.stderr
