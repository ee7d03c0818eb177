"""SQLite in a file and PostgreSQL on the same machine, for what is measured on both."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.sections import table
from tests.postgres import PostgresServer


def of_databases(parser: argparse.ArgumentParser, decisions: int) -> argparse.ArgumentParser:
    """With the options of what is measured on both; so many decisions are in each at the most."""
    parser.add_argument("--decisions", type=int, default=decisions)
    parser.add_argument("--only", choices=list(_MADE))
    return parser


def databases(asked: Any) -> Iterator[tuple[str, str]]:
    """The name and the URL of each that is asked for; it is empty, and there until the next one."""
    for kind, made in _MADE.items():
        if asked.only in {None, kind}:
            with made() as url:
                yield kind, url


def each_database(asked: Any, measured: Callable[[str, int], Iterable[tuple[str, str]]]) -> Iterator[str]:
    """The lines of a table for each."""
    for kind, url in databases(asked):
        rows = measured(url, asked.decisions)
        yield from (*table(f"{kind}, {asked.decisions:,} decisions", f"{os.cpu_count()} cores", rows), "")


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/audit.db"


@contextmanager
def _postgresql() -> Iterator[str]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder))
        yield server.new_database()
        server.stop()


_MADE = {"sqlite": _sqlite, "postgresql": _postgresql}
