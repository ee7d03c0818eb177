"""Figures of the fuzz test for the threat model: what was tried, what it changed undefended, what it changes defended.

python -m tests.mlflow_app.fuzz_figures [--seed 20] [--share 1.0]
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mlflow_app.fuzz_driver import MODES, Mode, Outcome, RunOptions, start
from tests.mlflow_app.fuzz_world import ADMINISTRATOR, APPROVER, EDITOR, MANAGER, READER, build

_WHO = {
    "": "nobody", READER: "READ", EDITOR: "EDIT", MANAGER: "MANAGE", APPROVER: "approver",
    ADMINISTRATOR: "administrator",
}  # fmt: skip


def table(undefended: Sequence[Outcome], defended: Sequence[Outcome]) -> str:
    """Markdown: a row for each family of routes and each identity.

    `held` are calls that changed something undefended and do not with the app; `allowed` are approvals, requests and
    acts of administrators; `broken` should be 0.
    """
    rows: Counter[tuple[str, str, str]] = Counter()
    for bare, walled in zip(undefended, defended, strict=True):
        for number, family in enumerate(bare.families):
            who = _who(bare, number)
            rows[family, who, "tried"] += 1
            rows[family, who, "changed"] += number in bare.changed
            rows[family, who, "held"] += number in bare.changed and number not in walled.changed
            rows[family, who, "allowed"] += number in walled.accounted and number not in walled.wrong
            rows[family, who, "broken"] += number in walled.wrong
    return "\n".join(_lines(rows))


def _lines(rows: Counter[tuple[str, str, str]]) -> Iterable[str]:
    columns = ("tried", "changed", "held", "allowed", "broken")
    yield "| routes | identity | tried | change something undefended | held | allowed | broken |"
    yield "|---|---|---|---|---|---|---|"
    for family, who in sorted({(family, who) for family, who, _ in rows}):
        yield f"| {family} | {who} | " + " | ".join(str(rows[family, who, column]) for column in columns) + " |"
    totals = [sum(count for (_, _, column), count in rows.items() if column == wanted) for wanted in columns]
    yield "| all | | " + " | ".join(str(total) for total in totals) + " |"


def _who(outcome: Outcome, number: int) -> str:
    return _WHO[outcome.identities[number]] if MODES[outcome.mode].login else "no login"


def measure(directory: Path, seed: int, share: float) -> str:
    for mode in MODES.values():
        place = directory / mode.template
        if not place.exists():
            scheme = "object" if mode.object_store else "file"
            build(f"sqlite:///{place}/mlflow.db", place, workspaces=mode.workspaces, auth=True, direct=scheme)
    with ThreadPoolExecutor(2) as workers:
        runs = {
            without: [workers.submit(_run, directory, mode, seed, share, without) for mode in MODES.values()]
            for without in (("guard", "store", "files"), ())
        }
        undefended, defended = ([run.result() for run in started] for started in runs.values())
    return table(undefended, defended)


def _run(directory: Path, mode: Mode, seed: int, share: float, without: tuple[str, ...]) -> Outcome:
    name = f"{mode.name} {'bare' if without else 'walled'}"
    options = RunOptions(mode, directory / mode.template, directory / name, seed, without, share)
    return start(options, directory / f"{name}.json")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--share", type=float, default=1.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(measure(Path(directory), arguments.seed, arguments.share))


if __name__ == "__main__":
    main()
