"""`check`: what a daemon needs, one line each, with the remedy. Nothing is changed."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies
from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Engine,
    Table,
    Update,
    and_,
    delete,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from reconciler.audit import schema
from reconciler.audit.engine import audit_errors, make_engine
from reconciler.audit.tables import APPEND_ONLY, Base
from reconciler.bootstrap import few, make_registry, not_governable, policy_in_force
from reconciler.domain.evidence import Needs
from reconciler.domain.policy import Policy, Scope
from reconciler.domain.text import counted
from reconciler.policy_file import PolicyError
from reconciler.ports import AuditUnavailable, RegistryError, SchemaMismatch
from reconciler.registry.credentials import tls
from reconciler.registry.evidence import LOGGED_MODELS
from reconciler.registry.reaching import distrust
from reconciler.registry.versions import WORKSPACES
from reconciler.secret_files import secret_paths
from reconciler.settings import Settings, SettingsError, config_path, refuse_writable_by_others

_LEAST_FREE = 1 << 30
_FEW_DAYS = 21
_MUCH_SKEW = timedelta(seconds=30)
_EXPECTED = (SettingsError, PolicyError, SchemaMismatch, AuditUnavailable, RegistryError)


class Level(StrEnum):
    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """`detail` ends with what to do where something is to be done."""

    name: str
    level: Level
    detail: str


Step = Callable[[Settings], "Finding | list[Finding]"]


def check(settings: Settings, config: Path | None) -> list[Finding]:
    """Every finding, the configuration first."""
    steps: list[tuple[str, Step]] = [
        ("policy", _policy),
        ("registry", _registry),
        ("tls", _tls),
        ("proxy", _proxy),
        ("permissions", _permissions),
        ("database", _database),
        ("rights", _rights),
        ("append-only", _append_only),
        ("disk", _disk),
        ("credentials", _credentials),
    ]
    findings = [_configuration(settings, config)]
    for name, step in steps:
        try:
            found = step(settings)
        except _EXPECTED as error:
            found = Finding(name, Level.FAIL, str(error).replace("\n", "; "))
        findings += found if isinstance(found, list) else [found]
    return findings


def _ok(name: str, detail: str) -> Finding:
    return Finding(name, Level.OK, detail)


def _warn(name: str, detail: str) -> Finding:
    return Finding(name, Level.WARN, detail)


# --- files ---------------------------------------------------------------------------------------------------


def _configuration(settings: Settings, config: Path | None) -> Finding:
    path = config_path(config)
    try:
        if path is not None:
            refuse_writable_by_others(path)
    except SettingsError as error:
        return Finding("configuration", Level.FAIL, str(error))
    where = f"{path}, and" if path else "no file;"
    return _ok("configuration", f"{where} variables; mode {settings.mode}")


def _policy(settings: Settings) -> Finding:
    refuse_writable_by_others(settings.policy_path())
    in_force = policy_in_force(settings)
    targets = ", ".join(str(target) for target in sorted(in_force.policy.governed_targets()))
    count = len(in_force.policy.rules)
    rules = f"{counted(count, 'rule')} {'governs' if count == 1 else 'govern'}"
    return _ok("policy", f"{rules} {targets}; digest {in_force.digest[:12]}")


def _credentials(settings: Settings) -> Finding:
    paths = secret_paths(settings.credentials_directory)
    # An operators' group may read them (install-service --operators); nobody else.
    exposed = [str(path) for path in paths if path.stat().st_mode & 0o037]
    if exposed:
        return _warn("credentials", f"{', '.join(exposed)} may be read by others: chmod o-rwx,g-wx")
    return _ok("credentials", f"read from {', '.join(map(str, paths))}" if paths else "from variables, if any")


def _disk(settings: Settings) -> Finding:
    url = make_url(settings.audit.url.get_secret_value())
    if url.get_backend_name() != "sqlite":
        return _ok("disk", "the audit is not on this host")
    folder = Path(url.database or "").resolve().parent
    if not folder.is_dir():
        return Finding("disk", Level.FAIL, f"{folder} does not exist: create it, or set audit.url to a file elsewhere")
    free = shutil.disk_usage(folder).free
    shown = f"{folder} has {free / (1 << 30):.1f} GB free"
    return _ok("disk", shown) if free >= _LEAST_FREE else _warn("disk", f"{shown}: make room")


# --- registry ------------------------------------------------------------------------------------------------


def _registry(settings: Settings) -> list[Finding]:
    registry = make_registry(settings)
    registry.begin(None)
    policy = _policy_or_none(settings)
    scope = policy.scope() if policy else Scope.of_all_models(())
    lacking = registry.probe(scope, policy.all_needs() if policy else Needs(run=True, logged_model=True))
    version = registry.version()
    kind = f"MLflow {version} at {registry.uri}" if version else registry.uri
    without = f"; it has no {', no '.join(lacking)}" if lacking else ""
    findings = [_ok("registry", f"{kind} answers by the {registry.protocol} protocol{without}")]
    findings += _missed(settings, policy, lacking)
    skew = registry.measured().skew
    if skew is not None:
        shown = f"the registry's clock differs by {abs(skew.total_seconds()):.0f} s from this host's"
        late = abs(skew) > _MUCH_SKEW
        findings.append(_warn("clock", f"{shown}: see to NTP on both") if late else _ok("clock", shown))
    return findings


def _policy_or_none(settings: Settings) -> Policy | None:
    """A policy that cannot be read has its own line."""
    try:
        return policy_in_force(settings).policy
    except (SettingsError, PolicyError):
        return None


def _missed(settings: Settings, policy: Policy | None, lacking: list[str]) -> Iterator[Finding]:
    """What the server lacks, and the configuration or the policy counts on."""
    if WORKSPACES in lacking and settings.registry.workspace:
        said = f"this server has no workspaces and ignores registry.workspace ({settings.registry.workspace})"
        yield Finding("workspace", Level.FAIL, f"{said}: leave the setting out, or use MLflow 3.10 or newer")
    if LOGGED_MODELS in lacking and policy and policy.reads_logged_models():
        said = "this server has none, so a check with source: logged_model always fails"
        yield _warn("logged models", f"{said}: use source: run, or MLflow 3.0 or newer")


def _permissions(settings: Settings) -> Finding:
    """Per governed model where the registry tells; else only whether versions and runs may be read."""
    registry = make_registry(settings)
    registry.begin(None)
    if registry.protocol == "tags":
        detail = "registry and tracking server may be read; writing is not tried (it needs MANAGE under basic-auth)"
        return _ok("permissions", detail)
    scope = policy_in_force(settings).policy.scope()
    levels = list(registry.levels(lambda model: bool(scope.targets_of(model))))
    if lacking := not_governable(scope, levels):
        remedy = "grant the account MANAGE, or name it an approver"
        return Finding("permissions", Level.FAIL, f"may not decide about {few(lacking)}: {remedy}")
    return _ok("permissions", f"may decide about all {len(levels)} governed models")


def _proxy(settings: Settings) -> Finding:
    uri = settings.registry_uri()
    proxies = get_environ_proxies(uri, no_proxy=None)
    used = proxies.get(urlsplit(uri).scheme) or proxies.get("all")
    if used is None:
        return _ok("proxy", "none for the registry")
    parts = urlsplit(used if "//" in used else f"//{used}")
    return _ok("proxy", f"{parts.hostname}:{parts.port or 80} (from HTTP(S)_PROXY)")


def _tls(settings: Settings) -> Finding:
    parts = urlsplit(settings.registry_uri())
    if parts.scheme != "https" or not parts.hostname:
        return _ok("tls", "not used: the registry is on this host, or plain text is allowed")
    verify, cert = tls(os.environ)
    if verify is False:
        return _warn("tls", "certificates are not verified (MLFLOW_TRACKING_INSECURE_TLS): unset it, and name the CA")
    if get_environ_proxies(settings.registry_uri(), no_proxy=None):
        return _ok("tls", "verified behind a proxy; days left are not known")
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if cert:
        context.load_cert_chain(cert)
    days = _days_left(context, parts.hostname, parts.port or 443, verify)
    shown = f"the chain is trusted; the certificate ends in {days} days"
    return _ok("tls", shown) if days > _FEW_DAYS else _warn("tls", f"{shown}: have it renewed")


def _days_left(context: ssl.SSLContext, host: str, port: int, verify: bool | str) -> int:
    try:
        with (
            socket.create_connection((host, port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            ends = str((secure.getpeercert() or {}).get("notAfter"))
    except ssl.SSLError as error:
        raise SettingsError([distrust(error, f"https://{host}:{port}", verify)]) from None
    except OSError as error:
        raise SettingsError([f"{host}:{port} cannot be reached: {error.strerror or error}"]) from None
    return int((ssl.cert_time_to_seconds(ends) - time.time()) // 86400)


# --- database ------------------------------------------------------------------------------------------------


def _database(settings: Settings) -> Finding:
    url = settings.audit.url.get_secret_value()
    with _engine(url) as engine:
        schema.require_head(engine)
    return _ok("database", f"{schema.shown_url(url)} is at revision {schema.head()}")


def _rights(settings: Settings) -> Finding:
    """Whether a daemon could record here, asked without writing."""
    url = settings.audit.url.get_secret_value()
    with _engine(url) as engine:
        if engine.dialect.name == "sqlite":
            path = Path(engine.url.database or "")
            lacking = [str(one) for one in (path, path.parent) if not os.access(one, os.W_OK)]
            remedy = "run as the service's user, or let it write there"
        else:
            with audit_errors(engine), engine.connect() as connection:
                lacking = [table for table in Base.metadata.tables if not _may_insert(connection, table)]
            remedy = "grant the daemon's role what docs/operating.md lists"
    if lacking:
        return Finding("rights", Level.FAIL, f"this user may not write {', '.join(lacking)}: {remedy}")
    return _ok("rights", "this user may record decisions")


def _may_insert(connection: Connection, table: str) -> bool:
    asked = text("SELECT has_table_privilege(current_user, :name, 'INSERT')")
    return bool(connection.scalar(asked, {"name": table}))


def _append_only(settings: Settings) -> Finding:
    """Tries to change one row of each history table, in a transaction that is rolled back whatever happens."""
    url = settings.audit.url.get_secret_value()
    with _engine(url) as engine:
        schema.require_head(engine)
        tables = [Base.metadata.tables[name] for name in APPEND_ONLY]
        loose = [f"{table.name} can be {what}" for table in tables for what in _allowed(engine, table)]
    if loose:
        remedy = "the triggers are gone: restore them from a migrated database, and ask who took them away"
        return Finding("append-only", Level.FAIL, f"{', '.join(loose)}: {remedy}")
    return _ok("append-only", f"{len(tables)} tables refuse UPDATE and DELETE (tried on one row of each, rolled back)")


def _allowed(engine: Engine, table: Table) -> Iterator[str]:
    key = _some_key(engine, table)
    first = next(column for column in table.columns if not column.primary_key)
    changes: dict[str, Update | Delete] = {
        "updated": update(table).values({first.name: first}),
        "deleted from": delete(table),
    }
    for what, change in changes.items():
        # An empty table has nothing that a row trigger could refuse: then the trigger itself is looked for.
        refused = _has_trigger(engine, table, what) if key is None else _refuses(engine, change, key)
        if not refused:
            yield what


def _some_key(engine: Engine, table: Table) -> ColumnElement[bool] | None:
    """Names one row; None where there is none."""
    columns = list(table.primary_key.columns)
    with audit_errors(engine), engine.connect() as connection:
        row = connection.execute(select(*columns).limit(1)).one_or_none()
    if row is None:
        return None
    return and_(*(column == value for column, value in zip(columns, row, strict=True)))


def _refuses(engine: Engine, change: Update | Delete, key: ColumnElement[bool]) -> bool:
    with audit_errors(engine), engine.connect() as connection:
        transaction = connection.begin()
        try:
            connection.execute(change.where(key))
        except DBAPIError as error:
            return "append-only" in str(error) or "permission denied" in str(error)
        finally:
            transaction.rollback()
    return False


def _has_trigger(engine: Engine, table: Table, what: str) -> bool:
    on_sqlite = f"{table.name}_no_{'update' if what == 'updated' else 'delete'}"
    with audit_errors(engine), engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            query, name = "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = :name", on_sqlite
        else:
            query, name = (
                "SELECT 1 FROM pg_trigger WHERE tgname = :name AND tgenabled <> 'D'",
                f"{table.name}_no_change",
            )
        return connection.scalar(text(query), {"name": name}) is not None


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = make_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def worst(findings: list[Finding]) -> Level:
    levels = {finding.level for finding in findings}
    return next(level for level in (Level.FAIL, Level.WARN, Level.OK) if level in levels)


def lines(findings: list[Finding]) -> Iterator[str]:
    return (f"{finding.level:4} {finding.name}: {finding.detail}" for finding in findings)
