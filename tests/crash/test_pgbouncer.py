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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.log.verifying import verify
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.running.pauses import PAUSE, RESUME, note_pause
from tests.crash.test_nemesis import replicas, until
from tests.databricks_double import workspace
from tests.postgres import PostgresServer
from tests.roles import login
from tests.store.test_log import decide

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed (.ci/run installs it)")
    url = postgres.new_database()
    schema.upgrade(url)
    return url


@pytest.fixture
def bounced(database: str) -> Iterator[str]:
    """The URL of a new database, through pgbouncer with fewer sessions than it has clients."""
    with pgbouncer(database) as through:
        yield through(str(make_url(database).username))


@contextmanager
def pgbouncer(database: str, *logins: str) -> Iterator[Callable[[str], str]]:
    """Gives the URL through pgbouncer for a login: the database's own, or one of these."""
    assert PGBOUNCER is not None
    direct = make_url(database)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    host = direct.host or dict(direct.query).get("host")
    # It refuses to run as root, and must read its settings: not below pytest's folder, which is its owner's alone.
    user = pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="reconciler-pgbouncer-") as directory:
        settings, log, users = (Path(directory, name) for name in ("pgbouncer.ini", "log", "users"))
        users.write_text("".join(f'"{name}" "{direct.password or ""}"\n' for name in (direct.username, *logins)))
        settings.write_text(
            f"[databases]\n{direct.database} = host={host} port={direct.port or 5432} dbname={direct.database}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = trust\nauth_file = {users}\n"
            "pool_mode = transaction\ndefault_pool_size = 2\nunix_socket_dir =\n"
        )
        # The server's socket lies in its data folder, which only its owner may enter.
        for folder in (Path(directory), Path(host or "/"), Path(host or "/").parent):
            folder.chmod(folder.stat().st_mode | 0o011)
        for file in (settings, users):
            file.chmod(0o644)
        with log.open("wb") as output:
            process = subprocess.Popen([PGBOUNCER, str(settings)], stdout=output, stderr=output, user=user)
        try:
            while not _listens(port):
                assert process.poll() is None, f"pgbouncer ended: {log.read_text()[-500:]}"
                time.sleep(0.05)
            yield lambda login: f"postgresql+psycopg://{login}@127.0.0.1:{port}/{direct.database}"
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


def test_roles_have_their_rights_and_no_others_behind_it(database: str) -> None:
    """A session that a daemon had goes to an auditor next: neither may what the other may."""
    logins = {role: str(make_url(login(database, role)).username) for role in ("daemon", "operator", "auditor")}
    with pgbouncer(database, *logins.values()) as through:
        engines = {role: make_engine(through(name)) for role, name in logins.items()}
        for _ in range(5):
            decide(engines["daemon"], 2)
            assert verify(engines["auditor"]).differences == ()
            note_pause(engines["operator"], PAUSE, "a test", "ada")
            note_pause(engines["operator"], RESUME, "", "ada")
            for role, refused in (
                ("auditor", "INSERT INTO pause_events (at, action, reason, person) VALUES (now(), 'pause', '', '')"),
                ("auditor", "UPDATE log_state SET size = 0"),
                ("operator", "DELETE FROM open_requests"),
                ("daemon", "UPDATE evidence SET fields = 0"),
            ):
                with pytest.raises(DBAPIError, match="permission denied"), engines[role].begin() as connection:
                    connection.execute(text(refused))
        for engine in engines.values():
            engine.dispose()
