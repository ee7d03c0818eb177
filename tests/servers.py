"""Older MLflow servers, each in an environment of its own that `make` laid out under .servers."""

from __future__ import annotations

import contextlib
import os
from importlib.metadata import distribution
from pathlib import Path

import pytest

from reconciler.demo.server import mlflow_server

ROOT = Path(__file__).parents[1]
# These are tried by every run; the others by `make test-long`.
_ALWAYS = ("2.22.", "3.1.")


def pinned() -> list[str]:
    """Every version that has its pins, the oldest first."""
    found = (path.stem for path in (ROOT / "requirements/servers").glob("*.txt"))
    return sorted(found, key=lambda version: [int(part) for part in version.split(".")])


def tried() -> list[str]:
    """The versions that this run goes through, beside the newest."""
    long = bool(os.environ.get("LONG_TESTS"))
    return [version for version in pinned() if long or version.startswith(_ALWAYS)]


def label(server: str) -> str:
    """As it stands in the ids of tests, by which the tests of one older server are run one after another."""
    return f"mlflow-{server}" if server[0].isdigit() else server


def python_of(version: str) -> Path:
    """Skips the test, or fails it where these servers may not be missing."""
    place = ROOT / ".servers" / version
    python = place / "bin" / "python"
    if (place / "installed").exists():
        return python
    reason = place / "not-installed"
    said = reason.read_text().strip() if reason.exists() else "run `make servers`"
    if os.environ.get("CI") and version.startswith(_ALWAYS):
        pytest.fail(f"MLflow {version} must be tried here, and is not installed: {said}")
    pytest.skip(f"MLflow {version} is not installed: {said}")


def python_of_oidc() -> Path:
    """The interpreter beside mlflow-oidc-auth; skips the test where it could not be installed."""
    return _python_beside("mlflow-oidc-auth", "oidc-auth")


def python_of_datasette() -> Path:
    """As `python_of_oidc`, beside Datasette."""
    return _python_beside("Datasette", "datasette")


def _python_beside(package: str, folder: str) -> Path:
    place = ROOT / ".servers" / folder
    if (place / "installed").exists():
        return place / "env" / "bin" / "python"
    reason = place / "not-installed"
    said = " ".join(reason.read_text().split()[:40]) if reason.exists() else "run `make servers`"
    pytest.skip(f"{package} is not installed: {said}")


def app_beside(directory: Path) -> dict[str, str]:
    """Variables by which another environment's Python finds this project, as if pip had put it there."""
    directory.mkdir(parents=True)
    (directory / "reconciler").symlink_to(ROOT / "reconciler")
    info = directory / "mlflow_reconciler-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mlflow-reconciler\nVersion: 0\n")
    (info / "entry_points.txt").write_text(distribution("mlflow-reconciler").read_text("entry_points.txt") or "")
    return {"PYTHONPATH": str(directory)}


class OlderServers:
    """At most one runs at a time: tests are ordered by server."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[str, str] = {}
        self._stack = contextlib.ExitStack()

    def uri(self, version: str) -> str:
        if version not in self._running:
            self.stop()
            server = mlflow_server(self._directory / version, python=python_of(version))
            self._running[version] = self._stack.enter_context(server)
        return self._running[version]

    def stop(self) -> None:
        self._running.clear()
        self._stack.close()
