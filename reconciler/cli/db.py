"""db upgrade, current, check, copy, backup and restored."""

from __future__ import annotations

import getpass
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from reconciler.cli.commands import Commands
from reconciler.cli.common import settings
from reconciler.cli.exits import DONE, NEGATIVE, say
from reconciler.cli.options import REASON, ByOption, FormatOption, NoHeadersOption
from reconciler.cli.shown.output import Format, Shape, rows_writer, write_rows
from reconciler.cli.shown.terminal import progress_bar
from reconciler.domain.text import counted, visible

app = typer.Typer(
    cls=Commands, no_args_is_help=True, help="Create, upgrade, check, copy and back up the audit database."
)


def _url() -> str:
    return settings().audit.url.get_secret_value()


_SQL = "Print the SQL instead of running it, for somebody who may change the schema (PostgreSQL)."


@app.command(epilog="Example: RECONCILER_AUDIT__URL=sqlite:///audit.db mlflow-reconciler db upgrade")
def upgrade(sql: Annotated[bool, typer.Option("--sql", help=_SQL)] = False) -> int:
    """Create the schema, or upgrade it to this version's revision."""
    from reconciler.audit import schema

    if sql:
        return _print_sql(_url())
    with progress_bar("adding rows to the log") as progress:
        revision = schema.upgrade(_url(), progress)
    print(revision)
    say(f"{schema.shown_url(_url())} is ready")
    return DONE


def _print_sql(url: str) -> int:
    from reconciler.audit import schema

    if not url.startswith("postgresql"):
        raise typer.BadParameter("is for PostgreSQL: run `db upgrade` itself on SQLite", param_hint="--sql")
    statements = schema.upgrade_as_sql(url)
    sys.stdout.write(statements)
    done = f"{schema.shown_url(url)} is at {schema.head()} already"
    say("after running this: `mlflow-reconciler db upgrade` adds the existing rows to the log" if statements else done)
    return DONE


@app.command(epilog="Example: mlflow-reconciler db history")
def history(format: FormatOption = Format.TABLE, no_headers: NoHeadersOption = False) -> int:
    """List the schema's revisions, oldest first, and mark those that the database has."""
    from reconciler.audit import schema

    at = schema.current(_url()) or ""
    rows = [
        {"revision": revision, "state": "applied" if revision <= at else "to come", "brings": brings}
        for revision, brings in schema.history().items()
    ]
    columns = "revision", "state", "brings"
    write_rows(rows, Shape(format, not no_headers), columns, columns, sys.stdout)
    return DONE


@app.command(epilog="Example: mlflow-reconciler db roles > roles.sql")
def roles(
    prefix: Annotated[str, typer.Option(metavar="<name>", help="Prefix of the roles' names.")] = "reconciler",
    schema: Annotated[str, typer.Option(metavar="<name>", help="Schema of the audit tables.")] = "public",
) -> int:
    """Print the SQL that creates the PostgreSQL roles owner, daemon, operator and auditor; change nothing."""
    from reconciler.audit.roles import script

    for option, name in (("--prefix", prefix), ("--schema", schema)):
        if not re.fullmatch("[a-z_][a-z0-9_]{0,49}", name):
            raise typer.BadParameter(f"{name!r} is not a plain name: use a-z, 0-9 and _", param_hint=option)
    print(script(prefix, schema), end="")
    return DONE


@app.command(epilog="Example: mlflow-reconciler db current")
def current() -> int:
    """Print the database's revision; exit 1 if it has none."""
    from reconciler.audit import schema

    revision = schema.current(_url())
    if revision is None:
        say("no schema yet: run `mlflow-reconciler db upgrade`")
        return NEGATIVE
    print(revision)
    return DONE


AllOption = Annotated[bool, typer.Option("--all", help="Check all rows, not only those of the last day.")]


@app.command(epilog="Example: mlflow-reconciler db check --all")
def check(
    everything: AllOption = False, format: FormatOption = Format.TABLE, no_headers: NoHeadersOption = False
) -> int:
    """Compare the schema with that of a new database, and the last day's rows with the log, their checks and policies.

    Exits 1 with a line for each difference. A clock that ran backwards is reported too, but is no difference.
    """
    from reconciler.audit import schema
    from reconciler.audit.database import Access
    from reconciler.audit.integrity import checking

    with schema.opened_at_head(_url(), Access.READ) as engine, progress_bar("checking rows") as progress:
        found = checking.check(engine, everything, progress)
    rows = [
        {"kind": kind, "finding": visible(told, 1_000)}
        for kind, all_told in (("schema", found.schema), ("row", found.rows), ("clock", found.clocks))
        for told in all_told
    ]
    in_order = {"revision": schema.head(), "in_order": not found.faults, "entries": found.entries, "all": everything}
    sentence = _told_of_schema(found.schema, schema.head()) + "; "
    sentence += _told_of_rows(found.rows, found.entries, everything)
    _write_results(rows, Shape(format, not no_headers), in_order, sentence)
    return NEGATIVE if found.faults else DONE


def _write_results(rows: Sequence[Mapping[str, Any]], shape: Shape, facts: Mapping[str, Any], sentence: str) -> None:
    """People read the findings alone, a line each."""
    stream = rows_writer(shape, ("kind", "finding"), ("kind", "finding"), sys.stdout)
    if stream is not None:
        stream.write_all(rows)
        stream.end_with(facts, sentence)
        return
    for row in rows:
        print(row["finding"])
    say(sentence)


def _told_of_schema(differences: Sequence[str], head: str) -> str:
    return f"the schema differs from {head}" if differences else f"the schema is at {head}, as expected"


def _told_of_rows(differences: Sequence[str], entries: int | None, everything: bool) -> str:
    if entries is None:
        return "no row was checked, since columns are missing"
    which = "all rows" if everything else "the rows of the last day"
    return f"{which} {'differ' if differences else 'are in order'} ({counted(entries, 'entry', 'entries')} of the log)"


FromOption = Annotated[
    str, typer.Option("--from", metavar="<url>", help="The database to copy; a URL as in audit.url.")
]
ToOption = Annotated[str, typer.Option("--to", metavar="<url>", help="An empty database, created by `db upgrade`.")]


@app.command(epilog="Example: mlflow-reconciler db copy --from sqlite:///audit.db --to postgresql://db/audit")
def copy(
    source: FromOption, target: ToOption, format: FormatOption = Format.TABLE, no_headers: NoHeadersOption = False
) -> int:
    """Copy an audit database into an empty one, SQLite or PostgreSQL, and compare counts and digests."""
    from reconciler.audit import transfer

    urls = _address(source, "--from"), _address(target, "--to")
    with progress_bar("copying rows") as progress:
        done = transfer.copy(*urls, progress)
    shape, columns = Shape(format, not no_headers), ("table", "rows", "sha256")
    if shape.for_people:
        for table in done:
            print(f"{table.table}: {counted(table.rows, 'row')}, sha256 {table.digest}")
    else:
        rows = [dict(zip(columns, (table.table, table.rows, table.digest), strict=True)) for table in done]
        write_rows(rows, shape, columns, columns, sys.stdout)
    say("copied and compared; stop the daemon before the final copy, then set audit.url")
    return DONE


def _address(url: str, option: str) -> str:
    from reconciler.settings.addresses import database_url

    try:
        return database_url(url)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


@app.command(epilog="Example: mlflow-reconciler db backup audit-backup.db")
def backup(path: Annotated[Path, typer.Argument(help="The file to create.")]) -> int:
    """Back up a SQLite audit database while the daemon runs."""
    from reconciler.audit import transfer

    with progress_bar("copying pages") as progress:
        transfer.backup(_url(), path, progress)
    say(f"{path} is a complete copy; to restore it, stop the daemon and replace the database with it")
    return DONE


@app.command(epilog="Example: mlflow-reconciler db restored --reason 'disk failed, restored the backup of 2 March'")
def restored(
    reason: Annotated[str, typer.Option(metavar=REASON, help="Why the database was restored; recorded.")],
    person: ByOption = None,
) -> int:
    """Record that the database was restored from a backup, so that later decisions may be missing."""
    from reconciler.audit import schema
    from reconciler.audit.database import Access
    from reconciler.audit.log.epochs import note_restored

    if not reason.strip():
        raise typer.BadParameter("is empty: say why the database was restored", param_hint="--reason")
    with schema.opened_at_head(_url(), Access.WRITE) as engine:
        epoch = note_restored(engine, reason, person or getpass.getuser())
    say(f"recorded in {schema.shown_url(_url())}: epoch {epoch} of its log begins")
    return DONE
