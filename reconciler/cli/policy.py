"""policy validate, diff, test and schema; replay is in a file of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.common import plugins, settings
from reconciler.cli.exits import DONE, NEGATIVE, say
from reconciler.cli.options import place_option
from reconciler.cli.output import write_json
from reconciler.cli.replaying import replay
from reconciler.domain.text import counted, quoted, visible_name

if TYPE_CHECKING:
    from reconciler.domain.policy import Policy, Rule

app = typer.Typer(
    no_args_is_help=True, help="Check a policy, try it on cases or past decisions, or get its JSON Schema."
)


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
    loaded = read_policy(path, plugins().kinds())
    for warning in loaded.warnings:
        say(f"warning: {warning.in_file(str(path))}")
    # A policy can be checked where nothing is configured.
    with contextlib.suppress(SettingsError):
        for sentence in loaded.policy.excluding(settings().evidence.exclude).never_judged():
            say(f"warning: {path}: {sentence}")
    for sentence in _replacements(loaded.policy):
        print(f"{path}: {sentence}")
    for code in sorted(loaded.policy.all_needs().codes):
        print(f"{path}: {code.check} is a check of {code.distribution} {code.version}, sha256 {code.sha256}")
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


@app.command(epilog="Example: mlflow-reconciler policy diff old.yaml policy.yaml")
def diff(
    old: Annotated[Path, typer.Argument(help="The policy as it was.", readable=False)],
    new: Annotated[Path, typer.Argument(help="The policy as it is to be.", readable=False)],
) -> int:
    """Say in words what differs between two policies; exit 1 where something does."""
    from reconciler.policy.diff import differences
    from reconciler.policy.file import read_policy

    kinds = plugins().kinds()
    found = list(differences(*(read_policy(path, kinds).policy for path in (old, new))))
    for sentence in found:
        print(sentence)
    if not found:
        say("both mean the same")
    return NEGATIVE if found else DONE


@app.command("test", epilog="Example: mlflow-reconciler policy test policy.yaml --junit results.xml")
def judge_cases(
    path: Annotated[
        Path | None, typer.Argument(help="The policy (default: the configured one).", readable=False)
    ] = None,
    cases: Annotated[
        Path | None, typer.Option(help="The cases (default: beside the policy, as policy.test.yaml of policy.yaml).")
    ] = None,
    junit: Annotated[Path | None, place_option(help="Write the results to this file, as JUnit XML.")] = None,
) -> int:
    """Judge the cases of a policy; exit 1 where one is not judged as it expects."""
    from reconciler.policy.file import read_policy
    from reconciler.policy.testing import junit_xml, outcomes_of, read_cases, untouched

    path = path or settings().policy_path()
    beside = cases or path.with_suffix(".test.yaml")
    policy = read_policy(path, plugins().kinds()).policy
    results = outcomes_of(policy, *read_cases(beside))
    failed = [one for one in results if one.failures]
    for one in failed:
        print(f"FAIL {visible_name(one.name)}: {'; '.join(one.failures)}")
    for name in untouched(policy, results):
        say(f"no case matches rule {quoted(name)}")
    if junit is not None:
        junit.write_bytes(junit_xml(str(path), results))
    print(f"{beside}: {counted(len(results), 'case')}, {len(failed)} failed")
    return NEGATIVE if failed else DONE


app.command(epilog="Example: mlflow-reconciler policy replay policy.yaml --since 90d")(replay)


@app.command(epilog="Example: mlflow-reconciler policy schema > policy.schema.json")
def schema() -> int:
    """Print the JSON Schema of a policy, for editors."""
    from reconciler.policy.grammar import policy_model

    write_json(policy_model(plugins().kinds()).model_json_schema(), sys.stdout)
    return DONE
