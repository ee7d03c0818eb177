"""The schema of a PostgreSQL database, as its catalogue tells it: PostgreSQL writes these texts itself.

Constraints NOT NULL are told by their columns: only PostgreSQL 18 and later keep them as constraints too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, text

from reconciler.audit.integrity.catalogue import Item, normalised

# Where the audit's tables are, whatever the search path is.
_SCHEMA: Final = (
    "SELECT n.oid, quote_ident(n.nspname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.oid = to_regclass('alembic_version')"
)
# The same names somewhere else, where this session finds them first: what is read and written is there.
_SHADOWING: Final = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(s.relname), s.relkind
FROM pg_class c JOIN pg_class s ON s.oid = to_regclass(quote_ident(c.relname))
JOIN pg_namespace n ON n.oid = s.relnamespace
WHERE c.relnamespace = :schema AND c.relkind IN ('r', 'p', 'f', 'v', 'm') AND s.oid <> c.oid"""
# From here on names without a schema are this one's, and all others are written out.
_ONLY_THERE: Final = "SELECT set_config('search_path', :path, true)"
# What an extension brought is none of ours.
_OURS: Final = (
    "NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.objid = c.oid AND e.classid = c.tableoid AND e.deptype = 'e')"
)

# Each gives name, table (empty where there is none) and what is to be compared. OURS stands for `_OURS`.
_QUERIES: Final = {
    "table": """
SELECT c.relname AS name, c.relname AS table,
       concat_ws(' ', CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' ELSE 'foreign table' END,
                 CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
                 CASE WHEN c.relrowsecurity OR c.relforcerowsecurity THEN 'with row security' END,
                 CASE WHEN EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid) THEN 'with child tables' END,
                 CASE WHEN EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = c.oid) THEN 'of a parent table' END)
FROM pg_class c WHERE c.relnamespace = :schema AND c.relkind IN ('r', 'p', 'f') AND OURS""",
    "column": """
SELECT a.attname, c.relname,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod),
                 CASE WHEN a.attcollation <> t.typcollation THEN 'collate ' || a.attcollation::regcollation END,
                 CASE WHEN a.attnotnull THEN 'not null' END,
                 CASE a.attidentity WHEN 'a' THEN 'identity always' WHEN 'd' THEN 'identity by default' END,
                 (SELECT 'counted otherwise' FROM pg_sequence s JOIN pg_depend d ON d.objid = s.seqrelid
                  WHERE d.classid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum
                  AND (s.seqstart, s.seqincrement, s.seqmin, s.seqcycle) <> (1, 1, 1, false)),
                 CASE WHEN a.attgenerated <> '' THEN 'generated' END, 'default ' || pg_get_expr(d.adbin, d.adrelid))
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relnamespace = :schema AND c.relkind IN ('r', 'p', 'f') AND a.attnum > 0 AND NOT a.attisdropped AND OURS""",
    "constraint": """
SELECT k.conname, c.relname,
       concat_ws(' ', pg_get_constraintdef(k.oid, true),
                 CASE WHEN EXISTS (SELECT 1 FROM pg_trigger t
                                   WHERE t.tgconstraint = k.oid AND t.tgenabled IN ('D', 'R'))
                      THEN 'switched off' END,
                 CASE WHEN NOT (i.indisunique AND i.indisvalid AND i.indisready AND i.indislive) THEN 'invalid' END)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
LEFT JOIN pg_index i ON i.indexrelid = k.conindid AND k.contype IN ('p', 'u')
WHERE c.relnamespace = :schema AND k.contype NOT IN ('n', 't') AND OURS""",
    "index": """
SELECT x.relname, c.relname,
       concat_ws(' ', pg_get_indexdef(i.indexrelid, 0, true),
                 CASE WHEN NOT (i.indisvalid AND i.indisready AND i.indislive) THEN 'invalid' END)
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = :schema AND OURS
AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))""",
    "trigger": """
SELECT t.tgname, c.relname,
       concat_ws(' ', pg_get_triggerdef(t.oid, true),
                 CASE t.tgenabled WHEN 'A' THEN 'always' WHEN 'R' THEN 'on replicas' WHEN 'D' THEN 'switched off' END)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = :schema AND NOT t.tgisinternal AND OURS""",
    "rule": """
SELECT r.rulename, c.relname, pg_get_ruledef(r.oid, true) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
WHERE c.relnamespace = :schema AND r.rulename <> '_RETURN' AND OURS""",
    "policy": """
SELECT p.polname, c.relname, concat_ws(' ', p.polcmd, pg_get_expr(p.polqual, p.polrelid))
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = :schema AND OURS""",
    "view": """
SELECT c.relname, '', concat_ws(' ', c.relkind, c.reloptions::text, pg_get_viewdef(c.oid, true)) FROM pg_class c
WHERE c.relnamespace = :schema AND c.relkind IN ('v', 'm') AND OURS""",
    "comment": """
SELECT coalesce(a.attname, ''), c.relname, d.description
FROM pg_description d JOIN pg_class c ON d.classoid = 'pg_class'::regclass AND c.oid = d.objoid
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE c.relnamespace = :schema AND c.relkind IN ('r', 'p', 'f', 'v', 'm') AND OURS""",
    "function": """
SELECT c.proname || '(' || pg_get_function_identity_arguments(c.oid) || ')', '', pg_get_functiondef(c.oid)
FROM pg_proc c WHERE c.pronamespace = :schema AND c.prokind IN ('f', 'p') AND OURS""",
    # PostgreSQL has none of its own for `varchar`, so that such a one would be taken wherever keys are compared.
    "operator": """
SELECT c.oid::regoperator::text, '', c.oprcode::regproc::text
FROM pg_operator c WHERE c.oprnamespace = ANY (:read) AND OURS""",
}


def items(connection: Connection) -> Iterator[tuple[Item, str]]:
    schema = connection.execute(text(_SCHEMA)).one()
    values = {"schema": schema.oid, "read": _read_schemas(connection)}
    for name, kind in connection.execute(text(_SHADOWING), values):
        yield Item("relation", str(name)), str(kind)
    if connection.scalar(
        text("SELECT current_schemas(false) && '{pg_catalog}' AND (current_schemas(false))[1] <> 'pg_catalog'")
    ):
        yield Item("setting", "search_path"), "names of PostgreSQL's own lead elsewhere"
    # Some texts name the schema and some do not.
    qualified = re.compile(rf"(?<![\w\"]){re.escape(schema.name)}\.")
    path = connection.scalar(text("SELECT current_setting('search_path')"))
    connection.execute(text(_ONLY_THERE), {"path": schema.name})
    for kind, query in _QUERIES.items():
        # Catalogues have names of a type of their own, and codes of one byte.
        for name, table, told in connection.execute(text(query.replace("OURS", _OURS)), values):
            # What is for people is compared as it is.
            words = str(told) if kind == "comment" else normalised(qualified.sub("", str(told)))
            yield Item(kind, str(name), str(table)), words
    connection.execute(text(_ONLY_THERE), {"path": path})


def _read_schemas(connection: Connection) -> list[int]:
    """Those in which this session looks for names, but for PostgreSQL's own."""
    found = (
        "SELECT n.oid FROM pg_namespace n WHERE n.nspname = ANY (current_schemas(false)) AND n.nspname <> 'pg_catalog'"
    )
    return [int(oid) for oid in connection.scalars(text(found))]
