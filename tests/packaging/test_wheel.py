"""The wheel, in an environment without the checkout, brings its migrations."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_installed_wheel_upgrades_a_database(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "reconciler/_migrations/versions/0002_no_replace_by_request.py" in names
    pages = [name.rpartition("/")[2] for name in names if "/data/share/man/man1/" in name]
    assert sorted(pages) == sorted(page.name for page in (ROOT / "docs/man").iterdir())
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    lend_dependencies(python)
    environment = {"PATH": os.environ["PATH"], "RECONCILER_AUDIT__URL": f"sqlite:///{tmp_path}/audit.db"}
    command = [tmp_path / "venv/bin/mlflow-reconciler", "db"]
    for action in ("upgrade", "check"):
        done = subprocess.run(
            [*command, action], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    where = [python, "-c", "import reconciler.audit.schema as s; print(s.migrations_path())"]
    shown = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert shown.strip().startswith(str(tmp_path / "venv"))


def lend_dependencies(python: Path) -> None:
    """The third-party packages of this environment; the product itself comes first, from the wheel."""
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    (Path(site) / "zz-lent.pth").write_text(sysconfig.get_path("purelib") + "\n")


def test_the_demo_says_what_to_install_where_there_is_no_mlflow_server(tmp_path: Path) -> None:
    """mlflow-skinny has the server's modules, and not what they import."""
    site = tmp_path / "site"
    site.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.lower().startswith("flask"):
            (site / entry.name).symlink_to(entry)
    run = [sys.executable, "-S", "-c", "from reconciler.cli import main; main()", "demo"]
    place = tmp_path / "demo"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{site}"}
    done = subprocess.run(
        [*run, "--directory", str(place)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == "demo needs an MLflow server: install mlflow-reconciler[server]\n"
    assert (done.returncode, done.stdout, place.exists()) == (78, "", False)
