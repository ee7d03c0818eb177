"""What is stuck, in lines for people: what, since when, in whose words, and what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from reconciler.cli.shown.terminal import Colour, painted
from reconciler.domain.text import visible
from reconciler.domain.times import iso

if TYPE_CHECKING:
    from reconciler.ports import Stuck

_NOT_DONE = {"decision": "cannot be carried out", "request": "cannot be judged", "list": "cannot be listed"}


def stuck_lines(stuck: Stuck) -> Iterator[str]:
    """Of something that is about a request which is shown above."""
    id = f" {stuck.decision_id}" if stuck.decision_id else ""
    what = f"the requests to {stuck.target}" if stuck.kind == "list" else f"{stuck.kind}{id}"
    yield f"{since(iso(stuck.since))}: {what} {_NOT_DONE[stuck.kind]}, {in_a_row(stuck.failures)}:"
    yield f"  {visible(stuck.said)}"
    remedy = (
        "what to do: the operator of the registry or of the daemon fixes what is named above; the daemon then tries "
        "again (mlflow-reconciler status shows when), and no new request is needed"
    )
    yield from textwrap.wrap(remedy, 80, initial_indent="  ", subsequent_indent="  ")


def since(moment: str) -> str:
    return painted(f"stuck since {moment[:19]}Z", Colour.BAD)


def in_a_row(failures: int) -> str:
    return "once" if failures == 1 else f"{failures} times in a row"


def stuck_data(stuck: Stuck) -> dict[str, Any]:
    return {
        "kind": stuck.kind,
        "decision_id": stuck.decision_id,
        "since": iso(stuck.since),
        "failures": stuck.failures,
        "said": visible(stuck.said),
    }
