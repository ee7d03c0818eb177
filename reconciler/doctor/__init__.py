"""`check`: verify what a daemon needs, one line each, with the remedy. Nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reconciler.doctor.database import database
from reconciler.doctor.files import configuration, credentials, disk, heads, metrics, plugins, policy
from reconciler.doctor.findings import Finding, Level, fail, failed, lines, skip, worst
from reconciler.doctor.network import proxy, registry_address, transport_security
from reconciler.doctor.registry import registry
from reconciler.policy.file import PolicyError
from reconciler.ports import AuditUnavailable, RegistryError, SchemaMismatch
from reconciler.settings.errors import SettingsError
from reconciler.settings.model import Settings

__all__ = ["Finding", "Level", "check", "lines", "worst"]

_EXPECTED = (SettingsError, PolicyError, SchemaMismatch, AuditUnavailable, RegistryError)
_Result = Finding | list[Finding]


def check(settings: Settings, config: Path | None) -> list[Finding]:
    """Return every finding, the configuration first."""
    return [
        configuration(settings, config),
        *_findings("plugins", lambda: plugins(settings)),
        *_findings("policy", lambda: policy(settings)),
        *_findings("registry", lambda: _registry(settings)),
        *_findings("database", lambda: database(settings)),
        *_findings("disk", lambda: disk(settings)),
        *_findings("heads", lambda: heads(settings)),
        *_findings("credentials", lambda: credentials(settings)),
        *_findings("metrics", lambda: metrics(settings)),
    ]


def _findings(name: str, step: Callable[[], _Result]) -> list[Finding]:
    try:
        result = step()
    except _EXPECTED as error:
        result = fail(name, str(error))
    return result if isinstance(result, list) else [result]


def _registry(settings: Settings) -> list[Finding]:
    """Check the way to the registry first: what is wrong there is reported once, not by every call that fails."""
    address = registry_address(settings)
    route = [proxy(address), *_findings("tls", lambda: transport_security(address))]
    if failed(route):
        untried = f"not tried (see {next(found.name for found in route if failed([found]))})"
        return [*route, skip("registry", untried), skip("permissions", untried)]
    return [*route, *_findings("registry", lambda: registry(settings))]
