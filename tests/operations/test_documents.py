"""Every command that a page shows is run, but for those that are named here with the reason."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.acceptance.conftest import Product
from tests.databricks_double import Workspace

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {
    "run": "runs until a signal: tests/acceptance/test_daemon.py",
    "demo": "needs a minute of its own: tests/acceptance/test_demo.py",
    "init": "writes files of its own: tests/operations/test_setting_up.py",
    "db copy": "needs two databases: tests/operations/test_handles.py",
    "audit redact": "needs a decision's id: tests/cli/test_redact.py",
    "audit show": "needs a decision's id: tests/acceptance/test_loop.py",
    "audit dossier": "needs a decision's id: tests/proofs/test_dossiers.py",
    "audit acknowledge": "needs a bypass: tests/cli/test_accepting.py",
    "audit baseline": "needs what held a target before: tests/cli/test_accepting.py",
    "policy test": "needs cases: tests/acceptance/test_combining.py",
}
# With a head that was kept elsewhere.
WITH_A_HEAD = ROOT / "tests/proofs/test_heads.py"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def shown() -> list[str]:
    """Lines of shell blocks that begin with our command, and the examples of `--help`."""
    lines = []
    for page in PAGES:
        text = page.read_text()
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
            lines += [line for line in block.replace("\\\n", " ").splitlines() if line.startswith("mlflow-reconciler ")]
        lines += [" ".join(example.split()) for example in re.findall(r"Example: ((?:.|\n)*?)\n```", text)]
    return sorted(set(lines))


def arguments_of(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    while "=" in words[0]:
        words.pop(0)
    return words[1:]


def is_elsewhere(arguments: list[str]) -> bool:
    return any(" ".join(arguments).startswith(command) or command in " ".join(arguments) for command in ELSEWHERE)


@pytest.mark.parametrize("line", shown())
def test_a_command_that_is_shown_runs(
    line: str, held: Workspace, product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Files that a command writes go there.
    monkeypatch.chdir(tmp_path)
    arguments = arguments_of(line)
    if is_elsewhere([one for one in arguments if not one.startswith("-")][:2]):
        assert any(path.exists() for reason in ELSEWHERE.values() for path in [ROOT / reason.split(": ")[1]])
        return
    if "--head" in arguments:
        assert WITH_A_HEAD.exists()
        return
    for _ in range(7):
        held.version("fraud", "0.95")
    if {"withdraw", "show"} & set(arguments):
        product.ok("request", "create", "fraud", "7", "Production")
    if "resume" in arguments:
        product.ok("pause", "--reason", "a test")
    if "install-service" in arguments:
        arguments += ["--root", str(tmp_path / "root")]
    (tmp_path / "config.yaml").write_text("mode: observe\n")
    (tmp_path / "config.yaml").chmod(0o644)
    if ">" in arguments:
        arguments = arguments[: arguments.index(">")]
    (tmp_path / "old.yaml").write_text((tmp_path / "policy.yaml").read_text())
    ours = {"config.yaml", "policy.yaml", "old.yaml", "audit-backup.db"}
    arguments = [str(tmp_path / one) if one in ours else one for one in arguments]
    done = product.run(*arguments)
    assert done.returncode in ({0, 1, 3} if "status" in arguments or "explain" in arguments else {0}), done.stderr


def test_an_upgrade_backs_up_and_stops_before_it_installs_over_the_same_version() -> None:
    page = (ROOT / "docs/operating.md").read_text()
    block = page.partition("## Upgrade\n")[2].partition("```text\n")[2].partition("```")[0]
    steps = ["db backup", "systemctl stop", "pip install --force-reinstall", "db upgrade", "systemctl start"]
    assert [step for line in block.splitlines() for step in steps if step in line] == steps
    assert len(block.splitlines()) == len(steps)
