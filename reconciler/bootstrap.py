"""The composition root: the only module that names adapters."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from requests.auth import AuthBase
from sqlalchemy import Engine

from reconciler import explain as explaining
from reconciler.audit import lock, schema
from reconciler.audit.database import Access
from reconciler.audit.reader import AuditReader
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, CycleSummary, Event, PolicyInForce
from reconciler.domain.decision import Mode, left_undone
from reconciler.domain.policy import Policy
from reconciler.domain.request import Request
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.explain import Explanation, Question
from reconciler.policy.file import PolicyError, read_policy
from reconciler.ports import Found, Listed, NotFound, Unavailable
from reconciler.registry.app import AppRegistry
from reconciler.registry.auto import AutoRegistry, app_answers
from reconciler.registry.budget import Budget
from reconciler.registry.credentials import databricks, resolve_auth, tls
from reconciler.registry.databricks import DatabricksRegistry, SweepTiming
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.lookup import not_there
from reconciler.registry.speaking import Speaking
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Limits, Transport
from reconciler.settings.errors import SettingsError
from reconciler.settings.model import Settings


def _nothing() -> None:
    pass


_STAGES_ASKED_FOR = tuple(Target.parse(stage) for stage in ("Staging", "Production", "Archived"))


def daemon_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


# --- registry ------------------------------------------------------------------------------------------------


def make_registry(settings: Settings, on_answer: Callable[[], None] = _nothing) -> Speaking:
    """Connects nothing yet; `on_answer` is called after each answer of a server.

    Raises:
        SettingsError: the settings name no registry that can be talked to.
    """
    uri, protocol = settings.registry_uri(), settings.registry.protocol
    if settings.on_databricks:
        if protocol == "tags":
            raise SettingsError(["registry.protocol: Databricks has transition requests of its own: leave it out"])
        return _databricks(settings, uri, on_answer)
    registry = _transport(settings, uri, on_answer=on_answer)
    tracking_uri = settings.tracking_uri()
    tracking = registry if tracking_uri == uri else _transport(settings, tracking_uri, on_answer=on_answer)
    workspace = settings.registry.workspace or ""
    if protocol == "tags":
        return TagsRegistry(uri, workspace, registry, tracking)

    def choose() -> Speaking:
        lists_all = app_answers(registry)
        if lists_all:
            return AppRegistry(uri, workspace, registry, tracking)
        if lists_all is None:
            return _swept(settings, uri, uri, _auth(settings), on_answer)
        if protocol == "auto":
            return TagsRegistry(uri, workspace, registry, tracking)
        raise Unavailable(f"{uri} has no transition requests: install the app there, or set registry.protocol: tags")

    return AutoRegistry(uri, workspace, choose)


def _databricks(settings: Settings, uri: str, on_answer: Callable[[], None]) -> DatabricksRegistry:
    host, auth = databricks(uri)
    # The address goes into every record: `databricks` alone would not tell which workspace it was.
    return _swept(settings, host.rstrip("/"), host, auth, on_answer)


def _swept(
    settings: Settings, name: str, host: str, auth: AuthBase, on_answer: Callable[[], None]
) -> DatabricksRegistry:
    budget = Budget(settings.registry.budget)
    # Threads enough to use the budget while calls take half a second each.
    threads = min(max(round(settings.registry.budget / 2), 1), 8)
    transports = [_transport(settings, host, auth, budget, on_answer) for _ in range(threads)]
    tracking = transports[0]
    if settings.registry.tracking_uri not in {None, settings.registry.uri}:
        tracking = _transport(settings, settings.tracking_uri())
    # A cycle has more to do than to look.
    sweep_for = min(settings.schedule.interval, settings.schedule.deadline) * 0.8
    timing = SweepTiming(settings.registry.full_sweep, sweep_for)
    return DatabricksRegistry(name, transports, tracking, budget, timing)


def _auth(settings: Settings) -> AuthBase:
    return resolve_auth(settings.registry, os.environ, settings.credentials_directory)


def _transport(
    settings: Settings,
    uri: str,
    auth: AuthBase | None = None,
    budget: Budget | None = None,
    on_answer: Callable[[], None] = _nothing,
) -> Transport:
    verify, cert = tls(os.environ)
    workspace = settings.registry.workspace
    headers = {"X-MLFLOW-WORKSPACE": workspace} if workspace else {}
    endpoint = Endpoint(uri, auth or _auth(settings), verify, cert, headers)
    limits = Limits(settings.registry.timeout.total_seconds(), settings.registry.max_bytes)
    return Transport(endpoint, limits, pace=budget, on_answer=on_answer)


def policy_in_force(settings: Settings) -> PolicyInForce:
    """Raises SettingsError or PolicyError."""
    loaded = read_policy(settings.policy_path())
    return PolicyInForce(loaded.policy, loaded.digest, loaded.text)


# --- audit ---------------------------------------------------------------------------------------------------


@contextmanager
def audit_reader(settings: Settings) -> Iterator[AuditReader]:
    with schema.opened_at_head(settings.audit.url.get_secret_value(), Access.READ) as engine:
        yield AuditReader(engine)


def resident_audit_log(
    engine: Engine, settings: Settings, registry: Speaking, on_answer: Callable[[], None]
) -> SqlAuditLog:
    """That of a daemon, for many cycles; `on_answer` is called after each transaction."""
    return SqlAuditLog(engine, daemon_name(), registry.uri, registry.workspace, settings.schedule.lease, on_answer)


@contextmanager
def _audit_log(settings: Settings, registry: Speaking) -> Iterator[SqlAuditLog]:
    url = settings.audit.url.get_secret_value()
    with lock.hold(url), schema.opened_at_head(url, Access.WRITE) as engine:
        lease = settings.schedule.lease
        yield SqlAuditLog.for_one_cycle(engine, daemon_name(), registry.uri, registry.workspace, lease)


# --- the daemon and one cycle --------------------------------------------------------------------------------


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
    """Raises NotFound, with names that may have been meant."""
    in_force, registry, mode = policy_in_force(settings), make_registry(settings), Mode(settings.mode)
    question = Question(model, version, target, datetime.now(UTC))
    with _guessing(settings, model, version):
        return explaining.explain(registry, in_force, question, mode, mode_is_set=settings.mode_is_set)


@contextmanager
def _guessing(settings: Settings, model: str, version: str) -> Iterator[None]:
    """An error that says that there is no such version gets what may have been meant."""
    try:
        yield
    except NotFound:
        uri = settings.registry_uri()
        host, auth = databricks(uri) if settings.on_databricks else (uri, None)
        raise not_there(_transport(settings, host, auth), model, version, host) from None


@dataclass(frozen=True, slots=True)
class RequestTool:
    """Files, shows, lists and withdraws requests.

    `policy` is None where none is configured, or it cannot be read; `doubt` then says why, where one is configured.
    """

    settings: Settings
    registry: Speaking
    policy: Policy | None
    doubt: str

    def create(self, model: str, version: str, target: Target, requester: str, comment: str) -> Request:
        with _guessing(self.settings, model, version):
            return self.registry.create(model, version, target, requester, comment, datetime.now(UTC))

    def find(self, model: str, version: str, target: Target) -> Found:
        with _guessing(self.settings, model, version):
            return self.registry.find(model, version, target, datetime.now(UTC))

    def list(self) -> list[Listed]:
        """All of them; by tags, for the policy's targets and the stages, which need no policy to be known."""
        governed = self.policy.governed_targets() if self.policy is not None else frozenset()
        return self.registry.all_open(Scope.of_all_models(governed | frozenset(_STAGES_ASKED_FOR)))

    def withdraw(self, model: str, version: str, target: Target) -> Request:
        self.find(model, version, target)
        return self.registry.withdraw(model, version, target, datetime.now(UTC))

    def rules_for(self, request: Request) -> tuple[str, ...] | None:
        """The names of the rules that cover a request; None where the policy is not known."""
        if self.policy is None:
            return None
        return tuple(rule.name for rule in self.policy.rules_for(request))

    @property
    def left_undone(self) -> str:
        """That the daemon only observes, and what to do then; "" where it acts, or nothing is known of it."""
        known = self.policy is not None or self.settings.mode_is_set
        return left_undone(Mode(self.settings.mode), None, is_set=self.settings.mode_is_set) if known else ""

    def covers(self, request: Request) -> bool | None:
        """By the policy, else by what the registry heard from its daemons; None where neither is known."""
        rules = self.rules_for(request)
        if rules is not None:
            return bool(rules)
        return self.find(request.model, request.version, request.target).listed.covered


def request_tool(settings: Settings) -> RequestTool:
    """Whoever files a request needs no policy: where there is one it is read, to tell what no rule covers."""
    policy, doubt = None, ""
    if settings.policy is not None:
        try:
            policy = policy_in_force(settings).policy
        except PolicyError as error:
            doubt = str(error).splitlines()[0]
    return RequestTool(settings, make_registry(settings), policy, doubt)
