"""How an audit database is opened: read-only means read-only, and only `db upgrade` makes one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from reconciler.audit import schema
from reconciler.audit.database import Access, audit_errors, opened
from reconciler.ports import AuditUnavailable
from tests.postgres import PostgresServer

# As a user who is not root: root may write in any folder.
READ_AS_NOBODY = """
import os, sys
import sqlalchemy.dialects.sqlite
from reconciler.audit import schema
from reconciler.audit.database import Access
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.domain.errors import ReconcilerError
schema.head()
# Everything is imported by now: the interpreter may lie where only root can read.
os.setgid(65534); os.setuid(65534)
try:
    with schema.opened_at_head(sys.argv[1], Access.READ) as engine:
        print(len(AuditReader(engine).decisions(DecisionFilter(), None)))
except ReconcilerError as error:
    sys.exit(f"{int(error.exit_code)} {error}")
"""
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/audit.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def shelf() -> Iterator[Path]:
    """A folder that everybody may read and only its owner may write; pytest's own are closed to others."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def read_as_nobody(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", READ_AS_NOBODY, f"sqlite:///{path}"]
    # `make coverage` would measure this process too, and fail to write where nobody may write.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env=environment)


def test_a_reader_cannot_write_whatever_it_is_told_to_do(url: str) -> None:
    schema.upgrade(url)
    with (
        schema.opened_at_head(url, Access.READ) as engine,
        pytest.raises(AuditUnavailable, match="readonly database|read-only transaction"),
        audit_errors(engine),
        engine.begin() as connection,
    ):
        connection.execute(text("UPDATE alembic_version SET version_num = 'x'"))
    assert schema.current(url) == schema.head()


@pytest.mark.parametrize("access", [Access.READ, Access.WRITE])
def test_a_mistyped_path_makes_no_file(tmp_path: Path, access: Access) -> None:
    with (
        opened(f"sqlite:///{tmp_path}/audti.db", access) as engine,
        pytest.raises(AuditUnavailable, match=r"audti\.db"),
        audit_errors(engine),
        engine.connect(),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_reader_leaves_no_files_beside_the_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    with schema.opened_at_head(url, Access.READ):
        pass
    assert [one.name for one in tmp_path.iterdir()] == ["audit.db"]


@needs_root
def test_who_may_not_write_in_the_folder_reads_a_file_that_nobody_writes(shelf: Path) -> None:
    path = shelf / "audit.db"
    schema.upgrade(f"sqlite:///{path}")
    path.chmod(0o644)
    assert [one.name for one in shelf.iterdir()] == ["audit.db"]
    done = read_as_nobody(path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
    assert [one.name for one in shelf.iterdir()] == ["audit.db"]


@needs_root
def test_who_may_not_write_in_the_folder_of_a_writer_reads_it_or_is_told_how_to_take_a_copy(shelf: Path) -> None:
    path = shelf / "audit.db"
    schema.upgrade(f"sqlite:///{path}")
    with opened(f"sqlite:///{path}", Access.WRITE) as engine, engine.begin() as connection:
        connection.execute(text("SELECT 1"))
        for one in shelf.iterdir():
            one.chmod(0o644)
        shared = read_as_nobody(path)
        assert (shared.returncode, shared.stdout) == (0, "0\n"), shared.stderr
        path.with_name("audit.db-shm").chmod(0o600)
        done = read_as_nobody(path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"69 audit database sqlite:///{path}: a daemon has it open"), done.stderr
    assert "mlflow-reconciler db backup COPY" in done.stderr
    assert len(done.stderr.splitlines()) == 1
