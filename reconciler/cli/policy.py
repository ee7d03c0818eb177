"""policy validate and policy schema."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.common import settings
from reconciler.cli.exits import DONE, say
from reconciler.cli.output import write_json
from reconciler.domain.text import counted, quoted, visible_name

if TYPE_CHECKING:
    from reconciler.domain.policy import Policy, Rule

app = typer.Typer(no_args_is_help=True, help="Check a policy, or get its JSON Schema.")


@app.command(epilog="Example: mlflow-reconciler policy validate policy.yaml")
def validate(
    path: Annotated[
        Path | None, typer.Argument(help="The policy (default: the configured one).", readable=False)
    ] = None,
) -> int:
    """Check a policy and report every mistake with its line and column."""
    from reconciler.policy.file import read_policy
    from reconciler.settings.errors import SettingsError

    path = path or settings().policy_path()
    loaded = read_policy(path)
    for warning in loaded.warnings:
        say(f"warning: {warning.in_file(str(path))}")
    # A policy can be checked where nothing is configured.
    with contextlib.suppress(SettingsError):
        for sentence in loaded.policy.excluding(settings().evidence.exclude).never_judged():
            say(f"warning: {path}: {sentence}")
    for sentence in _replacements(loaded.policy):
        print(f"{path}: {sentence}")
    files = f" in {counted(len(loaded.includes) + 1, 'file')}" if loaded.includes else ""
    print(f"{path}: {counted(len(loaded.policy.rules), 'rule')}{files}, digest {loaded.digest}")
    return DONE


def _replacements(policy: Policy) -> Iterator[str]:
    """What a check of one rule does to another's: whoever reviews the policy reads it here."""
    for rule in policy.rules:
        for required in rule.require:
            for name in required.overrides:
                yield f"{quoted(name)} is replaced by {quoted(f'{rule.name}/{required.name}')} for {_models(rule)}"


def _models(rule: Rule) -> str:
    """`credit-*, of ads-*`: the globs of the rule, and those of the files that include it."""
    return ", of ".join(", ".join(map(visible_name, globs)) for globs in (rule.models, *rule.names.within))


@app.command(epilog="Example: mlflow-reconciler policy schema > policy.schema.json")
def schema() -> int:
    """Print the JSON Schema of a policy, for editors."""
    from reconciler.policy.grammar import policy_model

    write_json(policy_model().model_json_schema(), sys.stdout)
    return DONE
