"""audit dossier and audit sample."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import completing
from reconciler.cli.common import settings
from reconciler.cli.exits import DONE, say
from reconciler.cli.options import DecisionArgument, SinceOption, UntilOption, period, place_option
from reconciler.cli.shown.terminal import progress_bar
from reconciler.domain.text import counted, quoted

if TYPE_CHECKING:
    from reconciler.domain.proofs.checkpoint import Head

_HEAD = "A file of heads that you kept, to prove against (default: audit.heads, if this user may read it)."
ProofOption = Annotated[Path | None, typer.Option("--head", help=_HEAD)]


def dossier(
    decision_id: DecisionArgument,
    head: ProofOption = None,
    output: Annotated[Path | None, place_option(help="A file (default: stdout).")] = None,
) -> int:
    """Write one decision with its evidence, policy and outcome as JSON that tools/verify_audit.py verifies."""
    from reconciler.audit.dossiers import dossier_of, written
    from reconciler.audit.reader import only_one
    from reconciler.bootstrap.audit_reader import audit_snapshot
    from reconciler.cli.written.files import put

    with audit_snapshot(settings()) as connection, progress_bar("proving the decision"):
        whole_id = only_one(connection, decision_id)
        text = written(dossier_of(connection, whole_id, _heads(head)))
    if output is None:
        sys.stdout.write(text)
    else:
        with put(output) as file:
            file.write(text.encode())
        say(f"wrote {output}")
    return DONE


def sample(
    output: Annotated[Path, place_option(help="The ZIP file to write.")],
    seed: Annotated[
        str,
        typer.Option(
            metavar="<text>", help="The same seed draws the same decisions, as long as the period has no new ones."
        ),
    ],
    report: Annotated[
        str,
        typer.Option(
            metavar="<report>", help="The population to draw from: decisions.", autocompletion=completing.populations
        ),
    ] = "decisions",
    size: Annotated[int, typer.Option(metavar="<n>", min=1, max=10_000, help="How many to draw.")] = 25,
    since: SinceOption = None,
    until: UntilOption = None,
    head: ProofOption = None,
) -> int:
    """Draw a sample of decisions, and write their dossiers with an index as a ZIP."""
    from reconciler.audit.sampling import POPULATIONS, Drawing, write_sample
    from reconciler.bootstrap.audit_reader import audit_snapshot
    from reconciler.cli.written.files import put

    if report not in POPULATIONS:
        known = ", ".join(POPULATIONS)
        raise typer.BadParameter(f"{quoted(report)} is not one of: {known}", param_hint="--report")
    drawing = Drawing(report, *period(since, until), size, seed)
    heads = _heads(head)
    with audit_snapshot(settings()) as connection, put(output) as file, progress_bar("writing dossiers") as progress:
        drawn = write_sample(connection, drawing, heads, file, progress)
    say(f"wrote {output}: {counted(drawn.many, 'decision')} of {drawn.population}")
    if drawn.strange:
        have = counted(drawn.strange, "decision has an id that is", "decisions have ids that are")
        say(f"{have} not a UUID, as no daemon writes: find out who wrote it; the file is named by the id's SHA-256")
    return DONE


def _heads(named: Path | None) -> tuple[Head, ...]:
    """Those of the file that is named; else those that this host's daemon has appended, if they can be read."""
    from reconciler.audit.log.head_files import read

    found = own_heads() if named is None else read(named).heads
    if not found and named is None:
        say("no head proves it: name a file of heads with --head, or keep the head that it carries, to prove it later")
    return found


def own_heads() -> tuple[Head, ...]:
    """Those that this host's daemon has appended, if they can be read."""
    from reconciler.audit.log.head_files import NoHeads, read

    path = settings().heads_path()
    with contextlib.suppress(NoHeads):
        if path is not None:
            return read(path).heads
    return ()
