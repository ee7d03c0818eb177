"""What a command costs before it does anything: its CPU time, compared with `alembic --help` in the same run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from reconciler.policy.file import parse_policy

BIN = Path(sys.executable).parent
ALEMBIC = "alembic --help"
COMMANDS = ("audit list", "status", "request list", "explain bench-1 1 Production")
ROUNDS = 7


def measure(environment: Mapping[str, str]) -> list[str]:
    """Rows of a table. The commands alternate, so that all see the same machine load."""
    lines = {ALEMBIC: [str(BIN / "alembic"), "--help"]}
    lines |= {name: [str(BIN / "mlflow-reconciler"), *name.split()] for name in COMMANDS}
    seconds: dict[str, list[float]] = {name: [] for name in lines}
    for number in range(ROUNDS + 1):
        for name, line in lines.items():
            spent = _cpu(line, environment)
            # The first round only fills the file cache.
            if number:
                seconds[name].append(spent)
    basis = statistics.median(seconds[ALEMBIC])
    return [f"| CPU of `{ALEMBIC}`, median of {ROUNDS} | {basis:.2f} s |"] + [
        f"| CPU of `{name}`, and its ratio to `{ALEMBIC}` | "
        f"{statistics.median(seconds[name]):.2f} s, {statistics.median(seconds[name]) / basis:.2f} |"
        for name in COMMANDS
    ]


def measure_policy() -> str:
    """A row of a table: what the largest policy costs to load."""
    checks = "".join(f"      - {{metric: metric_{number}, min: 0.9}}\n" for number in range(50))
    rule = "  - name: rule-{0}\n    models: [team-{0}-*]\n    targets: [Production]\n    require:\n"
    text = "version: 1\nrules:\n" + "".join(rule.format(number) + checks for number in range(300))
    began = time.process_time()
    parse_policy(text, "policy.yaml")
    spent = time.process_time() - began
    yaml.load(text, Loader=yaml.CSafeLoader)
    alone = time.process_time() - began - spent
    name = "CPU to load a policy of 300 rules with 50 checks each, and its ratio to libyaml alone"
    return f"| {name} | {spent:.2f} s, {spent / alone:.2f} |"


def _cpu(line: Sequence[str], environment: Mapping[str, str]) -> float:
    before = os.times()
    done = subprocess.run(line, env=dict(environment), capture_output=True, text=True, check=False)
    # 1 and 3 are answers of `explain` and `request`, not failures.
    if done.returncode not in {0, 1, 3}:
        raise RuntimeError(f"{' '.join(line)}: exit {done.returncode}: {done.stderr}")
    after = os.times()
    # The system adds a child's CPU time once it has ended.
    return after.children_user + after.children_system - before.children_user - before.children_system
