"""The tree in docs/architecture.md is the one that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def tree() -> dict[str, str]:
    """What each line of the tree says, by its path below `reconciler/`: what is indented lies in what stands above."""
    block = PAGE.partition("```text\nreconciler/\n")[2].partition("```")[0]
    said, above = {}, ""
    for line in block.splitlines():
        name, words = line.split(maxsplit=1)
        path = name.rstrip("/") if line.startswith("  ") and line[2] != " " else f"{above}/{name.rstrip('/')}"
        above = above if "/" in path else path
        said[path] = words
    return said


def test_the_tree_tells_every_folder_and_file_and_no_other() -> None:
    package = ROOT / "reconciler"
    there = {path.name for path in package.iterdir() if path.name not in {"__init__.py", "__pycache__", "py.typed"}}
    within = {path.parent.relative_to(package).as_posix() for path in package.glob("*/*/__init__.py")}
    assert set(tree()) == {name for name in there if not name.startswith("_")} | within


@pytest.mark.parametrize(
    ("looked_for", "path"),
    [
        ("the daemon", "daemon"),
        ("a file for each kind of check", "domain/checks"),
        ("a file for each report", "audit/reports"),
        ("what the account may do", "registry"),
        ("paging.py reads every list", "registry"),
        ("where an act happens", "cycle"),
    ],
)
def test_a_stranger_finds_what_he_looks_for(looked_for: str, path: str) -> None:
    assert looked_for in tree()[path]
    for file in re.findall(r"\w+\.py", tree()[path]):
        assert (ROOT / "reconciler" / path / file).exists(), file


def test_every_path_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", PAGE))
    assert len(named) > 5
    for path in named:
        assert (ROOT / "reconciler" / path).exists() or (ROOT / path).exists(), path
