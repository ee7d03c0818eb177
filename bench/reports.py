"""What reports cost on a million decisions: each as it is typed, of a quarter, as JSON.

    make bench BENCH_ARGS='reports --write'
    make bench BENCH_ARGS='reports --only sqlite --decisions 100000'
    make bench BENCH_ARGS='reports --url sqlite:////var/tmp/year.db'

The history is that of `bench.year`: a year, with evidence, and in the log.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.commands import cost_of, unit
from bench.databases import databases, of_databases
from bench.sections import Section, table
from bench.year import TENURES, decisions_in, make

_SECTION = Section(
    "reports",
    "Reports of a quarter",
    "Each command as it is typed, start-up included; a quarter has a fourth of the decisions. The figures are the\n"
    "seconds of the processor (on PostgreSQL without the server's), their ratio to `alembic --help` in the same\n"
    "run, and the most resident memory. Made by `make bench BENCH_ARGS='reports --write'`, or by\n"
    "`reports --url URL --write` on a history that `python -m bench.year` made.",
)
_QUARTER = ("--since", "2025-07-01", "--until", "2025-10-01")
_NAMES = ("completeness", "bypasses", "drift", "operated", "policies", "decisions")
# In the quarter, and of a model of which it has several.
_MONTH = ("--model", "model-7", "--target", "Production", "--verdict", "approve", "--since", "2025-08-01")
_MB = 1_000_000


def measure(url: str) -> Iterator[tuple[str, str]]:
    basis = unit()

    def cost(*arguments: str) -> str:
        spent = cost_of(url, *arguments)
        size = f", {spent.written / _MB:,.0f} MB written" if spent.written > _MB else ""
        return f"{spent.cpu:.1f} s, {spent.cpu / basis:.1f}, {spent.memory} MB{size}"

    yield "`alembic --help`", f"{basis:.2f} s, 1"
    for name in _NAMES:
        yield f"`audit report {name}`, as JSON", cost("audit", "report", name, *_QUARTER, "--format", "json")
    id = cost_of(url, "audit", "list", *_MONTH, "--format", "csv", "--limit", "1").output.splitlines()[1].split(",")[0]
    yield "`audit list` of a model, a target and a verdict since August", cost("audit", "list", *_MONTH)
    yield "`audit show` by eight digits of an id", cost("audit", "show", id[:8])
    yield "`audit dossier`", cost("audit", "dossier", id)
    yield "`audit list --format csv` of everything", cost("audit", "list", "--format", "csv")


def main(arguments: Sequence[str]) -> None:
    parser = of_databases(_SECTION.parser(__doc__), 1_000_000)
    parser.add_argument("--url", action="append", help="of a history that bench.year made (default: it makes one)")
    asked = parser.parse_args(arguments)
    _SECTION.make(asked, _there(asked.url) if asked.url else _made(asked))


def _there(urls: Sequence[str]) -> Iterator[str]:
    for url in urls:
        yield from _of(url)
        yield ""


def _made(asked: Any) -> Iterator[str]:
    for _, url in databases(asked):
        with tempfile.TemporaryDirectory() as folder:
            make(url, asked.decisions, Path(folder) / "audit.heads")
        yield from _of(url)
        yield ""


def _of(url: str) -> Iterator[str]:
    kind, many = decisions_in(url)
    return table(f"{kind}, {many:,} decisions, {TENURES:,} tenures", "processor, ratio, memory", measure(url))
