"""What a command costs before it does anything: its CPU, beside that of `alembic --help` in the same run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

BIN = Path(sys.executable).parent
ALEMBIC = "alembic --help"
COMMANDS = ("audit list", "status", "request list", "explain bench-1 1 Production")
ROUNDS = 7


def measure(environment: Mapping[str, str]) -> list[str]:
    """Rows of a table; the commands alternate, so that all see the same machine."""
    lines = {ALEMBIC: [str(BIN / "alembic"), "--help"]}
    lines |= {name: [str(BIN / "mlflow-reconciler"), *name.split()] for name in COMMANDS}
    seconds: dict[str, list[float]] = {name: [] for name in lines}
    for number in range(ROUNDS + 1):
        for name, line in lines.items():
            spent = _cpu(line, environment)
            # The first round only fills the machine's cache of files.
            if number:
                seconds[name].append(spent)
    basis = statistics.median(seconds[ALEMBIC])
    return [f"| CPU of `{ALEMBIC}`, median of {ROUNDS} | {basis:.2f} s |"] + [
        f"| CPU of `{name}`, and its ratio to `{ALEMBIC}` | "
        f"{statistics.median(seconds[name]):.2f} s, {statistics.median(seconds[name]) / basis:.2f} |"
        for name in COMMANDS
    ]


def _cpu(line: Sequence[str], environment: Mapping[str, str]) -> float:
    before = os.times()
    done = subprocess.run(line, env=dict(environment), capture_output=True, text=True, check=False)
    # 1 and 3 are answers of `explain` and `request`, not failures.
    if done.returncode not in {0, 1, 3}:
        raise RuntimeError(f"{' '.join(line)}: exit {done.returncode}: {done.stderr}")
    after = os.times()
    # What the system counts of children that have ended.
    return after.children_user + after.children_system - before.children_user - before.children_system
