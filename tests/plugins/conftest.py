from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.domain.plugin_checks import PluginCheck
from reconciler.policy.plugins import Plugins
from tests.plugins.packages import install

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/latency-check"
UV = Path(sys.executable).with_name("uv")

Load = Callable[..., Plugins]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python looks for packages in, beside those of the product."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.fixture
def mine(site: Path) -> Load:
    """Installs a check `mine` with this source, and names it."""

    def load(source: str = "", seconds: float = 5.0, **about: str) -> Plugins:
        install(site, source, **about)
        return Plugins(("mine",), seconds)

    return load


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the example was installed into, by the installer that people use, and without a network."""
    folder = tmp_path_factory.mktemp("example")
    line = [
        UV,
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        "--no-build-isolation",
        "--python",
        sys.executable,
    ]
    subprocess.run([*line, "--target", folder, EXAMPLE], check=True, timeout=300)
    return folder


def kind_in(plugins: Plugins) -> type[PluginCheck]:
    [kind] = plugins.loaded()
    return kind
