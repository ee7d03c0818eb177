"""Resident memory of `run`, on SQLite and on PostgreSQL, while nothing is to be done.

python -m bench.memory
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from reconciler.audit import schema
from reconciler.demo.server import mlflow_server
from tests.postgres import PostgresServer

CYCLES = (100, 1000)
POLICY = """\
version: 1
rules:
  - name: accuracy
    targets: [Production]
    require: [{metric: validation_accuracy, min: 0.9}]
"""


def configured(uri: str, url: str, policy: Path) -> dict[str, str]:
    """The environment of a command."""
    return {
        **os.environ,
        "RECONCILER_REGISTRY__URI": uri,
        "RECONCILER_AUDIT__URL": url,
        "RECONCILER_POLICY": str(policy),
    }


@contextlib.contextmanager
def daemon(uri: str, url: str, place: Path) -> Iterator[tuple[psutil.Process, Path]]:
    """The process, and its log."""
    policy, log = place / "policy.yaml", place / "daemon.log"
    policy.write_text(POLICY)
    schema.upgrade(url)
    environment = configured(uri, url, policy) | {
        "RECONCILER_SCHEDULE__INTERVAL": "0.03",
        "RECONCILER_SCHEDULE__JITTER": "0",
        # Idle cycles are logged at DEBUG.
        "RECONCILER_LOG__LEVEL": "debug",
    }
    with log.open("wb") as output:
        command = [str(Path(sys.executable).with_name("mlflow-reconciler")), "run"]
        process = subprocess.Popen(command, env=environment, stderr=output)
        try:
            yield psutil.Process(process.pid), log
        finally:
            process.terminate()
            process.wait(20)


def resident(uri: str, url: str, place: Path) -> list[float]:
    """Its MB after so many idle cycles."""
    sizes = []
    with daemon(uri, url, place) as (process, log):
        for cycles in CYCLES:
            while log.read_bytes().count(b"cycle: ") < cycles:
                time.sleep(0.1)
            sizes.append(process.memory_info().rss / 1e6)
    return sizes


def measure(uri: str) -> list[str]:
    """Rows of the table."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as data:
        place, server = Path(folder), PostgresServer(Path(data))
        on_sqlite = resident(uri, f"sqlite:///{place / 'audit.db'}", place)
        on_postgresql = resident(uri, server.new_database(), place)
        server.stop()
    early, late = (f"{sqlite:.1f} MB, {other:.1f} MB" for sqlite, other in zip(on_sqlite, on_postgresql, strict=True))
    return [
        f"| resident memory of `run` after {CYCLES[0]} idle cycles, on SQLite and on PostgreSQL | {early} |",
        f"| the same after {CYCLES[1]:,} | {late} |",
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, mlflow_server(Path(folder)) as uri:
        print("\n".join(measure(uri)))


if __name__ == "__main__":
    main()
