"""`db check`: the schema against the migrations, and rows against the log and against what they say of themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from sqlalchemy import Connection, Engine

from reconciler.audit.database import any_bytes, audit_errors, one_state
from reconciler.audit.integrity.clocks import clocks_that_ran_backwards
from reconciler.audit.integrity.comparing import differences
from reconciler.audit.integrity.row_checks import RowChecks
from reconciler.audit.log.filling import Progress, unseen
from reconciler.audit.log.reading import leaves_from
from reconciler.audit.log.recomputing import MOST_TOLD, Differences
from reconciler.audit.log.verifying import compare_everything, compare_log, compare_new_rows
from reconciler.audit.recent import first_entry_since
from reconciler.audit.tables import now_in

# What is checked where nothing else is asked for.
RECENT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found, a sentence each: `MOST_TOLD` of a kind at most.

    `entries` is how many entries of the log were compared with their rows; None where rows cannot be read. What a clock
    did is past: it is told, and is no fault of the database.
    """

    schema: tuple[str, ...]
    rows: tuple[str, ...]
    clocks: tuple[str, ...]
    entries: int | None

    @property
    def faults(self) -> tuple[str, ...]:
        return self.schema + self.rows


def check(engine: Engine, everything: bool = False, progress: Progress = unseen) -> Checked:
    """Compares the schema, and the rows of the last day, or all of them, in one state of the database.

    Raises:
        AuditUnavailable: the database cannot be read.
    """
    with audit_errors(engine), one_state(engine) as connection, any_bytes(connection):
        found = differences(connection)
        schema = tuple(str(difference) for difference in found)
        if any(difference.hides_rows for difference in found):
            return Checked(schema, (), (), None)
        since = now_in(connection) - RECENT
        first = 0 if everything else first_entry_since(connection, since)
        rows = Differences()
        if everything:
            entries = compare_everything(connection, rows, progress).size
        else:
            entries = compare_log(connection, first, rows, progress).size - first
            compare_new_rows(connection, rows, since)
        told = [*rows.told, *islice(_what_rows_say(connection, first), MOST_TOLD)]
        restore = "compare it with a backup"
        return Checked(
            schema,
            tuple(f"{sentence}: {restore}" for sentence in told),
            tuple(clocks_that_ran_backwards(connection, first)),
            entries,
        )


def _what_rows_say(connection: Connection, first: int) -> Iterator[str]:
    checks = RowChecks(connection)
    for leaves in leaves_from(connection, first):
        keys: dict[str, list[str]] = defaultdict(list)
        for leaf in leaves:
            # A forged key of another kind names no row, which the log tells.
            if isinstance(leaf.row_key, str):
                keys[leaf.entry].append(leaf.row_key)
        yield from checks.check(keys)
