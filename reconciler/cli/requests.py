"""For those who ask: explain, and request create, list and withdraw."""

from __future__ import annotations

import getpass
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.exits import ABSTAINED, DONE, NEGATIVE, say
from reconciler.cli.options import FormatOption, settings, target_of
from reconciler.cli.output import Format, write_json, write_rows
from reconciler.domain.text import visible, visible_name
from reconciler.domain.times import iso

if TYPE_CHECKING:
    from reconciler.explain import Explanation
    from reconciler.ports import Listed

ModelArgument = Annotated[str, typer.Argument(help="The registered model's name.")]
VersionArgument = Annotated[str, typer.Argument(help="The version's number.")]
TargetArgument = Annotated[str, typer.Argument(help="A stage (Production) or an alias (@champion).")]

app = typer.Typer(no_args_is_help=True, help="File, list and withdraw requests.")


def register(parent: typer.Typer) -> None:
    parent.command(epilog="Example: mlflow-reconciler explain fraud 7 Production --json")(explain)
    parent.add_typer(app, name="request")


def explain(
    model: ModelArgument,
    version: VersionArgument,
    target: TargetArgument,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> int:
    """Tell what would be decided now, and why; change nothing."""
    from reconciler import bootstrap

    goal = target_of(target)
    explanation = bootstrap.explain(settings(), model, version, goal)
    if as_json:
        write_json(_data(explanation), sys.stdout)
    else:
        _show(explanation)
    return {"approve": DONE, "reject": NEGATIVE}.get(str(explanation.verdict.kind), ABSTAINED)


def _data(explanation: Explanation) -> dict[str, Any]:
    verdict, request = explanation.verdict, explanation.request
    return {
        "model": visible_name(request.model),
        "version": visible_name(request.version),
        "target": str(request.target),
        "verdict": str(verdict.kind),
        "reason_code": verdict.reason_code,
        "reason": verdict.reason,
        "rule": verdict.rule,
        "archive_existing": verdict.archive_existing,
        "open_request": explanation.open_request,
        "checks": [
            {
                "rule": check.rule,
                "check": check.check,
                "expected": check.expected,
                "observed": check.observed,
                "observed_number": check.observed_number,
                "result": str(check.result),
                "code": check.code,
                "source": check.source,
            }
            for check in verdict.checks
        ],
        "evidence": json.loads(explanation.evidence.to_json()),
    }


def _show(explanation: Explanation) -> None:
    verdict, request = explanation.verdict, explanation.request
    place = f"{visible_name(request.model)} version {visible_name(request.version)} to {request.target}"
    print(f"{place}: would {verdict.kind} ({verdict.reason_code})")
    for check in verdict.checks:
        print(f"  {check.result}: {check.sentence} ({check.rule})")
    if not verdict.checks:
        print(f"  {verdict.reason}")
    say("a request is open" if explanation.open_request else "no request is open: `mlflow-reconciler request create`")


@app.command(epilog='Example: mlflow-reconciler request create fraud 7 Production --comment "beats version 6"')
def create(
    model: ModelArgument,
    version: VersionArgument,
    target: TargetArgument,
    comment: Annotated[str, typer.Option(help="Why; recorded with the decision.")] = "",
    requester: Annotated[str | None, typer.Option(help="Who asks (default: the user of this machine).")] = None,
) -> int:
    """File a request: the version shall go to the target."""
    from reconciler import bootstrap

    tool = bootstrap.request_tool(settings())
    who = getpass.getuser() if requester is None else requester
    request = tool.create(model, version, target_of(target), who, comment)
    print(request.id)
    known_as = visible_name(request.requester.name) or "somebody unknown"
    say(f"filed: {visible_name(model)} version {visible_name(version)} to {request.target}, as {known_as}")
    return DONE


@app.command("list", epilog="Example: mlflow-reconciler request list --format json")
def list_open(format: FormatOption = Format.TABLE) -> int:
    """List the open requests: for the policy's targets, and for stages."""
    from reconciler import bootstrap

    rows = [_row(one) for one in bootstrap.request_tool(settings()).list()]
    columns = ("requested_at", "model", "version", "target", "requester", "comment")
    write_rows(rows, format, columns, sys.stdout)
    return DONE


def _row(listed: Listed) -> dict[str, Any]:
    request = listed.request
    return {
        "id": visible_name(request.id) if listed.stamped else None,
        "model": visible_name(request.model),
        "version": visible_name(request.version),
        "target": str(request.target),
        "requester": visible_name(request.requester.name),
        "requester_assurance": str(request.requester.assurance),
        "requested_at": iso(request.requested_at) if listed.stamped else None,
        "comment": visible(request.comment),
    }


@app.command(epilog="Example: mlflow-reconciler request withdraw fraud 7 Production")
def withdraw(model: ModelArgument, version: VersionArgument, target: TargetArgument) -> int:
    """Take an open request back."""
    from reconciler import bootstrap

    request = bootstrap.request_tool(settings()).withdraw(model, version, target_of(target))
    say(f"withdrawn: {visible_name(model)} version {visible_name(version)} to {request.target}")
    return DONE
