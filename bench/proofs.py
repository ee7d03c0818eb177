"""What it costs to prove that nobody rewrote the record: entries a second, a dossier, and the verifier without product.

    make bench BENCH_ARGS=proofs
    make bench BENCH_ARGS='proofs --decisions 100000 --write'

Each decision rests on 8 kB of evidence in about 60 fields, each with a digest of its own, and has two entries in the
log: itself, with five checks, and its outcome.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, select

from bench.audit import Grown
from bench.sections import Section, table
from reconciler.audit.database import Access, one_state, opened
from reconciler.audit.dossiers import dossier_of
from reconciler.audit.log.head_files import read
from reconciler.audit.log.heads import HeadKeeper
from reconciler.audit.log.verifying import Asked, verify
from reconciler.audit.tables import DecisionRow

_SECTION = Section(
    "proofs",
    "Proving that nobody rewrote the record",
    "Seconds are those of the processor. A decision has two entries, and 8 kB of evidence in some 60 fields, whose\n"
    "digests take most of the time. A long log is compared in as many processes as the machine has cores. Made by\n"
    "`make bench BENCH_ARGS='proofs --decisions 40000 --write'`.",
)
_TOOL = Path(__file__).parents[1] / "tools" / "verify_audit.py"
# Of a hundred days of decisions those of the last one.
_OF_A_DAY = 100


def measure(folder: Path, decisions: int) -> Iterator[tuple[str, str]]:
    url, path = f"sqlite:///{folder}/audit.db", folder / "audit.heads"
    grown = Grown(url)
    keeper = HeadKeeper(grown.engine, path)
    grown.grow_to(decisions - decisions // _OF_A_DAY)
    keeper.keep()
    grown.grow_to(decisions)
    keeper.keep()
    grown.engine.dispose()
    heads = read(path).heads
    with opened(url, Access.READ) as engine:
        took, found = _timed(lambda: verify(engine, asked=Asked(heads)))
        assert not found.differences
        yield "`audit verify`, entries a second", f"{found.size / took:,.0f}"
        took, since = _timed(lambda: verify(engine, asked=Asked(since=heads[0])))
        yield f"`audit verify --since` yesterday's head, {since.size - since.first:,} entries", f"{took:.2f} s"
        with one_state(engine) as connection, nodes_read(engine) as nodes:
            ids = connection.scalars(select(DecisionRow.decision_id).limit(50)).all()
            took, _ = _timed(lambda: [dossier_of(connection, id, heads) for id in ids])
        yield "a dossier", f"{took / len(ids) * 1000:.1f} ms"
        yield "nodes of the log that its proofs read, at most", str(max(nodes))
    command = [sys.executable, "-I", str(_TOOL), str(folder / "audit.db"), "--head", str(path)]
    took, _ = _timed(lambda: subprocess.run(command, check=True, capture_output=True))
    yield "`tools/verify_audit.py`, entries a second", f"{found.size / took:,.0f}"


def _timed(act: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of this process and of those that it started: others may work on the machine."""
    began = _cpu()
    result = act()
    return _cpu() - began, result


def _cpu() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


@contextmanager
def nodes_read(engine: Any) -> Iterator[list[int]]:
    """How many nodes each statement asks for."""
    counted: list[int] = []

    def count(*call: Any) -> None:
        counted.append(call[2].count("log_nodes.position = "))

    event.listen(engine, "before_cursor_execute", count)
    yield counted
    event.remove(engine, "before_cursor_execute", count)


def main(arguments: Sequence[str]) -> None:
    parser = _SECTION.parser(__doc__)
    parser.add_argument("--decisions", type=int, default=20_000)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), asked.decisions)
        _SECTION.make(asked, table(f"SQLite, {asked.decisions:,} decisions", "one core", rows))
