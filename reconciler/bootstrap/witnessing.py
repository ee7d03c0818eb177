"""The configured registry as a witness of the audit database."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from functools import cache, partial

from sqlalchemy import Engine

from reconciler.audit.log.registry_witness import Compared, NowThere, compare, targets_of
from reconciler.audit.statements import Served
from reconciler.bootstrap.policies import policy_in_force
from reconciler.bootstrap.registries import make_registry
from reconciler.domain.request import Request
from reconciler.domain.text import visible_name
from reconciler.policy.file import PolicyError
from reconciler.ports import Invalid, NotFound, Refused
from reconciler.registry.speaking import Speaking
from reconciler.settings.errors import SettingsError
from reconciler.settings.model import Settings


def compare_with_registry(settings: Settings, engine: Engine) -> Compared:
    """Compares the decisions that the registry shows with the database.

    Raises:
        Invalid: this registry shows none.
        RegistryError: it cannot be read.
    """
    registry = make_registry(settings)
    registry.begin(None)
    if not registry.shows_decisions:
        raise Invalid(
            "--registry: this registry shows no decisions, so it is no witness: keep heads of the log instead"
        )
    served = Served(visible_name(registry.uri), visible_name(registry.workspace))
    targets = targets_of(engine, served)
    # What a database from which all of a target's decisions were removed knows nothing of.
    with contextlib.suppress(SettingsError, PolicyError):
        targets |= policy_in_force(settings).policy.governed_targets()
    return compare(engine, registry.told(targets), served, cache(partial(_read_now, registry)))


def _read_now(registry: Speaking, asked: Request) -> NowThere | None:
    try:
        found = registry.find(asked.model, asked.version, asked.target, datetime.now(UTC))
    except (NotFound, Refused):
        # Of a deleted model basic-auth says neither that it is there nor that it is not.
        return None
    version = found.listed.version
    return NowThere(version.creation_timestamp if version is not None else None, found.decided)
