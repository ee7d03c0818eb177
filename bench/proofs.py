"""What it costs to prove that nobody rewrote the record: entries a second, a dossier, and the verifier without product.

    make bench BENCH_ARGS=proofs
    make bench BENCH_ARGS='proofs --decisions 100000 --write'
    make bench BENCH_ARGS='proofs --url sqlite:////var/tmp/year.db --heads /var/tmp/audit.heads'

Each decision rests on 8 kB of evidence in about 60 fields, and has two entries in the log: itself, with five checks,
and its outcome. The history is that of `bench.year`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import event, select

from bench.commands import cost_of, unit
from bench.databases import databases, of_databases
from bench.sections import Section, table
from bench.year import decisions_in, make
from reconciler.audit.database import Access, one_state, opened
from reconciler.audit.dossiers import dossier_of
from reconciler.audit.evidence.tables import EvidenceRow
from reconciler.audit.log.head_files import read
from reconciler.audit.log.verifying import Asked, verify
from reconciler.audit.tables import DecisionRow

_SECTION = Section(
    "proofs",
    "Proving that nobody rewrote the record",
    "An entry is a leaf of the log: a decision with five checks and 8 kB of evidence in some 60 fields, or an\n"
    "outcome; a decision has both. To verify one, its row is read, its evidence hashed as one piece, and the leaf\n"
    "and the nodes above it compared with what is stored; evidence that was redacted, or written by an earlier\n"
    "release, is unpacked, and the digest of each field made again. Seconds are those of the processors, all\n"
    "processes together, on PostgreSQL without the server's: so many entries a second one core verifies. A long log\n"
    "is verified by as many processes as the machine has cores. The bare hashes are those of as much evidence by\n"
    "`hashlib` alone. Made by `make bench BENCH_ARGS='proofs --decisions 40000 --write'`, or, of a history that\n"
    "`python -m bench.year` made, by `proofs --url URL --heads FILE --write`.",
)
_TOOL = Path(__file__).parents[1] / "tools" / "verify_audit.py"
# Of a longer log the verifier without product, which is one process, is not waited for.
_FEW = 200_000
_SAMPLED, _ROUNDS = 500, 20


def measure(url: str, path: Path) -> Iterator[tuple[str, str]]:
    heads = read(path).heads
    yield "`alembic --help`", f"{unit():.2f} s"
    with opened(url, Access.READ) as engine:
        yield from _floor(engine)
        # As a command: what its processes needed is known once they have ended.
        size, spent = heads[-1].size, cost_of(url, "audit", "verify", "--head", str(path))
        yield "`audit verify`, entries a second and core", f"{size / spent.cpu:,.0f}"
        took, since = _timed(lambda: verify(engine, asked=Asked(since=heads[0])))
        yield f"`audit verify --since` yesterday's head, {since.size - since.first:,} entries", f"{took:.2f} s"
        with one_state(engine) as connection, nodes_read(engine) as nodes:
            ids = connection.scalars(select(DecisionRow.decision_id).limit(50)).all()
            took, made = _timed(lambda: [dossier_of(connection, id, heads) for id in ids])
        yield "a dossier", f"{took / len(ids) * 1000:.1f} ms"
        entries = len(made[0]["entries"])
        yield f"nodes of the log that the proofs of its {entries} entries read, at most", str(max(nodes))
        yield "for each of them, on average", str(max(nodes) // entries)
    if engine.dialect.name == "sqlite" and size < _FEW:
        command = [sys.executable, "-I", str(_TOOL), str(engine.url.database), "--head", str(path)]
        took, _ = _timed(lambda: subprocess.run(command, check=True, capture_output=True))
        yield "`tools/verify_audit.py`, entries a second", f"{size / took:,.0f}"


def _floor(engine: Any) -> Iterator[tuple[str, str]]:
    """What the processor needs to hash the evidence alone, of some decisions; the best of a few."""
    with one_state(engine) as connection:
        rows = connection.execute(select(EvidenceRow.salts, EvidenceRow.content).limit(_SAMPLED)).all()
    pieces = [bytes(salts) + bytes(content) for salts, content in rows]
    took = _quickest(lambda: [sha256(piece).digest() for piece in pieces])
    yield "bare hashes of the evidence: entries a second and core", f"{2 * len(pieces) / took:,.0f}"


def _quickest(act: Callable[[], object]) -> float:
    def once() -> float:
        began = time.process_time()
        act()
        return time.process_time() - began

    return min(once() for _ in range(_ROUNDS))


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
    parser = of_databases(_SECTION.parser(__doc__), 20_000)
    parser.add_argument("--url", action="append", help="of a history that bench.year made (default: it makes one)")
    parser.add_argument("--heads", action="append", type=Path, help="the heads that it made, one file for each URL")
    asked = parser.parse_args(arguments)
    _SECTION.make(asked, _there(asked.url, asked.heads) if asked.url else _made(asked))


def _there(urls: Sequence[str], heads: Sequence[Path]) -> Iterator[str]:
    for url, path in zip(urls, heads, strict=True):
        yield from _of(url, path)
        yield ""


def _made(asked: Any) -> Iterator[str]:
    for _, url in databases(asked):
        with tempfile.TemporaryDirectory() as folder:
            heads = Path(folder) / "audit.heads"
            make(url, asked.decisions, heads)
            yield from _of(url, heads)
            yield ""


def _of(url: str, heads: Path) -> Iterator[str]:
    kind, many = decisions_in(url)
    return table(f"{kind}, {many:,} decisions", "one core", measure(url, heads))
