"""A witness outside the product: triggers in MLflow's own database, and digests of the files that holders are made of.

It is written in plain SQL, knows nothing of the app's code, and sees what was committed, whichever way it came.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROTECTED_STAGES = ("Production",)
PROTECTED_ALIASES = ("champion",)
PROTECTED_TAGS = ("tier", "validated.at")
OUR_PREFIXES = ("transition_request.", "transition_decision.")
# Columns of a holder that may change freely.
_FREE_COLUMNS = {"description", "last_updated_time"}
_WATCHED = (
    "registered_models", "model_versions", "model_version_tags", "registered_model_tags", "registered_model_aliases",
    "experiments", "runs", "logged_models",
)  # fmt: skip
_RESTORED = (*_WATCHED, "experiment_tags", "tags", "logged_model_tags", "logged_model_params", "workspaces")


@dataclass(frozen=True, slots=True)
class Change:
    """What the database says has happened; `thing` is one of version, alias, tag, protected tag, model, prompt tag,
    run, logged model, experiment, file, or `free version` and `free model` for what is not protected."""

    thing: str
    kind: str
    workspace: str
    name: str
    version: str = ""
    what: str = ""
    was: str = ""
    became: str = ""

    @property
    def free(self) -> bool:
        return self.thing.startswith("free ")

    @property
    def of_tag(self) -> bool:
        return self.thing == "tag"


class Witness:
    """Watches one database, over a driver connection of its own."""

    def __init__(self, uri: str) -> None:
        self._dialect = _dialect(uri)
        self._connection = self._dialect.connect(uri)
        self._restored: list[str] = []

    def install(self, own_tables: Sequence[str] = ()) -> None:
        """Snapshot the tables, and watch from now on. `own_tables` are restored too, if they exist."""
        self._restored = [*_RESTORED, *(table for table in own_tables if self.has(table))]
        for table in self._restored:
            self._run(f"CREATE TABLE snapshot_{table} AS SELECT * FROM {table}")
        self._run(self._dialect.record_table)
        for number, watch in enumerate(self._watches()):
            for statement in self._dialect.trigger(f"witness_{number}", watch):
                self._run(statement)

    def changes(self) -> list[Change]:
        """The changes recorded since the last restore, in order."""
        rows = self._run(
            "SELECT thing, kind, workspace, name, version, what, was, became FROM witness_changes ORDER BY id"
        )
        return [Change(*(str(value or "") for value in row)) for row in rows]

    def restore(self) -> None:
        """Restore everything as it was at `install`, and forget all changes."""
        with self._dialect.without_constraints(self._connection):
            for table in self._restored:
                self._run(f"DELETE FROM {table}")
                self._run(f"INSERT INTO {table} SELECT * FROM snapshot_{table}")
            self._run("DELETE FROM witness_changes")

    def has(self, table: str) -> bool:
        return self._dialect.has(self._connection, table)

    def rows(self, statement: str) -> list[Any]:
        return list(self._run(statement))

    def close(self) -> None:
        self._connection.close()

    # --- inside ----------------------------------------------------------------------------------------------

    def _run(self, statement: str) -> Sequence[Any]:
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else ()
        finally:
            cursor.close()

    def _columns(self, table: str) -> list[str]:
        cursor = self._connection.cursor()
        cursor.execute(f"SELECT * FROM {table} WHERE 1 = 0")
        return [column[0] for column in cursor.description]

    def _watches(self) -> Iterator[_Watch]:
        yield from self._version_watches()
        yield from self._alias_and_tag_watches()
        yield from self._protected_tag_watches()
        yield from self._model_watches()
        yield from self._origin_watches()

    def _version_watches(self) -> Iterator[_Watch]:
        d = self._dialect
        kept = [column for column in self._columns("model_versions") if column not in _FREE_COLUMNS]
        changed = d.any_differs(kept)
        fields = {"workspace": "workspace", "name": "name", "version": "version"}
        for held, thing in (("", "version"), ("NOT ", "free version")):
            names = d.names_of_changed(kept)
            both = f"({_holds('OLD')} OR {_in_protected_stage('NEW')})"
            yield _Watch(
                "model_versions", "UPDATE", f"{changed} AND {held}{both}", thing, fields, names, "current_stage"
            )
            yield _Watch("model_versions", "DELETE", f"{held}{_holds('OLD')}", thing, fields, "'row'", "current_stage")
        yield _Watch("model_versions", "INSERT", _holds("NEW"), "version", fields, "'row'", "current_stage")

    def _alias_and_tag_watches(self) -> Iterator[_Watch]:
        d = self._dialect
        aliases = ", ".join(f"'{alias}'" for alias in PROTECTED_ALIASES)
        fields = {"workspace": "workspace", "name": "name", "version": "version"}
        ours = " OR ".join(
            f"lower(substr(ROW.{d.quoted('key')}, 1, {len(prefix)})) = '{prefix}'" for prefix in OUR_PREFIXES
        )
        prompt = (
            f"ROW.{d.quoted('key')} = 'mlflow.prompt.is_prompt' AND EXISTS (SELECT 1 FROM snapshot_registered_models m "
            "WHERE m.workspace = ROW.workspace AND m.name = ROW.name)"
        )
        for table, condition, thing, named, what, value in (
            ("registered_model_aliases", f"lower(ROW.alias) IN ({aliases})", "alias", fields, "alias", "version"),
            ("model_version_tags", f"({ours})", "tag", fields, "key", "value"),
            ("registered_model_tags", prompt, "prompt tag", {"workspace": "workspace", "name": "name"}, "key", "value"),
        ):
            for kind, row in (("INSERT", "NEW"), ("DELETE", "OLD")):
                shown = f"{row}.{d.quoted(what)}"
                yield _Watch(table, kind, condition.replace("ROW.", f"{row}."), thing, named, shown, value)
            changed = d.any_differs(self._columns(table))
            either = f"({condition.replace('ROW.', 'OLD.')} OR {condition.replace('ROW.', 'NEW.')}) AND {changed}"
            yield _Watch(table, "UPDATE", either, thing, named, f"OLD.{d.quoted(what)}", value)

    def _protected_tag_watches(self) -> Iterator[_Watch]:
        """Every write of such a tag, with its model too, and the end of a version that has one."""
        d = self._dialect
        keys = ", ".join(f"'{key}'" for key in PROTECTED_TAGS)
        thing = "protected tag"
        for table in ("model_version_tags", "registered_model_tags"):
            fields = {"workspace": "workspace", "name": "name"}
            fields |= {"version": "version"} if table == "model_version_tags" else {}
            for kind, row in (("INSERT", "NEW"), ("DELETE", "OLD")):
                key = f"{row}.{d.quoted('key')}"
                yield _Watch(table, kind, f"{key} IN ({keys})", thing, fields, key, "value")
            either = " OR ".join(f"{row}.{d.quoted('key')} IN ({keys})" for row in ("OLD", "NEW"))
            changed = f"({either}) AND {d.any_differs(self._columns(table))}"
            yield _Watch(table, "UPDATE", changed, thing, fields, f"OLD.{d.quoted('key')}", "value")
        ends = (
            "NEW.current_stage = 'Deleted_Internal' AND OLD.current_stage <> 'Deleted_Internal' AND EXISTS (SELECT 1 "
            "FROM model_version_tags t WHERE t.workspace = OLD.workspace AND t.name = OLD.name AND "
            f"t.version = OLD.version AND t.{d.quoted('key')} IN ({keys}))"
        )
        fields = {"workspace": "workspace", "name": "name", "version": "version"}
        yield _Watch("model_versions", "UPDATE", ends, thing, fields, "'version'", "current_stage")

    def _model_watches(self) -> Iterator[_Watch]:
        d = self._dialect
        fields = {"workspace": "workspace", "name": "name"}
        held = _exists_holder("v.workspace = OLD.workspace AND v.name = OLD.name")
        moved = d.any_differs(["workspace", "name"])
        for maybe, thing in (("", "model"), ("NOT ", "free model")):
            yield _Watch("registered_models", "UPDATE", f"{moved} AND {maybe}{held}", thing, fields, "'name'", "name")
            yield _Watch("registered_models", "DELETE", f"{maybe}{held}", thing, fields, "'row'", "name")

    def _origin_watches(self) -> Iterator[_Watch]:
        d = self._dialect
        run = _exists_holder("v.run_id = OLD.run_uuid")
        from_model = d.joined(["'models:/'", "OLD.model_id"])
        inside = d.joined(["'%/'", "OLD.model_id", "'/%'"])
        logged = _exists_holder(f"(v.source = {from_model} OR v.storage_location LIKE {inside})")
        experiment = (
            "(EXISTS (SELECT 1 FROM model_versions v JOIN runs r ON r.run_uuid = v.run_id "
            f"WHERE r.experiment_id = OLD.experiment_id AND {_holds('v')}))"
        )
        for table, thing, key, held, columns in (
            ("runs", "run", "run_uuid", run, ["lifecycle_stage"]),
            ("logged_models", "logged model", "model_id", logged, ["lifecycle_stage"]),
            ("experiments", "experiment", "experiment_id", experiment, ["lifecycle_stage", "workspace"]),
        ):
            changed = d.any_differs(columns)
            fields = {"name": key}
            yield _Watch(table, "UPDATE", f"{changed} AND {held}", thing, fields, "'lifecycle'", "lifecycle_stage")
            yield _Watch(table, "DELETE", held, thing, fields, "'row'", "lifecycle_stage")


@dataclass(frozen=True, slots=True)
class _Watch:
    """A trigger to create: which rows of a table count, and what is recorded about them."""

    table: str
    kind: str
    condition: str
    thing: str
    fields: dict[str, str]
    what: str
    value: str


def _in_protected_stage(row: str) -> str:
    stages = ", ".join(f"'{stage}'" for stage in PROTECTED_STAGES)
    return f"coalesce({row}.current_stage, '') IN ({stages})"


def _holds(row: str) -> str:
    aliases = ", ".join(f"'{alias}'" for alias in PROTECTED_ALIASES)
    return (
        f"({_in_protected_stage(row)} OR EXISTS (SELECT 1 FROM registered_model_aliases a WHERE "
        f"a.workspace = {row}.workspace AND a.name = {row}.name AND a.version = {row}.version "
        f"AND lower(a.alias) IN ({aliases})))"
    )


def _exists_holder(condition: str) -> str:
    return f"(EXISTS (SELECT 1 FROM model_versions v WHERE {condition} AND {_holds('v')}))"


# --- dialects ------------------------------------------------------------------------------------------------


class _Dialect:
    """What all databases have in common."""

    number = "INTEGER PRIMARY KEY AUTOINCREMENT"
    differs = "OLD.{0} IS NOT NEW.{0}"

    @property
    def record_table(self) -> str:
        columns = ["thing", "kind", "workspace", "name", "version", "what", "was", "became"]
        return f"CREATE TABLE witness_changes (id {self.number}, {', '.join(f'{c} TEXT' for c in columns)})"

    def connect(self, uri: str) -> Any:
        raise NotImplementedError

    def has(self, connection: Any, table: str) -> bool:
        cursor = connection.cursor()
        cursor.execute(f"SELECT count(*) FROM information_schema.tables WHERE table_name = '{table}'")
        return bool(cursor.fetchone()[0])

    def quoted(self, name: str) -> str:
        return f'"{name}"'

    def joined(self, parts: Sequence[str]) -> str:
        return "(" + " || ".join(parts) + ")"

    def text(self, expression: str) -> str:
        return f"CAST({expression} AS TEXT)"

    def any_differs(self, columns: Sequence[str]) -> str:
        return "(" + " OR ".join(self.differs.format(self.quoted(column)) for column in columns) + ")"

    def names_of_changed(self, columns: Sequence[str]) -> str:
        case = "CASE WHEN {} THEN '{} ' ELSE '' END"
        return self.joined([case.format(self.differs.format(self.quoted(column)), column) for column in columns])

    def record(self, watch: _Watch) -> str:
        row = "NEW" if watch.kind == "INSERT" else "OLD"
        fields = {field: self.text(f"{row}.{self.quoted(column)}") for field, column in watch.fields.items()}
        value = self.quoted(watch.value)
        was = "''" if watch.kind == "INSERT" else self.text(f"OLD.{value}")
        became = "''" if watch.kind == "DELETE" else self.text(f"NEW.{value}")
        cells = [
            f"'{watch.thing}'", f"'{watch.kind.lower()}'",
            *(fields.get(field, "''") for field in ("workspace", "name", "version")),
            watch.what, was, became,
        ]  # fmt: skip
        columns = "thing, kind, workspace, name, version, what, was, became"
        return f"INSERT INTO witness_changes ({columns}) VALUES ({', '.join(cells)})"

    def trigger(self, name: str, watch: _Watch) -> list[str]:
        raise NotImplementedError

    @contextmanager
    def without_constraints(self, connection: Any) -> Iterator[None]:
        raise NotImplementedError
        yield


class _Sqlite(_Dialect):
    def has(self, connection: Any, table: str) -> bool:
        return bool(connection.execute(f"SELECT count(*) FROM sqlite_master WHERE name = '{table}'").fetchone()[0])

    def connect(self, uri: str) -> Any:
        path = uri.removeprefix("sqlite:///")
        connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    def trigger(self, name: str, watch: _Watch) -> list[str]:
        head = f"CREATE TRIGGER {name} BEFORE {watch.kind} ON {watch.table} FOR EACH ROW WHEN {watch.condition}"
        return [f"{head} BEGIN {self.record(watch)}; END"]

    @contextmanager
    def without_constraints(self, connection: Any) -> Iterator[None]:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")


class _Postgres(_Dialect):
    number = "BIGSERIAL PRIMARY KEY"
    differs = "OLD.{0} IS DISTINCT FROM NEW.{0}"

    def connect(self, uri: str) -> Any:
        import psycopg

        return psycopg.connect(uri.replace("postgresql+psycopg", "postgresql"), autocommit=True)

    def trigger(self, name: str, watch: _Watch) -> list[str]:
        passed = "OLD" if watch.kind == "DELETE" else "NEW"
        body = f"BEGIN IF {watch.condition} THEN {self.record(watch)}; END IF; RETURN {passed}; END"
        return [
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$",
            f"CREATE TRIGGER {name} BEFORE {watch.kind} ON {watch.table} FOR EACH ROW EXECUTE FUNCTION {name}()",
        ]

    @contextmanager
    def without_constraints(self, connection: Any) -> Iterator[None]:
        with connection.transaction():
            # Neither foreign keys nor triggers apply to this session.
            connection.execute("SET LOCAL session_replication_role = replica")
            yield


class _MariaDb(_Dialect):
    number = "BIGINT AUTO_INCREMENT PRIMARY KEY"
    differs = "NOT (OLD.{0} <=> NEW.{0})"

    def connect(self, uri: str) -> Any:
        import pymysql

        at = urlsplit(uri)
        return pymysql.connect(
            host=at.hostname, port=at.port or 3306, user=at.username, password=at.password or "",
            database=at.path.lstrip("/"), autocommit=True,
        )  # fmt: skip

    def quoted(self, name: str) -> str:
        return f"`{name}`"

    def joined(self, parts: Sequence[str]) -> str:
        return f"CONCAT({', '.join(parts)})"

    def text(self, expression: str) -> str:
        return f"CAST({expression} AS CHAR)"

    def trigger(self, name: str, watch: _Watch) -> list[str]:
        head = f"CREATE TRIGGER {name} BEFORE {watch.kind} ON {watch.table} FOR EACH ROW"
        return [f"{head} BEGIN IF {watch.condition} THEN {self.record(watch)}; END IF; END"]

    @contextmanager
    def without_constraints(self, connection: Any) -> Iterator[None]:
        cursor = connection.cursor()
        cursor.execute("SET SESSION foreign_key_checks = 0")
        cursor.execute("START TRANSACTION")
        yield
        cursor.execute("COMMIT")


def _dialect(uri: str) -> _Dialect:
    for scheme, dialect in (("sqlite", _Sqlite), ("postgresql", _Postgres), ("mysql", _MariaDb)):
        if uri.startswith(scheme):
            return dialect()
    raise ValueError(f"no witness for {uri}")


# --- files ---------------------------------------------------------------------------------------------------


class FileWitness:
    """The sha256 of every file below the locations of holders, and a copy to put back."""

    def __init__(self, directory: Path, holders: Sequence[str], kept: Path) -> None:
        self._directory = directory
        self._holders = holders
        self._kept = kept
        for holder in holders:
            shutil.copytree(directory / holder, kept / holder)
        self._before = self._digests()

    def changes(self) -> list[Change]:
        now = self._digests()
        if now == self._before:
            return []
        paths = sorted(self._before.keys() | now.keys())
        return [
            Change("file", _kind(self._before.get(path), now.get(path)), "", path)
            for path in paths
            if self._before.get(path) != now.get(path)
        ]

    def restore(self) -> None:
        for holder in self._holders:
            place = self._directory / holder
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
            shutil.copytree(self._kept / holder, place)

    def _digests(self) -> dict[str, str]:
        return dict(self._found())

    def _found(self) -> Iterator[tuple[str, str]]:
        for holder in self._holders:
            place = self._directory / holder
            for path in sorted(place.rglob("*")) if place.is_dir() else [place] if place.exists() else []:
                if path.is_file():
                    yield str(path.relative_to(self._directory)), hashlib.sha256(path.read_bytes()).hexdigest()


def _kind(was: str | None, now: str | None) -> str:
    return "insert" if was is None else "delete" if now is None else "update"
