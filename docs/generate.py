"""Writes what is made from the code: docs/cli.md, metrics.md, the end of policy.md, the lists of columns in audit.md,
man/ and contrib/datasette.json; see `make docs`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import typer.main
from audit_columns import datasette, with_lists_of_columns
from man_pages import man_pages
from policy_reference import policy_reference

from reconciler.cli.app import app
from reconciler.daemon.metrics import Metrics

MADE_BELOW = "<!-- Below: made from the code by `make docs`. -->\n"
FIVE = """
## Five policies

Each with its cases, which `mlflow-reconciler policy test` judges.
"""
TEAMS = ("bank", "medical", "adtech", "startup", "platform")
HERE = Path(__file__).resolve().parent
COMMAND = Path(sys.executable).with_name("mlflow-reconciler")
CLI = """\
# Commands

Made from `--help` by `make docs`. Machine output goes to stdout, messages for people to stderr.

Exit codes: 0 done, or `explain` would approve; 1 a negative answer; 2 usage; 3 `explain` abstains, a request is still
open, or what was asked cannot be judged; 4 there is no such model, version, request or decision; 69 the registry or the
database cannot be reached or written; 70 a defect; 78 the configuration, the policy, a credential or the schema is
wrong; 130 interrupted.
"""
METRICS = """\
# Metrics

Made from the code by `make docs`. After each cycle, `run` writes the metrics to `metrics.path`, a file for
node_exporter's textfile collector. The file is replaced in one step and has mode 0644; no port is opened.
`once` writes no metrics. `contrib/alerts.yml` has alert rules
([what each means and what to do first](operating.md#what-to-watch)), `contrib/grafana-dashboard.json` a dashboard.

| metric | kind | labels | meaning |
|---|---|---|---|
"""


def commands() -> Iterator[list[str]]:
    """Every command, those of a group after the group."""
    root = typer.main.get_command(app)
    yield []
    for name, command in getattr(root, "commands", {}).items():
        yield [name]
        yield from ([name, inner] for inner in getattr(command, "commands", {}))


def cli_page() -> str:
    return CLI + "".join(_section(command) for command in commands())


def _section(command: list[str]) -> str:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run([COMMAND, *command, "--help"], env=environment, capture_output=True, text=True, check=True)
    text = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
    return f"\n## `{' '.join(['mlflow-reconciler', *command])}`\n\n```text\n{text}\n```\n"


def metrics_page() -> str:
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels) or '–'} | {one.meaning} |\n"
        for one in sorted(Metrics(None).described(), key=lambda one: one.name)
    ]
    return METRICS + "".join(rows)


def policy_page() -> str:
    """What people wrote stays; what stands below the mark is made."""
    written, mark, _ = (HERE / "policy.md").read_text(encoding="utf-8").partition(MADE_BELOW)
    return written + mark + policy_reference() + FIVE + "".join(map(_shown_policy, TEAMS))


def _shown_policy(team: str) -> str:
    text = (HERE / f"policies/{team}.yaml").read_text(encoding="utf-8")
    return f"\n```yaml\n{text}```\n\n[Its cases](policies/{team}.test.yaml).\n"


def audit_page() -> str:
    """What people wrote, with the lists of columns as the database has them."""
    return with_lists_of_columns((HERE / "audit.md").read_text(encoding="utf-8"))


PAGES: dict[str, Callable[[], str]] = {
    "audit.md": audit_page,
    "cli.md": cli_page,
    "metrics.md": metrics_page,
    "policy.md": policy_page,
    "../contrib/datasette.json": datasette,
    **{f"man/{name}": partial(str, text) for name, text in man_pages().items()},
}

if __name__ == "__main__":
    (HERE / "man").mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
