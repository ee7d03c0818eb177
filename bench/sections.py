"""Sections of the page of performance: what a measurement prints, and writes where it is asked to."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.pages import replace_section

_PAGE = Path("docs/performance.md")


@dataclass(frozen=True, slots=True)
class Section:
    """
    Args:
        name: of the measurement, on the command line.
        introduction: what stands above the tables.
    """

    name: str
    heading: str
    introduction: str

    def parser(self, about: str | None) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(prog=f"bench {self.name}", description=about)
        parser.add_argument("--write", action="store_true", help=f"also write the section into {_PAGE}")
        return parser

    def make(self, asked: Any, lines: Iterable[str]) -> None:
        """Prints each line as soon as it is measured."""
        made = []
        for line in lines:
            print(line, flush=True)
            made.append(line)
        if asked.write:
            replace_section(_PAGE, self.heading, [self.introduction, "", *made])


def table(what: str, unit: str, measured: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The lines of a table of two columns."""
    yield from (f"| {what} | {unit} |", "|---|---|")
    for name, figure in measured:
        yield f"| {name} | {figure} |"
