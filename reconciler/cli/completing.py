"""What a shell offers behind what was typed: names on record, where a database is configured, and known words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from reconciler.cli.common import Common, settings
from reconciler.domain.target import STAGES

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Shells put a word into the line as it is: a name may not bring a command, or a second word, with it. Bash, besides,
# takes what stands behind a colon, an equals sign or an @ for a word of its own, and would repeat what stands before.
_PLAIN = re.compile(r"@?[\w.][\w%+,./-]*")


def models(context: typer.Context, incomplete: str) -> list[str]:
    from reconciler.audit.completions import models_beginning

    return _offered(context, lambda connection: models_beginning(connection, incomplete))


def decisions(context: typer.Context, incomplete: str) -> list[str]:
    from reconciler.audit.completions import decisions_beginning

    return _offered(context, lambda connection: decisions_beginning(connection, incomplete))


def requesters(context: typer.Context, incomplete: str) -> list[str]:
    from reconciler.audit.completions import requesters_beginning

    return _offered(context, lambda connection: requesters_beginning(connection, incomplete))


def targets(context: typer.Context, incomplete: str) -> list[str]:
    """Those on record, and the stages, which every registry has."""
    from reconciler.audit.completions import targets_beginning

    known = _offered(context, lambda connection: targets_beginning(connection, incomplete))
    return list(dict.fromkeys([*known, *_beginning(STAGES, incomplete)]))


def reports(context: typer.Context, incomplete: str) -> list[str]:
    from reconciler.audit.reports import reports

    named = context.params.get("names") or ()
    return [name for name in _beginning(reports(), incomplete) if name not in named]


def sections(context: typer.Context, incomplete: str) -> list[str]:
    """Those of the reports that were named before; of all, where none was."""
    from reconciler.audit.reports import reports

    named = context.params.get("names") or ()
    chosen = [one for name, one in reports().items() if name in named or not named]
    return list(dict.fromkeys(name for one in chosen for name in _beginning(one.sections, incomplete)))


def populations(incomplete: str) -> list[str]:
    from reconciler.audit.sampling import POPULATIONS

    return _beginning(POPULATIONS, incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _offered(context: typer.Context, ask: Callable[[Connection], Sequence[str]]) -> list[str]:
    """Nothing where no database can be read: whoever presses the tab key wants no error in the line."""
    from reconciler.audit import schema
    from reconciler.audit.database import Access

    config = context.find_root().params.get("config")
    Common.config = Path(config) if config else None
    try:
        url = settings().audit.url.get_secret_value()
        with schema.opened_at_head(url, Access.READ) as engine, engine.connect() as connection:
            found = ask(connection)
    except Exception:  # noqa: BLE001
        return []
    return [name for name in found if _PLAIN.fullmatch(name)]
