"""The configured audit database, opened for writing."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from reconciler.audit import lock, schema
from reconciler.audit.database import Access
from reconciler.audit.log.heads import HeadKeeper
from reconciler.audit.log.signing import Signer, UnusableKey
from reconciler.audit.one_cycle import OneCycleLog
from reconciler.audit.store import SqlAuditLog
from reconciler.registry.speaking import Speaking
from reconciler.settings.errors import SettingsError
from reconciler.settings.model import Settings
from reconciler.settings.secret_files import signing_key


def daemon_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def resident_audit_log(
    engine: Engine, settings: Settings, registry: Speaking, on_answer: Callable[[], None]
) -> SqlAuditLog:
    """The log of a daemon, for many cycles; `on_answer` is called after each transaction."""
    return SqlAuditLog(engine, daemon_name(), registry.uri, registry.workspace, settings.schedule.lease, on_answer)


@contextmanager
def audit_log_of_one_cycle(settings: Settings, registry: Speaking) -> Iterator[SqlAuditLog]:
    url = settings.audit.url.get_secret_value()
    with lock.hold(url), schema.opened_at_head(url, Access.WRITE) as engine:
        lease = settings.schedule.lease
        quiet = settings.log.format != "journal"
        heads = HeadKeeper(engine, settings.heads_path(), signer_of(settings), quiet)
        try:
            yield OneCycleLog(engine, daemon_name(), registry.uri, registry.workspace, lease)
        finally:
            heads.keep()


def signer_of(settings: Settings) -> Signer | None:
    """What signs heads of the log; None where no key is configured.

    Raises:
        UnreadableSecret: the key cannot be read.
        SettingsError: it is none that can be used.
    """
    key = signing_key(settings.credentials_directory)
    try:
        return None if key is None else Signer.of(key)
    except UnusableKey as error:
        raise SettingsError([str(error)]) from None
