"""A real MariaDB, where the machine has one, for the long run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

_MISSING = (
    "MariaDB belongs to the long run: LONG_TESTS=1"
    if not os.environ.get("LONG_TESTS")
    else "there is no mariadbd here: apt install mariadb-server"
    if shutil.which("mariadbd") is None
    else "there is no driver for MariaDB here: pip install pymysql"
    if find_spec("pymysql") is None
    else ""
)
on_mariadb = pytest.mark.skipif(bool(_MISSING), reason=_MISSING)


@contextmanager
def mariadb(directory: Path) -> Iterator[str]:
    """A MariaDB of its own on loopback, without a password: the URL of an empty database."""
    directory.mkdir(parents=True)
    data, port = directory / "data", _free_port()
    # Debian's MariaDB needs an explicit user if run as root.
    user = ["--user=root"] if os.geteuid() == 0 else []
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", *user],
        check=True, capture_output=True,
    )  # fmt: skip
    command = [
        "mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={directory}/s", f"--port={port}",
        "--bind-address=127.0.0.1", f"--pid-file={directory}/pid", "--innodb-flush-log-at-trx-commit=0", *user,
    ]  # fmt: skip
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _until_up(port)
            yield f"mysql+pymysql://root:@127.0.0.1:{port}/mlflow"
        finally:
            process.terminate()


def _until_up(port: int) -> None:
    import pymysql

    deadline = time.monotonic() + 60
    while True:
        try:
            connection: Any = pymysql.connect(host="127.0.0.1", port=port, user="root", password="")
            break
        except pymysql.err.OperationalError:
            assert time.monotonic() < deadline, "mariadbd did not answer within 60 s"
            time.sleep(0.2)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE mlflow")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
