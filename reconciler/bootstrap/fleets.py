"""The configured registry's holders, judged by the configured policy or another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from reconciler.bootstrap.policies import policy_in_force
from reconciler.bootstrap.registries import make_registry
from reconciler.cycle import PolicyInForce
from reconciler.domain.text import visible_name
from reconciler.fleet import Holder, JudgedHolder, OnRecord, holders_of, judged_fleet
from reconciler.ports import AuditUnavailable, Meter, SchemaMismatch
from reconciler.registry.speaking import Speaking
from reconciler.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Fleet:
    """The holders of now. `doubt`: why nothing on record could be read; "" where it could."""

    registry: Speaking
    in_force: PolicyInForce
    holders: tuple[Holder, ...]
    doubt: str
    _on_record: OnRecord
    _meter: Meter
    _now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def calls(self) -> int:
        """How many calls it has taken so far."""
        return self._meter().calls

    def judged(self, at: datetime | None) -> Iterator[JudgedHolder]:
        """Each holder on the evidence of now; `at`: as of then."""
        policy, at = self.in_force.policy, at or self._now
        return judged_fleet(self.registry, policy, self.holders, self._now, at, self._on_record)


def fleet(settings: Settings) -> Fleet:
    """Reads which versions hold a governed target now, and what is on record of them.

    Raises:
        RegistryError: they cannot be listed to their end.
    """
    in_force, registry = policy_in_force(settings), make_registry(settings)
    meter = registry.begin(None)
    holders = tuple(holders_of(registry, in_force.policy.scope()))
    on_record, doubt = _on_record(settings, registry)
    return Fleet(registry, in_force, holders, doubt, on_record, meter)


def _on_record(settings: Settings, registry: Speaking) -> tuple[OnRecord, str]:
    """What a database knows, where one is configured and can be read: without it everything else is told."""
    from reconciler.audit import schema
    from reconciler.audit.database import Access, audit_errors, one_state
    from reconciler.audit.holding.tenures import open_tenures
    from reconciler.audit.statements import Served

    served = Served(visible_name(registry.uri), visible_name(registry.workspace))
    try:
        opened = schema.opened_at_head(settings.audit.url.get_secret_value(), Access.READ)
        with opened as engine, audit_errors(engine), one_state(engine) as connection:
            return open_tenures(connection, served), ""
    except (AuditUnavailable, SchemaMismatch) as error:
        return {}, str(error)
