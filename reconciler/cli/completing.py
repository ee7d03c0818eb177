"""What a shell offers behind what was typed: models and decision ids, where an audit database is configured."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from reconciler.cli.common import Common, settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Shells put a word into the line as it is: a name may not bring a command, or a second word, with it.
_PLAIN = re.compile(r"[\w@./][\w@%+=:,./-]*")


def models(context: typer.Context, incomplete: str) -> list[str]:
    from reconciler.audit.completions import models_beginning

    return _offered(context, lambda connection: models_beginning(connection, incomplete))


def decisions(context: typer.Context, incomplete: str) -> list[str]:
    from reconciler.audit.completions import decisions_beginning

    return _offered(context, lambda connection: decisions_beginning(connection, incomplete))


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
