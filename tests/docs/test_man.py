"""Manual pages: every command and option stands in its page, as whoever types `man` reads it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from reconciler.cli.app import app

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs/man").glob("*.1"))
# Those that are installed check a page; what they print is a mistake in it.
CHECKERS = {
    # It wants a date, which would change by itself.
    "mandoc": ["mandoc", "-T", "lint", "-W", "warning,stop"],
    "man": ["man", "--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l"],
}
A_DATE = "missing date"


def read(page: Path) -> str:
    """The page as a terminal shows it, without bold letters; words of one line are not split."""
    environment = {**os.environ, "MANWIDTH": "300", "LC_ALL": "C.UTF-8", "MANROFFOPT": "-c"}
    done = subprocess.run(["man", "-l", page], env=environment, capture_output=True, text=True, check=True)
    return subprocess.run(["col", "-bx"], input=done.stdout, capture_output=True, text=True, check=True).stdout


def commands(group: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """The page, the words that are typed, and the command."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path.replace(' ', '-')}.1", f"{path} {name}", command


@pytest.mark.skipif(not (shutil.which("man") and shutil.which("col")), reason="man or col is not installed")
def test_every_command_option_and_argument_stands_in_its_page() -> None:
    shown = {page.name: read(page) for page in PAGES}
    found = list(commands(typer.main.get_command(app), "mlflow-reconciler"))
    assert {page for page, _, _ in found} == set(shown)
    for page, typed, command in found:
        section = shown[page].partition(f"\n   {typed}\n")[2].partition("\n   mlflow-reconciler")[0]
        for option in command.params:
            # As help writes `[NAME]…`, an argument has its own word.
            own = (option.metavar or option.name).replace("…", "...")
            for name in option.opts if option.param_type_name == "option" else [own]:
                assert f"\n       {name}" in section or f", {name}" in section, (typed, name)
        assert command.help.split("\n")[0].replace("`", "") in section
        assert command.epilog in section


@pytest.mark.skipif(not any(map(shutil.which, CHECKERS)), reason="neither mandoc nor man is installed")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_one_without_mistakes(page: Path) -> None:
    for checker in (words for name, words in CHECKERS.items() if shutil.which(name)):
        done = subprocess.run([*checker, page], capture_output=True, text=True, check=False)
        told = done.stderr if checker[0] == "man" else done.stdout
        assert [line for line in told.splitlines() if A_DATE not in line] == []
