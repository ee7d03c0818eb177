"""The configured registry."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from requests.auth import AuthBase

from reconciler.ports import NotFound, Unavailable
from reconciler.registry.app import AppRegistry
from reconciler.registry.auto import AutoRegistry, app_answers
from reconciler.registry.budget import Budget
from reconciler.registry.credentials import databricks, resolve_auth, tls
from reconciler.registry.databricks import DatabricksRegistry, SweepTiming
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.lookup import not_there
from reconciler.registry.proxies import proxy_problem
from reconciler.registry.speaking import Speaking
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Limits, Transport
from reconciler.settings.errors import SettingsError
from reconciler.settings.model import Settings


def _nothing() -> None:
    pass


def make_registry(settings: Settings, on_answer: Callable[[], None] = _nothing) -> Speaking:
    """Build the registry without connecting; `on_answer` is called after each answer of a server.

    Raises:
        SettingsError: the settings name no usable registry.
    """
    uri, protocol = settings.registry_uri(), settings.registry.protocol
    if settings.on_databricks:
        if protocol == "tags":
            raise SettingsError(["registry.protocol: Databricks has its own transition requests: remove the setting"])
        return _databricks(settings, uri, on_answer)
    registry = _transport(settings, uri, on_answer=on_answer)
    tracking_uri = settings.tracking_uri()
    tracking = registry if tracking_uri == uri else _transport(settings, tracking_uri, on_answer=on_answer)
    workspace = settings.registry.workspace or ""
    if protocol == "tags":
        return TagsRegistry(uri, workspace, registry, tracking, settings.observe.budget)

    def choose() -> Speaking:
        lists_all = app_answers(registry)
        if lists_all:
            return AppRegistry(uri, workspace, registry, tracking, settings.observe.budget)
        if lists_all is None:
            return _swept(settings, uri, uri, _auth(settings), on_answer)
        if protocol == "auto":
            return TagsRegistry(uri, workspace, registry, tracking, settings.observe.budget)
        raise Unavailable(f"{uri} has no transition requests: install the app there, or set registry.protocol: tags")

    return AutoRegistry(uri, workspace, choose)


def _databricks(settings: Settings, uri: str, on_answer: Callable[[], None]) -> DatabricksRegistry:
    host, auth = databricks(uri)
    # Every record names the address: `databricks` alone would not say which workspace it was.
    return _swept(settings, host.rstrip("/"), host, auth, on_answer)


def _swept(
    settings: Settings, name: str, host: str, auth: AuthBase, on_answer: Callable[[], None]
) -> DatabricksRegistry:
    budget = Budget(settings.registry.budget)
    # Enough threads to use the budget when each call takes half a second.
    threads = min(max(round(settings.registry.budget / 2), 1), 8)
    transports = [_transport(settings, host, auth, budget, on_answer) for _ in range(threads)]
    tracking = transports[0]
    if settings.registry.tracking_uri not in {None, settings.registry.uri}:
        tracking = _transport(settings, settings.tracking_uri())
    # A cycle also has other work to do.
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
    if (problem := proxy_problem(uri)) is not None:
        raise SettingsError([problem])
    verify, cert = tls(os.environ)
    workspace = settings.registry.workspace
    headers = {"X-MLFLOW-WORKSPACE": workspace} if workspace else {}
    endpoint = Endpoint(uri, auth or _auth(settings), verify, cert, headers)
    limits = Limits(settings.registry.timeout.total_seconds(), settings.registry.max_bytes)
    return Transport(endpoint, limits, pace=budget, on_answer=on_answer)


@contextmanager
def guessing(settings: Settings, model: str, version: str) -> Iterator[None]:
    """Add similar names to an error that says that a version does not exist."""
    try:
        yield
    except NotFound:
        uri = settings.registry_uri()
        host, auth = databricks(uri) if settings.on_databricks else (uri, None)
        raise not_there(_transport(settings, host, auth), model, version, host) from None
