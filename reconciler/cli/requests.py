"""For requesters: request create, show, list and withdraw."""

from __future__ import annotations

import getpass
import sys
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.commands import Commands
from reconciler.cli.common import settings, with_config
from reconciler.cli.exits import DONE, NO_SUCH, say
from reconciler.cli.explaining import explain
from reconciler.cli.fleet import fleet
from reconciler.cli.options import (
    REASON,
    FormatOption,
    JsonOption,
    ModelArgument,
    NoHeadersOption,
    PageFormatOption,
    TargetArgument,
    VersionArgument,
    WaitingTimeOption,
    duration_of,
    target_of,
    version_of,
    wants_json,
)
from reconciler.cli.shown.output import Format, Shape, write_json, write_rows
from reconciler.cli.shown.stuck_lines import stuck_data, stuck_lines
from reconciler.cli.shown.tables import write_record
from reconciler.domain.text import command_line, visible, visible_name
from reconciler.domain.times import duration_text, iso

if TYPE_CHECKING:
    from reconciler.bootstrap.asking import RequestTool
    from reconciler.domain.request import Request
    from reconciler.ports import Found, Listed

app = typer.Typer(cls=Commands, no_args_is_help=True, help="File, follow, list and withdraw requests.")

NO_RULE = "no rule covers it"
_COMMENT_SHOWN = 80
_FIELDS = (
    "id", "model", "version", "target", "requester", "requester_assurance", "requested_at", "comment", "covered",
    "rule",
)  # fmt: skip
# Those of a table without names, for scripts.
_PLAIN = "id", "requested_at", "model", "version", "target", "requester", "comment"


def register(parent: typer.Typer) -> None:
    parent.command(epilog="Example: mlflow-reconciler explain fraud 7 Production --json")(explain)
    parent.command(epilog="Example: mlflow-reconciler fleet --policy policy.yaml")(fleet)
    parent.add_typer(app, name="request")


# --- create --------------------------------------------------------------------------------------------------


@app.command(epilog='Example: mlflow-reconciler request create fraud 7 Production --comment "beats version 6"')
def create(
    model: ModelArgument,
    version: VersionArgument,
    target: TargetArgument,
    comment: Annotated[
        str, typer.Option(metavar=REASON, help="Reason for the request; recorded with the decision.")
    ] = "",
    requester: Annotated[
        str | None,
        typer.Option(metavar="<name>", help="Name of the requester (default: your user name on this machine)."),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait for the decision: exit 0 approved, 1 rejected, 3 still open, 4 withdrawn."),
    ] = False,
    timeout: WaitingTimeOption = "10m",
) -> int:
    """Request that a version be moved to a target."""
    from reconciler.bootstrap.asking import request_tool
    from reconciler.cli.waiting import wait_for_decision

    patience, version = duration_of(timeout), version_of(version)
    tool = request_tool(settings())
    who = getpass.getuser() if requester is None else requester
    goal = target_of(target)
    before = tool.find(model, version, goal)
    request = _filed(tool, before, who, comment)
    print(request.id, flush=True)
    say(f"filed: {request.place.text}, as {request.requester.known_as}")
    if before.holds:
        say(f"version {visible_name(version)} already holds {goal}")
    _say_coverage(tool, request)
    _say_mode(tool)
    if not wait:
        say(f"follow it: {command_line('request show', model, version, str(goal))}")
        return DONE
    return wait_for_decision(tool, request, before, patience)


def _filed(tool: RequestTool, before: Found, who: str, comment: str) -> Request:
    """The request that was filed. Raises Conflict where one is open, with the command that withdraws it."""
    from reconciler.ports import Conflict

    place = before.listed.request
    try:
        return tool.create(place.model, place.version, place.target, who, comment)
    except Conflict as error:
        if not before.open:
            raise
        withdraw = command_line("request withdraw", place.model, place.version, str(place.target))
        raise Conflict(f"{str(error).removesuffix('.')}: {withdraw}") from None


def _say_coverage(tool: RequestTool, request: Request) -> None:
    """Says so at once where no rule covers the request, so that its author does not wait for a decision."""
    if tool.doubt:
        say(f"it is not known whether a rule covers it: {tool.doubt}")
    if tool.covers(request) is not False:
        return
    source = "according to the registry's daemons"
    if tool.policy is not None:
        governed = tool.policy.scope().targets_of(request.model, is_prompt=request.is_prompt)
        kind = "prompt" if request.is_prompt else "model"
        others = f"; rules for this {kind} cover {', '.join(sorted(map(str, governed)))}" if governed else ""
        source = f"the policy has none for {request.place.text}{others}"
    say(f"{NO_RULE}: {source}")
    withdraw = command_line("request withdraw", request.model, request.version, str(request.target))
    say(f"no daemon decides it: ask the policy's owner for a rule, ask a person to decide, or withdraw it: {withdraw}")


def _say_mode(tool: RequestTool) -> None:
    if tool.left_undone:
        say(tool.left_undone)


# --- show and list -------------------------------------------------------------------------------------------


@app.command(epilog="Example: mlflow-reconciler request show fraud 7 Production")
def show(
    model: ModelArgument,
    version: VersionArgument,
    target: TargetArgument,
    as_json: JsonOption = False,
    format: PageFormatOption = None,
) -> int:
    """Show an open request, or the last decision about this version and target."""
    from reconciler.bootstrap.asking import request_tool
    from reconciler.cli.explaining import with_json_errors

    goal, as_json = target_of(target), wants_json(format, as_json)

    def shown() -> int:
        number, tool = version_of(version), request_tool(settings())
        found = tool.find(model, number, goal)
        if as_json:
            write_json(_found_data(tool, found), sys.stdout)
        else:
            _show_found(tool, found)
        return DONE if found.open or found.decided else NO_SUCH

    return with_json_errors(shown) if as_json else shown()


def _found_data(tool: RequestTool, found: Found) -> dict[str, Any]:
    request = _row(tool, found.listed) if found.open else None
    place = found.listed.request
    stuck = tool.stuck(place) if found.open else ()
    return {
        "model": visible_name(place.model),
        "version": visible_name(place.version),
        "target": str(place.target),
        "open": found.open,
        "request": request,
        # null: no audit database tells.
        "stuck": [stuck_data(one) for one in stuck] if stuck is not None else None,
        "holds_target": found.holds,
        "last_decision": visible(found.decided) or None,
    }


def _show_found(tool: RequestTool, found: Found) -> None:
    request = found.listed.request
    if found.open:
        stuck = tool.stuck(request) or ()
        print(f"{request.place.text}: open{', and stuck' if stuck else ''}")
        for line in chain.from_iterable(map(stuck_lines, stuck)):
            print(f"  {with_config(line)}")
        fields = _row(tool, found.listed) | _coverage(tool, found.listed)
        already_shown = {"model", "version", "target"}
        write_record({name: fields[name] for name in fields if name not in already_shown}, sys.stdout, indent="  ")
    elif found.decided:
        print(f"{request.place.text}: no request is open; the last decision:")
        print(f"  {visible(found.decided)}")
    else:
        say(f"{request.place.text}: no request is open, and none was decided")
    if found.holds:
        print(f"version {visible_name(request.version)} holds {request.target} now")
    if found.open:
        say(
            f"what would be decided now: {command_line('explain', request.model, request.version, str(request.target))}"
        )
        _say_mode(tool)


@app.command("list", epilog="Example: mlflow-reconciler request list --format json")
def list_open(format: FormatOption = Format.TABLE, no_headers: NoHeadersOption = False) -> int:
    """List the open requests; with tags, those for stages and for the policy's targets."""
    from reconciler.bootstrap.asking import request_tool

    tool = request_tool(settings())
    listed = tool.list()
    if tool.doubt:
        say(f"it is not known which of them a rule covers: {tool.doubt}")
    shape = Shape(format, not no_headers)
    if not shape.for_people:
        write_rows([_row(tool, entry) for entry in listed], shape, _FIELDS, _PLAIN, sys.stdout)
    elif listed:
        known = ("covered",) if any(_row(tool, entry)["covered"] is not None for entry in listed) else ()
        columns = ("asked", "model", "version", "target", "requester", *known, "comment")
        write_rows([_table_row(tool, entry) for entry in listed], shape, _FIELDS, columns, sys.stdout)
    else:
        print("no open requests")
    if tool.registry.protocol == "tags":
        say("with tags, requests for aliases that no rule names are not listed: look them up with `request show`")
    return DONE


def _table_row(tool: RequestTool, listed: Listed) -> dict[str, Any]:
    row, age = _row(tool, listed), datetime.now(UTC) - listed.request.requested_at
    since = duration_text(max(timedelta(seconds=round(age.total_seconds())), timedelta())) if listed.stamped else None
    return row | {"asked": since, "comment": visible(row["comment"], _COMMENT_SHOWN)} | _coverage(tool, listed)


def _coverage(tool: RequestTool, listed: Listed) -> dict[str, str | None]:
    """The column `covered`, for people."""
    return {"covered": {True: "yes", False: NO_RULE, None: None}[_row(tool, listed)["covered"]]}


def _row(tool: RequestTool, listed: Listed) -> dict[str, Any]:
    request = listed.request
    rules = tool.rules_for(request)
    return {
        "id": visible_name(request.id) if listed.stamped else None,
        "model": visible_name(request.model),
        "version": visible_name(request.version),
        "target": str(request.target),
        "requester": visible_name(request.requester.name),
        "requester_assurance": str(request.requester.assurance),
        "requested_at": iso(request.requested_at) if listed.stamped else None,
        "comment": visible(request.comment),
        "covered": listed.covered if rules is None else bool(rules),
        "rule": None if rules is None else ", ".join(map(visible, rules)) or NO_RULE,
    }


# --- withdraw ------------------------------------------------------------------------------------------------


@app.command(epilog="Example: mlflow-reconciler request withdraw fraud 7 Production")
def withdraw(model: ModelArgument, version: VersionArgument, target: TargetArgument) -> int:
    """Withdraw an open request."""
    from reconciler.bootstrap.asking import request_tool

    request = request_tool(settings()).withdraw(model, version_of(version), target_of(target))
    say(f"withdrawn: {request.place.text}")
    return DONE
