"""status: the last cycle, what is open and what it waits for; and a check for monitoring systems."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.common import settings, with_config
from reconciler.cli.exits import DONE, NEGATIVE, say
from reconciler.cli.options import DURATION, JsonOption, PageFormatOption, duration_of, wants_json
from reconciler.cli.shown.output import write_json
from reconciler.cli.shown.status_holding import show_holding
from reconciler.cli.shown.stuck_lines import in_a_row, since
from reconciler.cli.shown.tables import write_table
from reconciler.cli.shown.terminal import Colour, painted
from reconciler.cli.shown.watching import watched
from reconciler.domain.codes import ReasonCode
from reconciler.domain.text import counted, named_place, visible
from reconciler.domain.times import duration_text, parse_iso

if TYPE_CHECKING:
    from reconciler.settings.model import Settings

_SHOWN_DAEMONS = 5
# Of what a server said, in a table; what is stuck is shown with all its words.
_WORDS = 160
# Why a request is not decided, by the code of its abstention.
# How a decision ended about a request that is still in the picture: its daemon read it before.
_ENDED = {
    "applied": "and carried out",
    "failed": "and given up",
    "superseded": "and resolved by somebody else first",
    "unattributed": "and resolved, it is not known by whom",
}
_WHY: dict[str, str] = {
    ReasonCode.NO_POLICY: "no rule covers it",
    ReasonCode.MISSING: "a value is missing",
    ReasonCode.WAITING: "a missing value may still come",
    ReasonCode.WITHHELD: "evidence.exclude keeps out what a check needs",
    ReasonCode.UNREADABLE: "the evidence cannot be read",
    ReasonCode.UNDETERMINED: "the registry does not show what a check asks for",
    ReasonCode.OUTSIDE_WINDOW: "the window is closed",
    ReasonCode.HELD_TOO_SHORT: "it must hold its stage for longer",
    ReasonCode.NOT_OBSERVED: "how long it has held its stage is not known",
    ReasonCode.ONLY_ADVISORY: "no check decides it",
    ReasonCode.CONFLICTING_RULES: "rules disagree on archive_existing",
}


def status(
    as_json: JsonOption = False,
    format: PageFormatOption = None,
    max_age: Annotated[
        str | None,
        typer.Option(
            metavar=DURATION, help="For monitoring: exit 1 unless a cycle has succeeded within this time, such as 5m."
        ),
    ] = None,
    all_registries: Annotated[
        bool,
        typer.Option("--all-registries", help="Show every registry in the database, not only the configured one."),
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every two seconds, until Ctrl-C.")] = False,
) -> int:
    """Show the last cycle, the open requests, and what they are waiting for."""
    limit = duration_of(max_age, "--max-age") if max_age is not None else None
    as_json = wants_json(format, as_json)
    if watch and (as_json or limit is not None):
        raise typer.BadParameter("is for people: use it without --json and --max-age", param_hint="--watch")
    configured = settings()
    here = None if all_registries else configured.recorded_registry
    if watch:
        return watched(lambda: _show(_picture(configured, here), here))
    picture = _picture(configured, here)
    if limit is not None:
        return _monitored(picture, limit.total_seconds(), here)
    if as_json:
        write_json(picture, sys.stdout)
    else:
        _show(picture, here)
    return DONE


def _picture(configured: Settings, here: tuple[str, str] | None) -> dict[str, Any]:
    from reconciler.audit.running.picture import picture_of
    from reconciler.bootstrap.audit_reader import audit_reader

    with audit_reader(configured) as reader:
        return picture_of(reader, here)


def _monitored(picture: dict[str, Any], seconds: float, here: tuple[str, str] | None) -> int:
    """Prints one line, and returns 0 or 1."""
    newest = min(_with_a_cycle(picture), key=lambda daemon: float(daemon["age_seconds"]), default=None)
    if newest is None:
        others = " and ".join(_named(row) for row in picture["other_registries"] if row["last_cycle_at"])
        print(_no_cycle_yet(here) + (f", but on {others}" if others else ""))
        return NEGATIVE
    late = newest["age_seconds"] > seconds
    print(f"{'late' if late else 'ok' if newest['ok'] else 'not ok'}: {_cycle_text(newest)}")
    return NEGATIVE if late or not newest["ok"] else DONE


def _no_cycle_yet(here: tuple[str, str] | None) -> str:
    return "no cycle has run yet" + (f" on {named_place(*here)}" if here else "")


def _named(row: dict[str, Any]) -> str:
    return named_place(row["registry"], row["workspace"])


def _with_a_cycle(picture: dict[str, Any]) -> list[dict[str, Any]]:
    """The daemons that have ended a cycle, without those that started just now."""
    return [daemon for daemon in picture["daemons"] if daemon["sentence"]]


def _cycle_text(daemon: dict[str, Any]) -> str:
    return f"last cycle of {daemon['name']}, {daemon['age_seconds']:.0f} s ago: {daemon['sentence']}"


def _show(picture: dict[str, Any], here: tuple[str, str] | None) -> None:
    if picture["paused"]:
        paused = picture["paused"]
        text = f"acts are paused since {paused['at']} by {paused['person']}: {paused['reason']}"
        print(painted(text, Colour.DOUBTFUL))
    several = len({_named(row) for row in [*picture["daemons"], *picture["open_requests"]]}) > 1
    for daemon in picture["daemons"][:_SHOWN_DAEMONS]:
        _show_daemon(daemon, several)
    if not picture["daemons"]:
        print(_no_cycle_yet(here))
    else:
        print(f"replicas alive: {picture['replicas_alive']}")
    show_holding(picture, here)
    _show_stuck(picture["stuck"])
    _show_open(picture, several)
    _show_unfinished(picture["unfinished"], picture["failed"])
    for row in picture["other_registries"]:
        _show_other(row)


def _show_unfinished(unfinished: list[dict[str, Any]], failed: int) -> None:
    for row in unfinished:
        outcome = painted(row["outcome"] or "pending", Colour.BAD if row["outcome"] else Colour.DOUBTFUL)
        print(f"{outcome}: decision {row['decision_id']} on {row['model']} version {row['version']}:")
        print(f"  {row['last_detail'] or row['outcome_detail'] or 'not acted on yet'}")
    earlier = failed - sum(row["outcome"] is not None for row in unfinished)
    if earlier > 0:
        print(
            with_config(
                f"{counted(earlier, 'earlier decision')} failed (mlflow-reconciler audit list --outcome failed)"
            )
        )


def _show_other(row: dict[str, Any]) -> None:
    last = row["last_cycle_at"]
    cycle = f"last cycle {_short(datetime.now(UTC) - parse_iso(last))} ago" if last else "no cycle yet"
    text = f"{_named(row)}: {counted(row['open'], 'open request')}, {cycle}"
    print(with_config(f"also recorded here: {text} (mlflow-reconciler status --all-registries)"))


def _show_daemon(daemon: dict[str, Any], with_registry: bool) -> None:
    if not daemon["sentence"]:
        print(f"{painted('starting', Colour.DOUBTFUL)}: {daemon['name']}, {daemon['age_seconds']:.0f} s ago")
        return
    ended = f" (ended {daemon['ended_at']})" if daemon["ended_at"] else ""
    verdict = painted("ok", Colour.GOOD) if daemon["ok"] else painted("FAILED", Colour.BAD)
    print(f"{verdict}: {_cycle_text(daemon)}")
    if daemon["problem"]:
        print(painted(f"  {daemon['problem']}", Colour.BAD))
    registry = f"on {_named(daemon)}, " if with_registry else ""
    known = f"policy {daemon['policy_digest'][:12]} since {daemon['policy_since']}, clock skew {_skew(daemon)}"
    print(f"  {registry}{known}{ended}")


def _show_stuck(stuck: list[dict[str, Any]]) -> None:
    for row in stuck:
        id = f" {row['decision_id']}" if row["decision_id"] else ""
        print(f"{since(row['since'])}: {row['kind']}{id} {_stuck_at(row)}, {in_a_row(row['failures'])}:")
        print(f"  {row['said']}")


def _stuck_at(row: dict[str, Any]) -> str:
    if row["kind"] == "list":
        return f"of the requests to {row['target']}"
    return f"on {row['model']} version {row['version']} to {row['target']}"


def _skew(daemon: dict[str, Any]) -> str:
    if daemon["skew_ms"] is None:
        return "not known"
    seconds = round(daemon["skew_ms"] / 1000)
    return f"{seconds:+d} s" if seconds else "under a second"


def _show_open(picture: dict[str, Any], with_registry: bool) -> None:
    if not picture["open_requests"]:
        last = next(iter(_with_a_cycle(picture)), None)
        if last is not None and not last["ok"]:
            say("the last cycle failed: which requests are open is not known")
        elif last is not None:
            print("no open requests")
        return
    ages = ", ".join(f"{count} {age}" for age, count in picture["open"]["by_age"].items())
    waits = ", ".join(f"{count} {_WHY[code]}" for code, count in picture["open"]["by_wait"].items())
    later = f"; {aside} set aside until the next try" if (aside := picture["open"]["set_aside"]) else ""
    print(f"open: {ages}; not decided: {waits or 'none'}{later}")
    columns = ["seen for", "model", "version", "target", "requester", "state", "next try"]
    columns += ["registry"] if with_registry else []
    write_table([_open_row(row) for row in picture["open_requests"]], columns, sys.stdout)


def _open_row(row: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC)
    next_try = _until(row["act_next_attempt_at"] or row["next_attempt_at"], now)
    return row | {
        "seen for": _short(now - parse_iso(row["first_seen_at"])),
        "state": _state(row, next_try),
        "registry": _named(row),
        "next try": next_try,
    }


def _until(moment: str | None, now: datetime) -> str | None:
    if moment is None:
        return None
    due = parse_iso(moment) - now
    return "now" if due <= timedelta() else f"in {_short(due)}"


def _state(row: dict[str, Any], next_try: str | None) -> str:
    if row["act_detail"]:
        return f"decided, next try {next_try}: {visible(row['act_detail'], _WORDS)}"
    if row["decision_id"]:
        return f"decided, {_ENDED.get(row['outcome'], 'being carried out')}"
    if row["waiting_code"]:
        return _WHY[row["waiting_code"]]
    return f"would {row['would']}" if row["would"] else "to be judged in the next cycle"


def _short(duration: timedelta) -> str:
    return duration_text(timedelta(seconds=max(round(duration.total_seconds()), 0)))
