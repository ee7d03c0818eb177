"""Who may do what in an audit database on PostgreSQL: a script of roles, for an administrator to run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from reconciler.audit.rights import Right, operator_rights, rights

_HEAD: Final = """\
-- Roles for an audit database of mlflow-reconciler. An administrator runs this in that database after `db upgrade`, and
-- again after each later one; nothing is lost by running it twice. None of the roles can log in: grant each to those
-- who can.
--
--   {owner}: owns the schema. Whoever upgrades it, or redacts, is a member; the daemon's login never is.
--   {daemon}: what a daemon reads and writes.
--   {operator}: pause, resume, acknowledge and baseline; and all reading.
--   {auditor}: reads everything, and writes nothing.
"""


@dataclass(frozen=True, slots=True)
class Roles:
    owner: str
    daemon: str
    operator: str
    auditor: str

    @classmethod
    def named(cls, prefix: str) -> Roles:
        return cls(*(f"{prefix}_{role}" for role in ("owner", "daemon", "operator", "auditor")))

    def __iter__(self) -> Iterator[str]:
        return iter((self.owner, self.daemon, self.operator, self.auditor))


def script(prefix: str, schema: str) -> str:
    """The statements. `prefix` and `schema` are plain names: letters, digits and underscores."""
    roles = Roles.named(prefix)
    readers = f"{roles.operator}, {roles.auditor}"
    lines = [
        _HEAD.format(owner=roles.owner, daemon=roles.daemon, operator=roles.operator, auditor=roles.auditor),
        "BEGIN;",
        *(_created(role) for role in roles),
        f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {roles.owner};",
        f"GRANT USAGE ON SCHEMA {schema} TO {roles.daemon}, {readers};",
        _owned(roles.owner, schema),
        "-- What an earlier script granted, and this one does not.",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {roles.daemon}, {readers};",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {readers};",
        "-- History is granted column by column: what the database sets itself, such as a row's id, nobody chooses.",
        *_grants(rights(), roles.daemon, schema),
        *_grants(operator_rights(), roles.operator, schema),
        "COMMIT;",
    ]
    return "\n".join(lines) + "\n"


def _created(role: str) -> str:
    unless = f"IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}')"  # noqa: S608
    return f"DO $$ BEGIN {unless} THEN CREATE ROLE {role} NOLOGIN; END IF; END $$;"


def _owned(owner: str, schema: str) -> str:
    return f"""\
DO $$ DECLARE one record; BEGIN
  FOR one IN SELECT CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind, c.oid::regclass AS name
      FROM pg_class c WHERE relnamespace = '{schema}'::regnamespace AND relkind IN ('r', 'v') LOOP
    EXECUTE format('ALTER %s %s OWNER TO {owner}', one.kind, one.name);
  END LOOP;
  FOR one IN SELECT p.oid::regprocedure AS name FROM pg_proc p WHERE pronamespace = '{schema}'::regnamespace LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO {owner}', one.name);
  END LOOP;
END $$;"""  # noqa: S608


def _grants(wanted: Iterable[Right], role: str, schema: str) -> Iterator[str]:
    """A line for each table."""
    by_table: dict[str, list[str]] = defaultdict(list)
    for right in wanted:
        by_table[right.table].append(str(right))
    for table, granted in by_table.items():
        yield f"GRANT {', '.join(granted)} ON {schema}.{table} TO {role};"
