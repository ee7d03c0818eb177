"""What a command of the product costs, as it is typed."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_COMMAND = Path(sys.executable).with_name("mlflow-reconciler")
_ROUNDS, _SHOWN = 5, 100_000
# A process between: the kernel's account of children is of all that a process ever had.
_MEASURED = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
took, spent = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
print("measured", took, spent.ru_utime + spent.ru_stime, spent.ru_maxrss, file=sys.stderr)
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """By the kernel's account.

    Args:
        clock: seconds.
        cpu: seconds of the processors, of all processes of the command together.
        memory: most resident memory of one of them, in MB.
        output: how what the command wrote to stdout begins: it may be more than fits into memory.
        written: how many bytes that was.
    """

    clock: float
    cpu: float
    memory: int
    output: str
    written: int


def cost_of(url: str, *arguments: str) -> Cost:
    """Of a command that reads the audit database at that URL.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    return _measured({**os.environ, "RECONCILER_AUDIT__URL": url}, str(_COMMAND), *arguments)


def unit() -> float:
    """Seconds of the processors for `alembic --help`, which tells how fast this machine is just now."""
    alembic = str(_COMMAND.with_name("alembic"))
    return statistics.median(_measured(os.environ, alembic, "--help").cpu for _ in range(_ROUNDS))


def _measured(variables: Mapping[str, str], *command: str) -> Cost:
    with tempfile.TemporaryFile("w+") as stdout:
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, *command],
            env=dict(variables),
            check=True,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        written = os.fstat(stdout.fileno()).st_size
        stdout.seek(0)
        output = stdout.read(_SHOWN)
    found = re.search(r"^measured (\S+) (\S+) (\d+)$", done.stderr, re.MULTILINE)
    assert found is not None, done.stderr
    return Cost(float(found[1]), float(found[2]), int(found[3]) // 1024, output, written)
