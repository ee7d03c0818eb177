"""How long it takes to judge stored decisions again: `audit reperform`, as it is typed.

    make bench BENCH_ARGS=reperform
    make bench BENCH_ARGS='reperform --decisions 100000 --write'

Each decision rests on 8 kB of evidence in about 60 fields, and has three checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.audit import grow
from bench.commands import cost_of
from bench.databases import each_database, of_databases
from bench.sections import Section

_SECTION = Section(
    "reperform",
    "Judging decisions again",
    "`audit reperform` over all decisions, each with 8 kB of evidence and three checks, in a process for each core.\n"
    "Seconds of the processors count where others work on the machine, too. Made by\n"
    "`make bench BENCH_ARGS='reperform --decisions 100000 --write'`.",
)


def measure(url: str, decisions: int) -> Iterator[tuple[str, str]]:
    grow(url, decisions)
    cost = cost_of(url, "audit", "reperform")
    assert f"{decisions} agree" in cost.output
    yield "seconds on the clock", f"{cost.clock:.1f}"
    yield "seconds of the processors, all processes together", f"{cost.cpu:.1f}"
    yield "decisions a second and core", f"{decisions / cost.cpu:,.0f}"
    yield "most memory of one process", f"{cost.memory} MB"


def main(arguments: Sequence[str]) -> None:
    asked = of_databases(_SECTION.parser(__doc__), 20_000).parse_args(arguments)
    _SECTION.make(asked, each_database(asked, measure))
