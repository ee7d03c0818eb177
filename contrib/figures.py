"""Measures the code: lines per file, lines and parameters per function. `make figures` prints it.

    python contrib/figures.py [--check] [--write COVERED]

With --check it exits 1 if a limit is exceeded, and names each place. With --write the end of docs/architecture.md shows
the figures, and COVERED, the percentage that `coverage report --format=total` prints.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "reconciler"
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION, MOST_PARAMETERS = 300, 40, 6
PAGE = ROOT / "docs/architecture.md"
_SECTION = "## Figures, as `make coverage` measured them"
# A command's options are its parameters.
WITHOUT_LIMIT_OF_PARAMETERS = PACKAGE / "cli"


@dataclass(frozen=True, slots=True)
class Function:
    place: str
    lines: int
    parameters: int
    is_command: bool


def functions() -> Iterator[Function]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield _measured(path, node)


def _measured(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Function:
    arguments = node.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    place = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
    is_command = path.is_relative_to(WITHOUT_LIMIT_OF_PARAMETERS)
    return Function(place, lines, len([name for name in names if name not in {"self", "cls"}]), is_command)


def files() -> dict[str, int]:
    return {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in sorted(PACKAGE.rglob("*.py"))}


def figures() -> list[str]:
    """Rows of a table."""
    every, sizes = list(functions()), files()
    lengths = sorted(function.lines for function in every)
    longest = max(every, key=lambda function: function.lines)
    most = max((function for function in every if not function.is_command), key=lambda function: function.parameters)
    largest = max(sizes, key=lambda path: sizes[path])
    return [
        "| measured | figure |",
        "|---|---|",
        f"| files, lines in `reconciler/` | {len(sizes)}, {sum(sizes.values()):,} |",
        f"| largest file | {sizes[largest]} lines, `{largest}` |",
        f"| functions | {len(every):,} |",
        f"| lines of a function: median, 90 % at most, longest | {statistics.median(lengths):g}, "
        f"{lengths[int(len(lengths) * 0.9)]}, {longest.lines} (`{longest.place.split()[-1]}`) |",
        f"| most parameters, commands aside | {most.parameters} (`{most.place.split()[-1]}`) |",
    ]


def beyond() -> list[str]:
    """Each place beyond a limit, with the limit."""
    return [
        *(f"{path}: {lines} lines, at most {MOST_LINES_OF_A_FILE}" for path, lines in files().items()
          if lines > MOST_LINES_OF_A_FILE),
        *(f"{function.place}: {function.lines} lines, at most {MOST_LINES_OF_A_FUNCTION}" for function in functions()
          if function.lines > MOST_LINES_OF_A_FUNCTION),
        *(f"{function.place}: {function.parameters} parameters, at most {MOST_PARAMETERS}" for function in functions()
          if function.parameters > MOST_PARAMETERS and not function.is_command),
    ]  # fmt: skip


def write(covered: str) -> None:
    """Replaces the last section of the page."""
    text = PAGE.read_text().partition(_SECTION)[0].rstrip()
    row = f"| branch coverage of `reconciler/`, by the whole suite with the processes it starts | {covered} % |"
    PAGE.write_text("\n".join([text, "", _SECTION, "", *figures(), row, ""]))


if __name__ == "__main__":
    print("\n".join(figures()))
    if "--write" in sys.argv:
        write(sys.argv[sys.argv.index("--write") + 1])
    if "--check" in sys.argv:
        print("\n".join(beyond()), file=sys.stderr)
        sys.exit(bool(beyond()))
