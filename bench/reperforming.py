"""How long it takes to judge stored decisions again: `audit reperform`, as it is typed.

    make bench BENCH_ARGS=reperform
    make bench BENCH_ARGS='reperform --decisions 100000 --write'

Each decision rests on 8 kB of evidence in about 60 fields, and has three checks.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.audit import DATABASES, Grown
from bench.pages import replace_section

HEADING = "Judging decisions again"
_COMMAND = Path(sys.executable).with_name("mlflow-reconciler")


def measure(url: str, decisions: int) -> Iterator[tuple[str, str]]:
    grown = Grown(url)
    grown.grow_to(decisions)
    grown.engine.dispose()
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    variables = {**os.environ, "RECONCILER_AUDIT__URL": url}
    done = subprocess.run([_COMMAND, "audit", "reperform"], env=variables, check=True, capture_output=True, text=True)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert f"{decisions} agree" in done.stdout
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    yield "seconds on the clock", f"{took:.1f}"
    yield "seconds of the processors, all processes together", f"{cpu:.1f}"
    yield "decisions a second and core", f"{decisions / cpu:,.0f}"
    yield "most memory of one process", f"{after.ru_maxrss / 1024:.0f} MB"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="bench reperform", description=__doc__)
    parser.add_argument("--decisions", type=int, default=20_000)
    parser.add_argument("--only", choices=list(DATABASES))
    parser.add_argument("--write", action="store_true", help="also write the table into docs/performance.md")
    asked: Any = parser.parse_args(arguments)
    lines: list[str] = []
    for kind, made in DATABASES.items():
        if asked.only in {None, kind}:
            with made() as url:
                lines += [f"| {kind}, {asked.decisions:,} decisions | {os.cpu_count()} cores |", "|---|---|"]
                lines += [f"| {name} | {value} |" for name, value in measure(url, asked.decisions)] + [""]
            print("\n".join(lines), flush=True)
    if asked.write:
        replace_section(Path("docs/performance.md"), HEADING, [_INTRODUCTION, "", *lines])


_INTRODUCTION = (
    "`audit reperform` over all decisions, each with 8 kB of evidence and three checks, in a process for each core.\n"
    "Seconds of the processors count where others work on the machine, too. Made by\n"
    "`make bench BENCH_ARGS='reperform --decisions 100000 --write'`."
)
