"""What a cycle costs where very much is open, or very many versions have to be looked at.

make bench BENCH_ARGS=large
make bench BENCH_ARGS='large --write'
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import sweep, waiting
from bench.sections import Section

_SECTION = Section(
    "large",
    "A large registry",
    "CPU is that of the daemon alone. The requests wait on a server with the app, in another process. The Databricks\n"
    "workspace is simulated in memory, minutes included. Made by `make bench BENCH_ARGS='large --write'`.",
)


def main(arguments: Sequence[str]) -> None:
    asked = _SECTION.parser(__doc__).parse_args(arguments)
    _SECTION.make(asked, _table())


def _table() -> Iterator[str]:
    yield from ("| measured | figure |", "|---|---|")
    with tempfile.TemporaryDirectory() as place:
        yield from waiting.measure(Path(place))
    yield from sweep.measure()
