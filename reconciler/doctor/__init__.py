"""`check`: what a daemon needs, one line each, with the remedy. Nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reconciler.doctor.database import database
from reconciler.doctor.files import configuration, credentials, disk, metrics, policy
from reconciler.doctor.findings import Finding, Level, fail, failed, lines, skip, worst
from reconciler.doctor.network import proxy, registry_address, transport_security
from reconciler.doctor.registry import registry
from reconciler.policy.file import PolicyError
from reconciler.ports import AuditUnavailable, RegistryError, SchemaMismatch
from reconciler.settings.errors import SettingsError
from reconciler.settings.model import Settings

__all__ = ["Finding", "Level", "check", "lines", "worst"]

_EXPECTED = (SettingsError, PolicyError, SchemaMismatch, AuditUnavailable, RegistryError)
_Found = Finding | list[Finding]


def check(settings: Settings, config: Path | None) -> list[Finding]:
    """Every finding, the configuration first."""
    return [
        configuration(settings, config),
        *_told("policy", lambda: policy(settings)),
        *_told("registry", lambda: _reached(settings)),
        *_told("database", lambda: database(settings)),
        *_told("disk", lambda: disk(settings)),
        *_told("credentials", lambda: credentials(settings)),
        *_told("metrics", lambda: metrics(settings)),
    ]


def _told(name: str, step: Callable[[], _Found]) -> list[Finding]:
    try:
        found = step()
    except _EXPECTED as error:
        found = fail(name, str(error))
    return found if isinstance(found, list) else [found]


def _reached(settings: Settings) -> list[Finding]:
    """What is wrong on the way to the registry is said once, and not again by each call that would fail of it."""
    address = registry_address(settings)
    way = [proxy(address), *_told("tls", lambda: transport_security(address))]
    if failed(way):
        return [*way, skip("registry", "not tried (see tls)"), skip("permissions", "not tried (see tls)")]
    return [*way, *_told("registry", lambda: registry(settings))]
