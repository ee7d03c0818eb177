"""How long it takes to judge stored decisions again: `audit reperform` and `policy replay`, as they are typed.

    make bench BENCH_ARGS=reperform
    make bench BENCH_ARGS='reperform --decisions 100000 --write'

Each decision rests on 8 kB of evidence in about 60 fields, and has three checks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.audit import grow
from bench.commands import Cost, cost_of
from bench.databases import each_database, of_databases
from bench.evidence import POLICY
from bench.sections import Section

_SECTION = Section(
    "reperform",
    "Judging decisions again",
    "`audit reperform` over all decisions, and `policy replay` of a policy with a stricter bound. Each decision\n"
    "has 8 kB of evidence and three checks. Each core runs one process. If the machine has other work, compare\n"
    "the seconds of the processors. Made by `make bench BENCH_ARGS='reperform --decisions 100000 --write'`.",
)


def measure(url: str, decisions: int) -> Iterator[tuple[str, str]]:
    grow(url, decisions)
    again = cost_of(url, "audit", "reperform")
    assert f"{decisions} agree" in again.output
    yield from _told("`audit reperform`", again, decisions)
    with tempfile.TemporaryDirectory() as folder:
        stricter = Path(folder, "policy.yaml")
        stricter.write_text(POLICY.replace("min: 0", "min: 0.5"))
        replayed = cost_of(url, "policy", "replay", str(stricter))
    assert f"of {decisions} decisions" in replayed.output
    yield from _told("`policy replay`", replayed, decisions)


def _told(command: str, cost: Cost, decisions: int) -> Iterator[tuple[str, str]]:
    yield f"{command}: seconds on the clock", f"{cost.clock:.1f}"
    yield "seconds of the processors, all processes together", f"{cost.cpu:.1f}"
    yield "decisions a second and core", f"{decisions / cost.cpu:,.0f}"
    yield "most memory of one process", f"{cost.memory} MB"


def main(arguments: Sequence[str]) -> None:
    asked = of_databases(_SECTION.parser(__doc__), 20_000).parse_args(arguments)
    _SECTION.make(asked, each_database(asked, measure))
