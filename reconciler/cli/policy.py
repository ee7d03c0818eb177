"""policy validate, diff, test and schema; replay is in a file of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.commands import Commands
from reconciler.cli.common import plugins, settings
from reconciler.cli.exits import DONE, NEGATIVE, say
from reconciler.cli.options import FormatOption, NoHeadersOption, place_option
from reconciler.cli.replaying import replay
from reconciler.cli.shown.output import Format, Shape, rows_writer, write_json, write_rows
from reconciler.cli.written.files import put
from reconciler.domain.text import counted, quoted, visible, visible_name

if TYPE_CHECKING:
    from reconciler.domain.policy import Policy, Rule
    from reconciler.policy.file import LoadedPolicy
    from reconciler.policy.problems import Problem
    from reconciler.policy.testing import Tested

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Check a policy, try it on cases or past decisions, or get its JSON Schema.",
)


_PROBLEM = ("level", "file", "line", "column", "where", "message")


@app.command(epilog="Example: mlflow-reconciler policy validate policy.yaml")
def validate(
    path: Annotated[
        Path | None, typer.Argument(help="The policy (default: the configured one).", readable=False)
    ] = None,
    format: FormatOption = Format.TABLE,
    no_headers: NoHeadersOption = False,
) -> int:
    """Check a policy and report every mistake with its line and column."""
    from reconciler.policy.problems import PolicyError

    path = path or settings().policy_path()
    stream = rows_writer(Shape(format, not no_headers), _PROBLEM, _PROBLEM, sys.stdout)
    try:
        loaded = _read(path)
    except PolicyError as error:
        if stream is None:
            raise
        stream.write_all(_problem("error", problem, path) for problem in error.problems)
        stream.end_with({"policy": str(path), "valid": False}, f"{path}: {counted(len(error.problems), 'mistake')}")
        return error.exit_code
    problems = [*loaded.warnings, *_never_judged(loaded.policy)]
    files = f" in {counted(len(loaded.includes) + 1, 'file')}" if loaded.includes else ""
    sentence = f"{path}: {counted(len(loaded.policy.rules), 'rule')}{files}, digest {loaded.digest}"
    if stream is not None:
        stream.write_all(_problem("warning", problem, path) for problem in problems)
        stream.end_with(_facts(path, loaded), sentence)
        return DONE
    for problem in problems:
        say(f"warning: {problem.in_file(str(path))}")
    for told in (*_replacements(loaded.policy), *_plugged_in(loaded.policy)):
        print(f"{path}: {told}")
    print(sentence)
    return DONE


def _read(path: Path) -> LoadedPolicy:
    """Raises PolicyError, also with what is wrong with checks of one's own: they hide no mistakes of the policy."""
    from reconciler.domain.checks.kinds import KINDS
    from reconciler.policy.file import read_policy
    from reconciler.policy.problems import PolicyError

    kinds, not_loaded = plugins().loaded_and_not() if plugins().checks else ((), [])
    try:
        loaded = read_policy(path, (*KINDS, *kinds))
    except PolicyError as error:
        raise PolicyError(error.name, [*not_loaded, *error.problems], error.includes) from None
    if not_loaded:
        raise PolicyError(str(path), not_loaded)
    return loaded


def _never_judged(policy: Policy) -> Iterator[Problem]:
    """What the configuration keeps out of the evidence; a policy can be checked where nothing is configured."""
    from reconciler.policy.problems import Problem
    from reconciler.settings.errors import SettingsError

    with contextlib.suppress(SettingsError):
        for sentence in policy.excluding(settings().evidence.exclude).never_judged():
            yield Problem(None, None, "", sentence)


def _problem(level: str, problem: Problem, path: Path) -> dict[str, Any]:
    return {"level": level} | asdict(problem) | {"file": problem.file or str(path)}


def _facts(path: Path, loaded: LoadedPolicy) -> dict[str, Any]:
    return {
        "policy": str(path),
        "valid": True,
        "rules": len(loaded.policy.rules),
        "includes": list(loaded.includes),
        "digest": loaded.digest,
        "replaced": list(_replacements(loaded.policy)),
        "plugged_in": list(_plugged_in(loaded.policy)),
    }


def _replacements(policy: Policy) -> Iterator[str]:
    """What a check of one rule does to another's: whoever reviews the policy reads it here."""
    for rule in policy.rules:
        for required in rule.require:
            for name in required.overrides:
                yield f"{quoted(name)} is replaced by {quoted(f'{rule.name}/{required.name}')} for {_models(rule)}"


def _plugged_in(policy: Policy) -> Iterator[str]:
    """Checks whose code is not ours."""
    for code in sorted(policy.all_needs().codes):
        yield f"{code.check} is a check of {code.distribution} {code.version}, sha256 {code.sha256}"


def _models(rule: Rule) -> str:
    """`credit-*, of ads-*`: the globs of the rule, and those of the files that include it."""
    return ", of ".join(", ".join(map(visible_name, globs)) for globs in (rule.models, *rule.names.within))


@app.command(epilog="Example: mlflow-reconciler policy diff old.yaml policy.yaml")
def diff(
    old: Annotated[Path, typer.Argument(help="The old policy.", readable=False)],
    new: Annotated[Path, typer.Argument(help="The new policy.", readable=False)],
    format: FormatOption = Format.TABLE,
    no_headers: NoHeadersOption = False,
) -> int:
    """Show the differences between two policies in words; exit 1 if there are any."""
    from reconciler.policy.diff import differences
    from reconciler.policy.file import read_policy
    from reconciler.policy.problems import read_both

    kinds = plugins().kinds()
    was, will_be = read_both(lambda: read_policy(old, kinds), lambda: read_policy(new, kinds))
    found = list(differences(was.policy, will_be.policy))
    shape = Shape(format, not no_headers)
    if not shape.for_people:
        write_rows([{"difference": told} for told in found], shape, ("difference",), ("difference",), sys.stdout)
    for sentence in found if shape.for_people else ():
        print(sentence)
    if not found:
        say("both mean the same")
    return NEGATIVE if found else DONE


_CASE = ("case", "result", "failures", "rules")


@app.command("test", epilog="Example: mlflow-reconciler policy test policy.yaml --junit results.xml")
def judge_cases(
    path: Annotated[
        Path | None, typer.Argument(help="The policy (default: the configured one).", readable=False)
    ] = None,
    cases: Annotated[
        Path | None, typer.Option(help="The test cases (default: policy.test.yaml beside policy.yaml).")
    ] = None,
    junit: Annotated[Path | None, place_option(help="Write the results to this file, as JUnit XML.")] = None,
    format: FormatOption = Format.TABLE,
    no_headers: NoHeadersOption = False,
) -> int:
    """Run the test cases of a policy; exit 1 if a verdict is not the expected one."""
    from reconciler.policy.file import read_policy
    from reconciler.policy.problems import read_both
    from reconciler.policy.testing import outcomes_of, read_cases, untouched

    path = path or settings().policy_path()
    beside = cases or path.with_suffix(".test.yaml")
    kinds = plugins().kinds()
    loaded, cases_of = read_both(lambda: read_policy(path, kinds), lambda: read_cases(beside))
    policy = loaded.policy
    results = outcomes_of(policy, *cases_of)
    failed = [one for one in results if one.failures]
    without = list(untouched(policy, results))
    sentence = f"{beside}: {counted(len(results), 'case')}, {len(failed)} failed"
    stream = rows_writer(Shape(format, not no_headers), _CASE, _CASE, sys.stdout)
    if stream is None:
        for one in failed:
            print(f"FAIL {visible_name(one.name)}: {'; '.join(one.failures)}")
    for name in without:
        say(f"no case matches rule {quoted(name)}")
    if stream is None:
        print(sentence)
    else:
        stream.write_all(map(_case, results))
        about = {"policy": str(path), "file": str(beside), "cases": len(results), "failed": len(failed)}
        stream.end_with(about | {"rules_without_a_case": without}, sentence)
    if junit is not None:
        _write_junit(junit, str(path), results, without)
    return NEGATIVE if failed else DONE


def _write_junit(junit: Path, suite: str, results: Sequence[Tested], without: Sequence[str]) -> None:
    # Here, so that who wants no such file does not load what writes it.
    from reconciler.policy.junit import junit_xml

    with put(junit) as file:
        file.write(junit_xml(suite, results, without))


def _case(one: Tested) -> dict[str, Any]:
    failures = list(map(visible, one.failures))
    result = "failed" if failures else "passed"
    return {"case": visible_name(one.name), "result": result, "failures": failures, "rules": list(one.rules)}


app.command(epilog="Example: mlflow-reconciler policy replay policy.yaml --since 90d")(replay)


@app.command(epilog="Example: mlflow-reconciler policy schema > policy.schema.json")
def schema() -> int:
    """Print the JSON Schema of a policy, for editors."""
    from reconciler.policy.grammar import policy_model

    write_json(policy_model(plugins().kinds()).model_json_schema(), sys.stdout)
    return DONE
