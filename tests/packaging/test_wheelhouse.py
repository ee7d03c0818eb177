"""A host without any index: everything comes out of one folder, and is what its hashes say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheelhouse")
    made = subprocess.run(
        [sys.executable, "contrib/wheelhouse.py", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if made.returncode and "No matching distribution" in made.stderr + made.stdout:
        pytest.skip("no index can be reached from here, so that no wheelhouse can be made")
    assert made.returncode == 0, made.stderr[-2000:]
    assert "--no-index --find-links" in made.stdout
    return folder


def environment(home: Path) -> dict[str, str]:
    """As on a host that knows no index: none of pip's and uv's settings."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PIP_CONFIG_FILE": os.devnull, "UV_OFFLINE": "1"}


def upgrades_a_database(command: Path, place: Path) -> None:
    variables = environment(place) | {"RECONCILER_AUDIT__URL": f"sqlite:///{place}/audit.db"}
    done = subprocess.run([command, "db", "upgrade"], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_wheelhouse_is_installed_by_pip_without_an_index(wheelhouse: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    install = ["install", "--quiet", "--no-index", "--find-links", str(wheelhouse), "--require-hashes", "-r"]
    pip = [tmp_path / "venv/bin/python", "-m", "pip", *install, str(wheelhouse / "requirements.txt")]
    done = subprocess.run(pip, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    upgrades_a_database(tmp_path / "venv/bin/mlflow-reconciler", tmp_path)


def test_a_wheel_that_was_changed_on_the_way_is_refused(wheelhouse: Path, tmp_path: Path) -> None:
    changed = tmp_path / "wheelhouse"
    shutil.copytree(wheelhouse, changed)
    [ours] = changed.glob("mlflow_reconciler-*.whl")
    ours.write_bytes(ours.read_bytes() + b"\0")
    there = ["--no-deps", "--target", str(tmp_path / "there")]
    install = ["install", "--quiet", "--no-index", "--find-links", str(changed), *there, "--require-hashes", "-r"]
    pip = [sys.executable, "-m", "pip", *install, str(changed / "requirements.txt")]
    done = subprocess.run(pip, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_uv_installs_the_wheel_as_a_tool(wheelhouse: Path, tmp_path: Path) -> None:
    [ours] = wheelhouse.glob("mlflow_reconciler-*.whl")
    folders = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    variables = environment(tmp_path) | folders | {"UV_CACHE_DIR": str(tmp_path / "cache")}
    install = [UV, "tool", "install", "--no-config", "--python", sys.executable, "--no-index", "--find-links"]
    done = subprocess.run(
        [*install, str(wheelhouse), str(ours)], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    upgrades_a_database(tmp_path / "bin/mlflow-reconciler", tmp_path)


def test_pipx_installs_the_wheel(wheelhouse: Path, tmp_path: Path) -> None:
    if shutil.which("pipx") is None:
        pytest.skip("pipx is not on this machine")
    [ours] = wheelhouse.glob("mlflow_reconciler-*.whl")
    variables = environment(tmp_path) | {"PIPX_HOME": str(tmp_path / "pipx"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    arguments = f"--pip-args=--no-index --find-links {wheelhouse}"
    done = subprocess.run(["pipx", "install", arguments, str(ours)], env=variables, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    upgrades_a_database(tmp_path / "bin/mlflow-reconciler", tmp_path)
