"""A host without any index: everything comes out of one folder, and is what its hashes say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.packaging.test_wheel import lend_dependencies

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
# What README, and the page of the app for its server, tell people to type, without comments.
PAGES = (ROOT / "README.md").read_text(), (ROOT / "docs" / "mlflow-app.md").read_text()
INSTALLING = re.findall(r"^((?:pip|uv tool|pipx) install .*?)(?: +#.*)?$", "".join(PAGES), re.MULTILINE)


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
    """As on a host that knows no index: none of pip's and uv's settings. What one command needs is compiled by it."""
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_COMPILE": "1"}
    return {"PATH": os.environ["PATH"], "HOME": str(home), "UV_OFFLINE": "1"} | pip


def upgrades_a_database(command: Path, place: Path) -> None:
    variables = environment(place) | {"RECONCILER_AUDIT__URL": f"sqlite:///{place}/audit.db"}
    done = subprocess.run([command, "db", "upgrade"], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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


def test_the_pages_have_a_line_for_each_way_of_installing() -> None:
    assert [line.split(" install")[0] for line in INSTALLING] == ["pip", "uv tool", "pipx", "pip", "pip"]


@pytest.mark.parametrize("line", INSTALLING)
def test_a_line_of_the_pages_installs_the_command(line: str, wheelhouse: Path, tmp_path: Path) -> None:
    program = line.split()[0]
    (tmp_path / "dist").mkdir()
    [ours] = wheelhouse.glob("mlflow_reconciler-*.whl")
    shutil.copy(ours, tmp_path / "dist")
    # Where `make wheelhouse` puts it.
    (tmp_path / _made_by_make()).symlink_to(wheelhouse)
    venv.create(tmp_path / "venv", with_pip=program == "pip")
    variables = environment(tmp_path) | _out_of(wheelhouse, tmp_path, line)
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "does not provide the extra" not in done.stderr
    if "[server]" in line:
        lend_dependencies(tmp_path / "venv/bin/python")
    upgrades_a_database(tmp_path / ("venv/bin" if program == "pip" else "bin") / "mlflow-reconciler", tmp_path)


def _made_by_make() -> str:
    [folder] = re.findall(r"^WHEELHOUSE \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return folder


def _out_of(wheelhouse: Path, place: Path, line: str) -> dict[str, str]:
    """Settings in place of an index. The extra's packages are in no wheelhouse, so its line goes without them."""
    path = f"{place / 'venv/bin'}:{UV.parent}:{os.environ['PATH']}"
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheelhouse)} | (
        {"PIP_NO_DEPS": "1"} if "[server]" in line else {}
    )
    pipx = {"PIPX_HOME": str(place / "pipx"), "PIPX_BIN_DIR": str(place / "bin")}
    uv = {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheelhouse), "UV_NO_CONFIG": "1", "UV_PYTHON": sys.executable}
    folders = {
        "UV_TOOL_DIR": str(place / "tools"),
        "UV_TOOL_BIN_DIR": str(place / "bin"),
        "UV_CACHE_DIR": str(place / "c"),
    }
    return {"PATH": path} | pip | pipx | uv | folders
