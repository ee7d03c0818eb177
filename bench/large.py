"""What a cycle costs where very much is open, or very many versions have to be looked at.

make bench BENCH_ARGS=large
make bench BENCH_ARGS='large --write'
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import sweep, waiting
from bench.pages import replace_section

HEADING = "A large registry"
_INTRODUCTION = (
    "CPU is that of the daemon alone. The requests wait on a server with the app, which is a process of its own; the\n"
    "workspace is a double in memory, and its minutes are simulated. Made by `make bench BENCH_ARGS='large --write'`."
)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="bench large", description=__doc__)
    parser.add_argument("--write", action="store_true", help="also write the table into docs/performance.md")
    asked: Any = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        rows = [*waiting.measure(Path(place)), *sweep.measure()]
    lines = ["| measured | figure |", "|---|---|", *rows]
    print("\n".join(lines))
    if asked.write:
        replace_section(Path("docs/performance.md"), HEADING, [_INTRODUCTION, "", *lines])
