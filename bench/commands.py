"""What a command of the product costs, as it is typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_COMMAND = Path(sys.executable).with_name("mlflow-reconciler")
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
        output: what the command wrote to stdout.
    """

    clock: float
    cpu: float
    memory: int
    output: str


def cost_of(url: str, *arguments: str) -> Cost:
    """Of a command that reads the audit database at that URL.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, "-c", _MEASURED, str(_COMMAND), *arguments]
    variables = {**os.environ, "RECONCILER_AUDIT__URL": url}
    done = subprocess.run(command, env=variables, check=True, capture_output=True, text=True)
    found = re.search(r"^measured (\S+) (\S+) (\d+)$", done.stderr, re.MULTILINE)
    assert found is not None, done.stderr
    return Cost(float(found[1]), float(found[2]), int(found[3]) // 1024, done.stdout)
