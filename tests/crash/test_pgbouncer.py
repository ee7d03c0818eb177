"""Replicas behind a real pgbouncer in transaction mode, which hands a session to whoever has a transaction."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.reader import AuditReader, DecisionFilter
from tests.crash.test_nemesis import replicas, until
from tests.databricks_double import workspace
from tests.postgres import PostgresServer

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@pytest.fixture
def bounced(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a new database, through pgbouncer with fewer sessions than it has clients."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed (.ci/run installs it)")
    direct = make_url(postgres.new_database())
    schema.upgrade(direct.render_as_string(hide_password=False))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    host = direct.host or dict(direct.query).get("host")
    # It refuses to run as root, and must read its settings: not below pytest's folder, which is its owner's alone.
    user = pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="reconciler-pgbouncer-") as directory:
        settings, log = Path(directory, "pgbouncer.ini"), Path(directory, "log")
        settings.write_text(
            f"[databases]\n{direct.database} = host={host} port={direct.port or 5432} dbname={direct.database} "
            f"user={direct.username} {f'password={direct.password}' if direct.password else ''}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\npool_mode = transaction\n"
            "default_pool_size = 2\nunix_socket_dir =\n"
        )
        # The server's socket lies in its data folder, which only its owner may enter.
        for folder in (Path(directory), Path(host or "/"), Path(host or "/").parent):
            folder.chmod(folder.stat().st_mode | 0o011)
        settings.chmod(0o644)
        with log.open("wb") as output:
            process = subprocess.Popen([PGBOUNCER, str(settings)], stdout=output, stderr=output, user=user)
        try:
            while not _listens(port):
                assert process.poll() is None, f"pgbouncer ended: {log.read_text()[-500:]}"
                time.sleep(0.05)
            yield f"postgresql+psycopg://{direct.username}@127.0.0.1:{port}/{direct.database}"
        finally:
            process.terminate()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_replicas_behind_it_decide_each_request_once(bounced: str, tmp_path: Path) -> None:
    with workspace() as held, replicas(tmp_path, bounced, held.uri, 3, interval=0.2):
        for number in range(120):
            held.ask(f"m{number}", held.version(f"m{number}", "0.95" if number % 2 else "0.5"))
        reader = AuditReader(make_engine(bounced))
        until(lambda: not held.requests, "every request resolved", 90)
        until(lambda: all(row["outcome"] for row in reader.decisions(DecisionFilter(), None)), "outcomes", 60)
        rows = reader.decisions(DecisionFilter(), None)
    assert Counter(row["model"] for row in rows) == {f"m{number}": 1 for number in range(120)}
    assert {row["outcome"] for row in rows} == {"applied"}
    assert len(held.heard) == 120
