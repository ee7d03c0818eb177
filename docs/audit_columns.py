"""The columns of each table and view of the audit database, for docs/audit.md and contrib/datasette.json.

What they mean is what PostgreSQL's catalogue says, as `make schema` has read it from a new database; types and what may
be NULL are there, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import Table
from sqlalchemy.types import BigInteger, Boolean, Integer

from reconciler.audit import views
from reconciler.audit.cells import Truth
from reconciler.audit.integrity.comparing import EXPECTED
from reconciler.audit.reader import REGISTER
from reconciler.audit.tables import Base, UtcMillis

_STORED: Final = json.loads((EXPECTED / "postgresql.json").read_text(encoding="utf-8"))
# In the order in which a view has its columns.
_MIGRATIONS: Final = Path(__file__).parent.with_name("migrations")
_ORDERED: Final = json.loads((_MIGRATIONS / "comments_0025.json").read_text("utf-8"))
_VIEWS: Final = {one.name: one for one in [REGISTER, *vars(views).values()] if isinstance(one, Table)}
_TYPES: Final = {
    "character varying": "text", "timestamp with time zone": "time", "bigint": "integer", "double precision": "number",
    "bytea": "bytes",
}  # fmt: skip
_BEGIN: Final = "| column | type | NULL | meaning |\n|---|---|---|---|\n"
# A heading that names a table, and the list of its columns, which is the first in its section.
_LIST: Final = re.compile(
    r"^(#+ [^\n]*?`(\w+)`[^\n]*\n(?:(?!\n#|\| column ).)*?)\| column [^\n]*\n(?:\|[^\n]*\n)+", re.M | re.S
)


def described() -> dict[str, dict[str, str]]:
    """What each table, view and column means: by name and column; an empty column: the table itself."""
    return {name: kinds["comment"] for name, kinds in _STORED.items() if "comment" in kinds}


def with_lists_of_columns(page: str) -> str:
    """The page, with the list under each heading that names a table as the database has it."""
    return _LIST.sub(lambda found: found[1] + _BEGIN + "".join(_rows(found[2])), page)


def _rows(name: str) -> Iterator[str]:
    texts = described()[name]
    for column, (kind, may_be_null) in _columns(name).items():
        yield f"| `{column}` | {kind} | {'yes' if may_be_null else '–'} | {_meaning(texts[column])} |\n"


def _meaning(text: str) -> str:
    """Words that stand in columns, and names of tables, as they are typed."""
    return re.sub(r"(?<![`\w./-])([a-z]+(?:_[a-z]+)+)(?![`\w/])", r"`\1`", text).replace("|", "\\|")


def _columns(name: str) -> dict[str, tuple[str, bool]]:
    """The type of each column in its order, and whether it may be NULL."""
    if name in Base.metadata.tables:
        stored = _STORED[name]["column"]
        ordered = [one.name for one in Base.metadata.tables[name].columns]
        return {column: (_type(stored[column]), "not null" not in stored[column]) for column in ordered}
    # A view has the columns of its tables, and others.
    kinds = {column: _type(told) for column, told in _STORED["decisions"]["column"].items()}
    kinds |= {one.name: _type_in_a_view(one.type) for one in _VIEWS[name].columns}
    texts = described()[name]
    return {column: (kinds[column], "NULL:" in texts[column]) for column in _ORDERED[name] if column}


def _type(told: str) -> str:
    words = told.partition(" not null")[0].partition(" default")[0].partition(" (")[0]
    return _TYPES.get(words, words)


def _type_in_a_view(kind: object) -> str:
    if isinstance(kind, UtcMillis):
        return "time"
    if isinstance(kind, Truth | Boolean):
        return "boolean"
    return "integer" if isinstance(kind, Integer | BigInteger) else "text"


def datasette() -> str:
    """What Datasette shows of the tables and views: its metadata."""
    tables = {
        name: {"description": columns[""], "columns": {column: text for column, text in columns.items() if column}}
        for name, columns in sorted(described().items())
    }
    about = {
        "title": "mlflow-reconciler: the audit",
        "description": "What was asked for, decided and done; docs/audit.md describes it.",
        "databases": {"audit": {"tables": tables}},
    }
    return json.dumps(about, indent=1, ensure_ascii=False) + "\n"
