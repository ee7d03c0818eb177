"""Real servers for the whole session, and an environment in which only the test's own variables count."""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from reconciler.audit import schema
from reconciler.demo import server
from reconciler.demo.server import mlflow_server
from tests import forker
from tests.postgres import PostgresServer
from tests.servers import OlderServers

# An example takes as long as the machine has other things to do.
hypothesis.settings.register_profile(
    "without a clock", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("without a clock")


# Files of a minute and more begin first, so that no worker is left alone with one at the end.
LONG_FILES = (
    "crash/test_sigkill.py", "mlflow_app/test_fuzz.py", "crash/test_nemesis.py", "crash/test_faults.py",
    "crash/test_refiling.py", "mlflow_app/test_fuzz_servers.py", "crash/test_states.py", "crash/test_pgbouncer.py",
)  # fmt: skip
HEAVY_FOLDERS = ("acceptance", "mlflow_app", "operations", "contract", "store", "crash", "packaging")
# The one that runs, if any.
_POSTGRES: list[PostgresServer] = []


def pytest_configure() -> None:
    """Commands heed Ctrl-C, also where a shell runs the tests in the background, and has them ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _turn(item.path.relative_to(Path(__file__).parent)))


def _turn(path: Path) -> tuple[int, int]:
    return _place_in(LONG_FILES, path.as_posix()), _place_in(HEAVY_FOLDERS, path.parts[0])


def _place_in(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else len(names)


class ByFileOrServer(LoadScopeScheduling):
    """A file's tests go to one worker, and so do all tests on one older server: each of them is started once."""

    def _split_scope(self, nodeid: str) -> str:
        server = re.search(r"mlflow-\d[\d.]*", nodeid)
        return server.group() if server else nodeid.split("::", 1)[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    return ByFileOrServer(config, log)


@pytest.fixture(autouse=True)
def only_the_tests_own_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "RECONCILER_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    # No credentials file and no netrc of the person who runs the tests.
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="session", autouse=True)
def new_databases_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty database of each kind is upgraded once in this process; the others are copies of it.

    Commands and daemons are processes of their own, and upgrade as ever; so do databases with something in them.
    """
    template = tmp_path_factory.mktemp("template") / "audit.db"
    schema.upgrade(f"sqlite:///{template}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "upgrade", _copying(template, schema.upgrade))
        yield


def _copying(template: Path, upgrade: Callable[..., str]) -> Callable[..., str]:
    def copied(url: str, *progress: Any) -> str:
        if _copied_file(template, url) or any(server.upgrade(url, upgrade) for server in _POSTGRES):
            return schema.head()
        return upgrade(url, *progress)

    return copied


def _copied_file(template: Path, url: str) -> bool:
    path = Path(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or path.exists() or not path.parent.is_dir() or "?" in url:
        return False
    try:
        shutil.copy(template, path)
    except OSError:
        return False
    return True


@pytest.fixture(scope="session", autouse=True)
def servers_are_forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """`mlflow server` of this environment is forked, and imports little; the tables of a new SQLite file are copied.

    Those of other environments start as users start them, and in the long run all do.
    """
    if os.environ.get("LONG_TESTS"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "_start", _forked(server._start, tmp_path_factory))
        yield


_MLFLOWS_TABLES = "import sys; from mlflow.store.db import utils; " + (
    "utils._initialize_tables(utils.create_sqlalchemy_engine(sys.argv[1]))"
)


def _forked(start: Callable[..., Any], folders: pytest.TempPathFactory) -> Callable[..., Any]:
    @functools.cache
    def template() -> Path:
        path = folders.mktemp("tables") / "mlflow.db"
        done = forker.run(forker.MLFLOW, "-c", _MLFLOWS_TABLES, f"sqlite:///{path}", environment=os.environ)
        assert done.returncode == 0, done.stderr
        return path

    def started(command: list[str], environment: Mapping[str, str], log: Path) -> Any:
        if command[0] != sys.executable:
            return start(command, environment, log)
        [*_, database] = [value for option, value in itertools.pairwise(command) if option == "--backend-store-uri"]
        _copied_file(template(), database)
        log.write_bytes(b"")
        return forker.start(forker.MLFLOW, "mlflow", *command[3:], environment=environment, out=log)

    return started


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as uri:
        yield uri


@pytest.fixture(scope="session")
def older_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OlderServers]:
    servers = OlderServers(tmp_path_factory.mktemp("older"))
    yield servers
    servers.stop()


@pytest.fixture(scope="session")
def app_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server with our app, which protects Production and @champion."""
    targets = {"TRANSITION_REQUESTS_TARGETS": "Production,@champion"}
    directory = tmp_path_factory.mktemp("app")
    with mlflow_server(directory, "--app-name", "transition-requests", variables=targets) as uri:
        yield uri


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    # Not below pytest's folder: as root the server is another user, whom every pytest that starts shuts out.
    with tempfile.TemporaryDirectory(prefix="reconciler-postgres-", ignore_cleanup_errors=True) as directory:
        server = PostgresServer(Path(directory))
        _POSTGRES.append(server)
        yield server
        _POSTGRES.remove(server)
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def audit_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/audit.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()
