"""audit reperform."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli import completing
from reconciler.cli.common import settings
from reconciler.cli.exits import ABSTAINED, DONE, NEGATIVE
from reconciler.cli.options import FormatOption, NoHeadersOption, SinceOption, UntilOption, period
from reconciler.cli.shown.output import Format, RowWriter, Shape, rows_writer
from reconciler.cli.shown.terminal import Colour, painted, progress_bar
from reconciler.domain.text import counted

if TYPE_CHECKING:
    from reconciler.audit.decisions.reperforming import Reperformed
    from reconciler.audit.decisions.stored import Chosen, Part
    from reconciler.domain.agreement import Discrepancy

COLUMNS = (
    "decision_id", "decided_at", "model", "version", "target", "agreement", "check", "what", "recorded",
    "judged_again", "why",
)  # fmt: skip
_COLOURS = {"differs": Colour.BAD, "unknown": Colour.DOUBTFUL}


def reperform(
    decision_id: Annotated[
        str | None,
        typer.Argument(help="The decision's id, or its first characters.", autocompletion=completing.decisions),
    ] = None,
    format: FormatOption = Format.TABLE,
    no_headers: NoHeadersOption = False,
    since: SinceOption = None,
    until: UntilOption = None,
) -> int:
    """Judge decisions again from their recorded evidence; exit 1 if one comes out differently, or 3 if one cannot be
    judged.

    Each is judged by the policy that was in force then and the engine that judged it.
    """
    from reconciler.audit.decisions.reperforming import reperform as judged_again
    from reconciler.audit.decisions.stored import Chosen

    if decision_id is not None and (since or until):
        raise typer.BadParameter("names one decision: leave out --since and --until", param_hint="decision_id")
    configured = settings()
    url, plugins = configured.audit.url.get_secret_value(), configured.plugins.named()
    # What cannot be loaded is told before anything is judged.
    plugins.kinds()
    many, parts = chosen_decisions(url, decision_id, Chosen(None, *period(since, until)))
    count: Counter[str] = Counter()
    stream = rows_writer(Shape(format, not no_headers), COLUMNS, COLUMNS[:-1], sys.stdout)
    with progress_bar("judging again") as progress:
        for done in judged_again(url, parts, plugins):
            count["decisions"] += done.judged
            progress(count["decisions"], many)
            for one in done.told:
                count[one.agreement] += 1
                _tell(one, stream)
    return _ended(count, stream)


def chosen_decisions(url: str, decision_id: str | None, chosen: Chosen) -> tuple[int, list[Part]]:
    """How many decisions are chosen, and in which parts they are read.

    Raises:
        NoSuchDecision, AmbiguousDecision: as `AuditReader.decision`.
    """
    from reconciler.audit import schema
    from reconciler.audit.database import Access, audit_errors, one_state
    from reconciler.audit.decisions.stored import count_of, parts_of
    from reconciler.audit.reader import only_one

    opened = schema.opened_at_head(url, Access.READ)
    with opened as engine, audit_errors(engine), one_state(engine) as connection:
        if decision_id is not None:
            chosen = replace(chosen, decision_id=only_one(connection, decision_id))
        return count_of(connection, chosen), parts_of(connection, chosen)


def _tell(one: Reperformed, stream: RowWriter | None) -> None:
    if stream is not None:
        for row in _rows(one):
            stream.write(row)
        return
    agreement = painted(str(one.agreement), _COLOURS[str(one.agreement)])
    place = f"{one.model} version {one.version} to {one.target}"
    print(f"{one.decision_id} {place}, decided {one.decided_at}: {agreement}")
    for found in one.found:
        print(f"  {_sentence(found)}")


def _rows(one: Reperformed) -> Iterator[dict[str, Any]]:
    about = {name: getattr(one, name) for name in COLUMNS[:5]}
    for found in one.found:
        values = found.check, found.what, found.recorded, found.again, found.why
        yield about | dict(zip(COLUMNS[5:], (str(found.kind), *values), strict=True))


def _sentence(found: Discrepancy) -> str:
    subject = f"{found.check}: {found.what}" if found.check else found.what
    if found.kind == "unknown":
        return f"{subject}: cannot be judged: {found.why}"
    why = f" ({found.why})" if found.why else ""
    return f"{subject}: recorded {found.recorded or 'nothing'}, judged again {found.again or 'nothing'}{why}"


def _ended(count: Counter[str], stream: RowWriter | None) -> int:
    differ, unknown = count["differs"], count["unknown"]
    agree = count["decisions"] - differ - unknown
    sentence = f"{counted(count['decisions'], 'decision')} judged again: {agree} agree, {differ} differ"
    sentence += f", {unknown} cannot be judged"
    if stream is None:
        print(sentence)
    else:
        about = {"decisions": count["decisions"], "agree": agree, "differ": differ, "unknown": unknown}
        stream.end_with(about, sentence)
    return NEGATIVE if differ else ABSTAINED if unknown else DONE
