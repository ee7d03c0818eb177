"""The documents name what is there, and what is there is documented."""

from __future__ import annotations

import dataclasses
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from reconciler.audit.append_only import APPEND_ONLY
from reconciler.audit.reader import REGISTER
from reconciler.audit.tables import Base
from reconciler.cli.app import app
from reconciler.domain.checks.kinds import every_code
from reconciler.domain.evidence.evidence import FACTS
from reconciler.domain.evidence.salted import KEPT
from reconciler.settings.model import known_keys

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))
MADE = importlib.import_module("generate").PAGES
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def commands() -> Iterator[list[str]]:
    root = typer.main.get_command(app)
    for name, command in sorted(getattr(root, "commands", {}).items()):
        inner = getattr(command, "commands", None)
        yield from ([name, one] for one in sorted(inner)) if inner else [[name]]


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_is_documented_and_has_an_example(command: list[str]) -> None:
    page = (ROOT / "docs/cli.md").read_text()
    section = page.partition(f"## `mlflow-reconciler {' '.join(command)}`\n")[2].partition("\n## ")[0]
    assert "Example: " in section
    example = " ".join(section.partition("Example: ")[2].split())
    assert f"mlflow-reconciler {' '.join(command)}" in example


@pytest.mark.parametrize("name", sorted(MADE))
def test_the_pages_made_from_the_code_are_as_the_code_is(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == MADE[name](), "run `make docs`"


def test_every_alert_is_explained() -> None:
    page = (ROOT / "docs/operating.md").read_text()
    for alert in re.findall(r"alert: (\w+)", (ROOT / "contrib/alerts.yml").read_text()):
        assert f"`{alert}`" in page


def test_every_field_of_the_evidence_is_documented_where_it_stands() -> None:
    section = (ROOT / "docs/audit.md").read_text().partition("\n### `evidence`\n")[2].partition("\n### ")[0]
    rows = [line.partition(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    for kind in FACTS:
        told = " ".join(row for row in rows if f"`{kind.key}." in row or "`*." in row)
        for member in dataclasses.fields(kind):  # type: ignore[arg-type]
            assert re.search(rf"[`.]{member.name}[`.]", told), f"{kind.key}.{member.name}"
    assert all(f"`{name}`" in " ".join(rows) for name in KEPT)


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    for key in known_keys():
        assert f"| `{'.'.join(key)}` | `RECONCILER_{'__'.join(key).upper()}` |" in page


def test_every_column_an_auditor_meets_is_documented() -> None:
    page = (ROOT / "docs/audit.md").read_text()
    for column in REGISTER.c:
        assert f"`{column.name}`" in page
    for table in APPEND_ONLY:
        section = page.partition(f"### `{table}`")[2].partition("\n#")[0]
        documented = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        assert documented == [column.name for column in Base.metadata.tables[table].columns]


def test_every_result_code_of_the_checks_is_documented() -> None:
    page = (ROOT / "docs/policy.md").read_text()
    codes = set(every_code())
    assert len(codes) > 15
    assert {code for code in codes if f"`{code}`" not in page} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_command_that_the_readme_shows_exists() -> None:
    known = {tuple(command) for command in commands()}
    shown = re.findall(r"mlflow-reconciler ((?:[a-z][a-z-]* ?){1,2})", (ROOT / "README.md").read_text())
    for words in shown:
        parts = tuple(shlex.split(words))
        assert parts in known or parts[:1] in known, words


@pytest.mark.parametrize(("page", "count"), [("README.md", 1), ("docs/policy.md", 3)])
def test_every_policy_that_is_shown_is_a_policy(page: str, count: int) -> None:
    from reconciler.policy.file import parse_policy

    policies = re.findall(r"```yaml\n(version: 1.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert len(policies) == count
    for policy in policies:
        # Each `when` is warned of, since only the server can tell whether its tags are protected.
        assert [one for one in parse_policy(policy, page).warnings if ".when." not in one.where] == []


def test_a_policy_that_is_shown_uses_each_key_about_where_a_value_comes_from() -> None:
    shown = "".join(re.findall(r"```yaml\n(version: 1.*?)```", (ROOT / "docs/policy.md").read_text(), re.DOTALL))
    for key in ("source", "dataset", "grace", "on_missing"):
        assert re.search(rf"^ +{key}: \S", shown, re.MULTILINE), key


def test_the_reference_has_the_allowed_values_of_each_key() -> None:
    page = (ROOT / "docs/policy.md").read_text()
    for row in (
        "| `on_missing` | `reject`, `abstain` | `reject` |",
        "| `source` | `run`, `logged_model` | `run` |",
        "| `grace` | a time: `90s`, `10m`, `1h30m`, `30d` | `0s` |",
        "| `allow_zero` | `true`, `false` | `false` |",
        "| `bounds` | `[least, most]` | – |",
        "| `one_of` | a list of strings | – |",
    ):
        assert row in page


def test_the_metrics_page_says_who_writes_the_file() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    assert "`once` writes no metrics" in page


def test_the_app_protects_what_the_readmes_policy_governs() -> None:
    from reconciler.mlflow_app.options import read_options
    from reconciler.policy.file import parse_policy

    [policy] = re.findall(r"```yaml\n(version: 1.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    governed = parse_policy(policy, "README.md").policy.governed_targets()
    page = (ROOT / "docs/mlflow-app.md").read_text()
    installing = re.findall(r"```sh\n(pip install [^`]*--app-name.*?)```", page, re.DOTALL)
    assert len(installing) == 1
    variables = dict(re.findall(r"^export (\w+)=(\S+)", installing[0], re.MULTILINE))
    assert read_options(variables).targets >= set(governed)


def test_nothing_that_is_committed_names_a_machine_or_an_index() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # Put together here, so that this file does not name what it looks for.
    forbidden = [
        "/" + "work/main",
        "/" + "opt/pypi",
        "file" + ":///" + "opt",
        "pypi" + ".org/simple",
        "--index" + "-url http",
    ]
    for name in listed.split():
        text = (ROOT / name).read_text(errors="replace") if (ROOT / name).is_file() else ""
        assert not [word for word in forbidden if word in text], name
