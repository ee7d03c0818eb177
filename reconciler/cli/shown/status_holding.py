"""What `status` shows of what holds a target: bypasses, stray tags, and how old the looks are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from reconciler.cli.common import with_config
from reconciler.cli.shown.terminal import Colour, painted
from reconciler.domain.text import counted, named_place
from reconciler.domain.times import duration_text

# Seconds: clocks that agree better hide nothing.
_FAR_AHEAD = 600


def show_holding(picture: dict[str, Any], here: tuple[str, str] | None) -> None:
    """`here`: the registry and workspace that need no name."""
    if here is None and len(picture["looks"]) == 1:
        here = _place(picture["looks"][0])
    for row in picture["looks"]:
        print(_look_text(row) + _elsewhere(row, here))
        if row["problem"]:
            print(painted(f"  the last look failed: {row['problem']}", Colour.BAD))
        if (ahead := row["newest_change_ahead_seconds"] or 0) >= _FAR_AHEAD:
            dated = f"  the registry dates its newest change {_short(ahead)} in the future"
            print(painted(f"{dated}: its clock was set back, or is ahead", Colour.DOUBTFUL))
    _show_bypasses(picture["bypasses"], picture["bypass_count"], here)
    if picture["baselines"]:
        held = counted(picture["baselines"], "version")
        print(with_config(f"{held} held a target when first looked at: mlflow-reconciler audit baseline"))
    _show_strays(picture["stray_tags"], picture["stray_tag_count"], here)


def _place(row: dict[str, Any]) -> tuple[str, str]:
    return row["registry"], row["workspace"]


def _elsewhere(row: dict[str, Any], here: tuple[str, str] | None) -> str:
    """Models of two registries or workspaces may have one name."""
    return "" if _place(row) == here else f" ({named_place(*_place(row))})"


def _look_text(row: dict[str, Any]) -> str:
    """As of when what is known of the holders is true."""
    ages = {"stages": row["stages_age_seconds"], "aliases": row["aliases_age_seconds"]}
    known = [f"{kind} {_short(age)} ago" for kind, age in ages.items() if age is not None]
    if not known:
        return "holders: the first look at everything is under way"
    take = row["aliases_take_seconds"] or 0
    round_ = f" (a round takes {_short(take)})" if ages["aliases"] is not None and take >= 1 else ""
    everything = row["everything_age_seconds"]
    whole = f"; everything {_short(everything)} ago" if everything is not None else ""
    return f"holders looked at: {', '.join(known)}{round_}{whole}"


def _show_bypasses(bypasses: list[dict[str, Any]], count: int, here: tuple[str, str] | None) -> None:
    for row in bypasses:
        held = f"{row['model']} version {row['version']} holds {row['target']} without a decision"
        since = f"first seen at {row['first_seen_with'][:19]}Z"
        print(f"{painted('bypass', Colour.BAD)} {row['tenure_id']}: {held}, {since}{_elsewhere(row, here)}")
    if bypasses:
        more = f"{count - len(bypasses)} more; " if count > len(bypasses) else ""
        print(with_config(f"  {more}accept one: mlflow-reconciler audit acknowledge NUMBER --reason TEXT"))


def _show_strays(strays: list[dict[str, Any]], count: int, here: tuple[str, str] | None) -> None:
    for row in strays:
        place = f"{row['model']} version {row['version']}{_elsewhere(row, here)}"
        print(f"{painted('stray tag', Colour.DOUBTFUL)}: {row['tag']} on {place} requests nothing that a rule covers")
    if count > len(strays):
        print(f"  {count - len(strays)} more")


def _short(seconds: float) -> str:
    return duration_text(timedelta(seconds=max(round(seconds), 0)))
