"""How long `audit report --html` takes for a period with many decisions, and how much it writes.

    make bench BENCH_ARGS=html
    make bench BENCH_ARGS='html --decisions 250000 --write'

Of a million decisions a quarter has about 250,000. Each rests on 8 kB of evidence; all are of the period.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.audit import grow
from bench.commands import cost_of
from bench.databases import each_database, of_databases
from bench.sections import Section

_SECTION = Section(
    "html",
    "Reports as pages",
    "`audit report --html` of a period with as many decisions as the table says, each with 8 kB of evidence; a\n"
    "quarter of a year with a million decisions has about 250,000. If the machine has other work, compare the\n"
    "seconds of the processor. Made by `make bench BENCH_ARGS='html --decisions 250000 --write'`.",
)


def measure(url: str, decisions: int) -> Iterator[tuple[str, str]]:
    grow(url, decisions)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "report")
        cost = cost_of(url, "audit", "report", "--html", str(place), "--since", "90d")
        sizes = {path.name: path.stat().st_size for path in place.iterdir()}
    long = sum(size for name, size in sizes.items() if name.endswith(".csv"))
    yield "seconds on the clock", f"{cost.clock:.1f}"
    yield "seconds of the processor", f"{cost.cpu:.1f}"
    yield "pages and dossiers", f"{len(sizes)} files, {(sum(sizes.values()) - long) / 1e6:.1f} MB"
    yield "CSV beside them", f"{long / 1e6:.0f} MB"
    yield "most memory", f"{cost.memory} MB"


def main(arguments: Sequence[str]) -> None:
    asked = of_databases(_SECTION.parser(__doc__), 20_000).parse_args(arguments)
    _SECTION.make(asked, each_database(asked, measure))
