"""What a database says of its own schema: every table, column, constraint, index, trigger, view and function, as text.

Texts are compared by their words, so that blanks, letter case and needless quotes make no difference. The text of a
table on SQLite is taken apart: SQLite keeps it as CREATE TABLE wrote it and each ALTER TABLE changed it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

from sqlalchemy import Connection, text


class Item(NamedTuple):
    """One thing in a schema. `table` is empty for a view and a function."""

    kind: str
    name: str
    table: str = ""

    def __str__(self) -> str:
        of_it = f" of {self.table}" if self.table and self.kind != "table" else ""
        return f"{self.kind} {self.name}".rstrip() + of_it


Catalogue = Mapping[Item, str]


def catalogue(connection: Connection) -> Catalogue:
    """The schema of the audit database, without what belongs to the database itself or to an extension."""
    if connection.dialect.name == "sqlite":
        return _together(_on_sqlite(connection))
    # Its queries are loaded where they are asked for.
    from reconciler.audit.integrity.catalogue_postgresql import items

    return _together(items(connection))


def _together(items: Iterable[tuple[Item, str]]) -> Catalogue:
    """Of two things with one name, which SQLite allows for constraints, none hides the other."""
    found: dict[Item, str] = {}
    for item, told in items:
        found[item] = f"{found[item]} and {told}" if item in found else told
    return found


# --- texts ---------------------------------------------------------------------------------------------------

# Strings, names in quotes of each kind, comments, words; else one character.
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|\w+|[^\w\s]""", re.DOTALL)
# To a database only these letters are the same in both cases.
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_PLAIN_NAME = re.compile(r'["`\[]([a-z_][a-z0-9_]*)["`\]]')


def tokens(sql: str) -> list[str]:
    return [_token(found) for found in _TOKEN.findall(sql)]


def _token(found: str) -> str:
    if named := _PLAIN_NAME.fullmatch(found):
        return named[1]
    return found.translate(_LOWER) if found[0].isalnum() or found[0] == "_" else found


def normalised(sql: str) -> str:
    """The words of a text, each separated by a blank."""
    return " ".join(tokens(sql))


# --- SQLite --------------------------------------------------------------------------------------------------

# SQLite's own, and the statistics that ANALYZE makes.
_OWN = re.compile(r"sqlite_(?:sequence|stat\d)")
_BEGINS_CONSTRAINT = {"primary", "unique", "check", "foreign"}


def _on_sqlite(connection: Connection) -> Iterator[tuple[Item, str]]:
    for row in connection.execute(text("SELECT type, name, tbl_name, sql FROM sqlite_master")):
        if row.type == "table" and _OWN.fullmatch(row.name):
            continue
        if row.type == "table":
            yield from _table(row.name, tokens(row.sql or ""))
        elif row.type == "view":
            yield Item("view", row.name), normalised(row.sql or "")
        else:
            # The index that a constraint makes for itself has no text.
            yield Item(row.type, row.name, row.tbl_name), normalised(row.sql or "")


def _table(name: str, words: Sequence[str]) -> Iterator[tuple[Item, str]]:
    """A table as its columns and its constraints, and what stands before and behind these."""
    around, parts = _in_parts(words)
    yield Item("table", name, name), " ".join(around)
    for part in parts:
        if part[0] == "constraint" and len(part) > 1:
            yield Item("constraint", part[1], name), " ".join(part[2:])
        elif part[0] in _BEGINS_CONSTRAINT:
            # It has no name, so it is called what it says.
            yield Item("constraint", " ".join(part), name), ""
        else:
            yield Item("column", part[0], name), " ".join(part[1:])


def _in_parts(words: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The words outside the outermost brackets, and those inside, parted by their commas."""
    around: list[str] = []
    parts: list[list[str]] = [[]]
    depth = 0
    for word in words:
        depth -= word == ")"
        if not depth:
            around.append(word)
        elif depth == 1 and word == ",":
            parts.append([])
        else:
            parts[-1].append(word)
        depth += word == "("
    return around, [part for part in parts if part]
