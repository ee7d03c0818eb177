"""How long `audit report --html` takes for a period with many decisions, and how much it writes.

    make bench BENCH_ARGS=html
    make bench BENCH_ARGS='html --decisions 250000 --write'

Of a million decisions a quarter has about 250,000. Each rests on 8 kB of evidence; all are of the period.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.audit import DATABASES, Grown
from bench.pages import replace_section

HEADING = "Reports as pages"
_COMMAND = Path(sys.executable).with_name("mlflow-reconciler")


def measure(url: str, decisions: int) -> Iterator[tuple[str, str]]:
    grown = Grown(url)
    grown.grow_to(decisions)
    grown.engine.dispose()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "report")
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        variables = {**os.environ, "RECONCILER_AUDIT__URL": url}
        command: Sequence[str | Path] = [_COMMAND, "audit", "report", "--html", str(place), "--since", "90d"]
        subprocess.run(command, env=variables, check=True, capture_output=True)
        took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        sizes = {path.name: path.stat().st_size for path in place.iterdir()}
    long = sum(size for name, size in sizes.items() if name.endswith(".csv"))
    yield "seconds on the clock", f"{took:.1f}"
    yield "seconds of the processor", f"{after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.1f}"
    yield "pages and dossiers", f"{len(sizes)} files, {(sum(sizes.values()) - long) / 1e6:.1f} MB"
    yield "CSV beside them", f"{long / 1e6:.0f} MB"
    yield "most memory", f"{after.ru_maxrss / 1024:.0f} MB"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="bench html", description=__doc__)
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
    "`audit report --html` of a period with so many decisions, each with 8 kB of evidence: about what a quarter has\n"
    "of a million. Seconds of the processor count where others work on the machine, too. Made by\n"
    "`make bench BENCH_ARGS='html --decisions 250000 --write'`."
)
