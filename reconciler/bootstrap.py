"""The composition root: the only module that names adapters."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from reconciler import explain as explaining
from reconciler.audit import lock, schema
from reconciler.audit.engine import make_engine
from reconciler.audit.reader import AuditReader
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, CycleSummary, Event, PolicyInForce
from reconciler.daemon import Daemon, log_event
from reconciler.domain.decision import Mode
from reconciler.domain.request import Request
from reconciler.domain.target import Target
from reconciler.explain import Explanation
from reconciler.policy_file import PolicyError, read_policy
from reconciler.ports import AuditUnavailable, Listed, RegistryError, SchemaMismatch
from reconciler.registry.credentials import resolve_auth, tls
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Transport
from reconciler.settings import Settings, SettingsError

_STAGES_ASKED_FOR = tuple(Target.parse(stage) for stage in ("Staging", "Production", "Archived"))


def daemon_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


# --- registry ------------------------------------------------------------------------------------------------


def make_registry(settings: Settings) -> TagsRegistry:
    """Raises SettingsError where the settings do not name a registry that this release can talk to."""
    uri = settings.registry_uri()
    if settings.registry.protocol == "transition-requests" or uri.startswith("databricks"):
        raise SettingsError(["registry.protocol: this release speaks the tags protocol only: set it to tags"])
    registry = _transport(settings, uri)
    tracking_uri = settings.tracking_uri()
    tracking = registry if tracking_uri == uri else _transport(settings, tracking_uri)
    return TagsRegistry(uri, settings.registry.workspace or "", registry, tracking)


def _transport(settings: Settings, uri: str) -> Transport:
    verify, cert = tls(os.environ)
    workspace = settings.registry.workspace
    return Transport(
        uri,
        auth=resolve_auth(settings.registry, os.environ),
        verify=verify,
        cert=cert,
        headers={"X-MLFLOW-WORKSPACE": workspace} if workspace else {},
        timeout=settings.registry.timeout.total_seconds(),
        max_bytes=settings.registry.max_bytes,
    )


def policy_in_force(settings: Settings) -> PolicyInForce:
    loaded = read_policy(settings.policy_path())
    return PolicyInForce(loaded.policy, loaded.digest, loaded.text)


# --- audit ---------------------------------------------------------------------------------------------------


@contextmanager
def audit_reader(settings: Settings) -> Iterator[AuditReader]:
    engine = make_engine(settings.audit.url.get_secret_value(), read_only=True)
    try:
        schema.require_head(engine)
        yield AuditReader(engine)
    finally:
        engine.dispose()


@contextmanager
def _audit_log(settings: Settings, registry: TagsRegistry) -> Iterator[SqlAuditLog]:
    url = settings.audit.url.get_secret_value()
    with lock.hold(url):
        engine = make_engine(url)
        try:
            schema.require_head(engine)
            yield SqlAuditLog(engine, daemon_name(), registry.uri, registry.workspace)
        finally:
            engine.dispose()


# --- the daemon and one cycle --------------------------------------------------------------------------------


def run_daemon(settings: Settings) -> int:
    """Serves until a signal. Returns 0; raises SettingsError, PolicyError, SchemaMismatch or AlreadyServed."""
    in_force, registry, mode = policy_in_force(settings), make_registry(settings), Mode(settings.mode)
    url, stop = settings.audit.url.get_secret_value(), threading.Event()
    with lock.hold(url):
        engine = make_engine(url)
        checked = threading.Event()

        def one_cycle() -> CycleSummary:
            # The database may be down when the daemon starts; its revision is checked when it can be reached.
            if not checked.is_set():
                schema.require_head(engine)
                checked.set()
            return cycle.run(in_force, mode)

        audit = SqlAuditLog(engine, daemon_name(), registry.uri, registry.workspace)
        deadline = settings.schedule.deadline
        cycle = Cycle(registry, audit, stop=stop.is_set, on_event=log_event, deadline=deadline)
        try:
            Daemon(one_cycle, settings.schedule.interval, settings.schedule.jitter, stop).serve()
        finally:
            engine.dispose()
    return 0


def run_once(settings: Settings, dry_run: bool, on_event: Callable[[Event], None]) -> CycleSummary:
    """One cycle in which everything is due, or what it would decide."""
    in_force, registry, mode = policy_in_force(settings), make_registry(settings), Mode(settings.mode)
    deadline = settings.schedule.deadline
    if dry_run:
        registry.begin(deadline)
        return explaining.preview(registry, in_force, mode, datetime.now(UTC), on_event)
    with _audit_log(settings, registry) as audit:
        cycle = Cycle(registry, audit, on_event=on_event, deadline=deadline, everything_is_due=True)
        return cycle.run(in_force, mode)


# --- for people who ask --------------------------------------------------------------------------------------


def explain(settings: Settings, model: str, version: str, target: Target) -> Explanation:
    return explaining.explain(
        make_registry(settings), policy_in_force(settings), model, version, target, datetime.now(UTC)
    )


@dataclass(frozen=True, slots=True)
class RequestTool:
    """Files, lists and withdraws requests."""

    registry: TagsRegistry
    targets: frozenset[Target]

    def create(self, model: str, version: str, target: Target, requester: str, comment: str) -> Request:
        return self.registry.create(model, version, target, requester, comment, datetime.now(UTC))

    def list(self) -> list[Listed]:
        return self.registry.open_requests(self.targets)

    def withdraw(self, model: str, version: str, target: Target) -> Request:
        return self.registry.withdraw(model, version, target, datetime.now(UTC))


def request_tool(settings: Settings) -> RequestTool:
    """Lists the policy's targets, and the stages, which need no policy to be known."""
    governed = policy_in_force(settings).policy.governed_targets() if settings.policy else frozenset()
    return RequestTool(make_registry(settings), governed | frozenset(_STAGES_ASKED_FOR))


@dataclass(frozen=True, slots=True)
class CheckLine:
    name: str
    ok: bool
    detail: str


def check(settings: Settings) -> list[CheckLine]:
    """Policy, database and registry, one line each; nothing is changed."""
    steps: list[tuple[str, Callable[[Settings], str]]] = [
        ("policy", _check_policy),
        ("database", _check_database),
        ("registry", _check_registry),
        ("permissions", _check_permissions),
    ]
    return [CheckLine("configuration", True, f"mode {settings.mode}"), *(_line(*step, settings) for step in steps)]


_EXPECTED = (SettingsError, PolicyError, SchemaMismatch, AuditUnavailable, RegistryError)


def _line(name: str, step: Callable[[Settings], str], settings: Settings) -> CheckLine:
    try:
        return CheckLine(name, True, step(settings))
    except _EXPECTED as error:
        return CheckLine(name, False, str(error))


def _check_policy(settings: Settings) -> str:
    in_force = policy_in_force(settings)
    targets = ", ".join(str(target) for target in sorted(in_force.policy.governed_targets()))
    return f"{len(in_force.policy.rules)} rules govern {targets}; digest {in_force.digest[:12]}"


def _check_database(settings: Settings) -> str:
    with audit_reader(settings):
        return f"{schema.shown_url(settings.audit.url.get_secret_value())} is at revision {schema.head()}"


def _check_registry(settings: Settings) -> str:
    registry = make_registry(settings)
    count = len(registry.open_requests(policy_in_force(settings).policy.governed_targets()))
    return f"{registry.uri} answers by the tags protocol; {count} requests are open"


def _check_permissions(settings: Settings) -> str:
    """Only what can be told without writing: whether versions, and runs, may be read."""
    make_registry(settings).probe()
    return "registry and tracking server may be read; writing is not tried (it needs MANAGE under basic-auth)"
