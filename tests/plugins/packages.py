"""Packages with a check of one's own, as an installer leaves them: modules, and a folder with their entry points."""

from __future__ import annotations

import textwrap
from pathlib import Path

from reconciler.domain.evidence.evidence import Evidence, LoggedModelFacts, Reading, RunFacts, VersionFacts
from reconciler.domain.text import Text
from tests.builders import NO_LOGGED_MODEL
from tests.whole_evidence import NOW

HEAD = """
import os, signal, sys, time
from reconciler.plugins import Check, Evidence, Finding, Mistake, Needs, failed, missing, passed
"""
CHECK = """
class Mine(Check):
    '''Something of our own.'''

    name = "mine"
    codes = {"bad": "it is bad", "gone": "it is not there"}

    def parse(self, value):
        return value

    def expected(self, terms):
        return "something good"

    def needs(self, terms):
        return Needs(metrics=frozenset({"validation_accuracy"}), tags=frozenset({"owner"}))

"""
PASSES = 'return passed("fine")'


def source_of(judge: str = PASSES, *, more: str = "", head: str = "") -> str:
    """A module with the check `mine`. `judge`: the body of its `judge`; `more`: other members, after those above."""
    members = textwrap.indent(textwrap.dedent(more), "    ")
    body = textwrap.indent(textwrap.dedent(judge), "        ")
    return f"{HEAD}{head}{CHECK}{members}\n    def judge(self, terms, evidence):\n{body}\n"


def install(
    folder: Path,
    source: str = "",
    *,
    entry: str = "mine = mine_check:Mine",
    module: str = "mine_check",
    distribution: str = "acme-mine",
    version: str = "1.0.0",
) -> Path:
    """Puts a package into the folder; returns its module's file, which is one of a package."""
    names(folder, entry, distribution, version)
    package = folder.joinpath(*module.split("."))
    package.mkdir(parents=True, exist_ok=True)
    file = package / "__init__.py"
    file.write_text(source or source_of())
    return file


def names(folder: Path, entry: str, distribution: str = "acme-mine", version: str = "1.0.0") -> None:
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[mlflow_reconciler.checks]\n{entry}\n")


def policy(check: str = "mine: {}", *, keys: str = "", more: str = "") -> str:
    """A policy of one rule with this check. `keys`: of the check; `more`: other checks, as lines."""
    rule = "version: 1\nrules:\n  - name: ours\n    targets: [Production]\n    require:\n"
    return f"{rule}      - {check}\n" + (f"        {keys}\n" if keys else "") + more


def seen(accuracy: str = "0.95", owner: str | None = "fraud-team") -> Evidence:
    """What a registry shows of a version: its owner, and one metric of its run."""
    tags = {} if owner is None else {"owner": Text.of(owner)}
    version = VersionFacts("r1", "runs:/r1/model", "READY", "None", Text.of("A model."), tags, left_out={})
    metrics = {"validation_accuracy": Reading(accuracy, float(accuracy), 0, 5, "r1")} if accuracy else {}
    run = RunFacts("r1", "FINISHED", "active", 5, "s3://b/r1", metrics, left_out={})
    return Evidence.of(NOW, {VersionFacts: version, RunFacts: run, LoggedModelFacts: NO_LOGGED_MODEL})
