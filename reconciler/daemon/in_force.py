"""The running daemon: what is in force now, and how it changes between two cycles."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine

from reconciler import __version__
from reconciler.audit import lock, schema
from reconciler.audit.database import Access, opened
from reconciler.audit.log.heads import HeadKeeper
from reconciler.audit.log.signing import Signer
from reconciler.bootstrap.audit_logs import resident_audit_log, signer_of
from reconciler.bootstrap.cycles import times_of
from reconciler.bootstrap.policies import policy_in_force, refuse_unsafe_includes
from reconciler.bootstrap.registries import make_registry
from reconciler.cycle import Cycle, CycleSummary, PolicyInForce
from reconciler.daemon.measuring import Measuring
from reconciler.daemon.schedule import CycleLog, Daemon, log_event
from reconciler.daemon.systemd import Notifier
from reconciler.domain.decision import Mode
from reconciler.domain.times import duration_text
from reconciler.logs import CYCLE, LOGGER
from reconciler.policy.file import PolicyError
from reconciler.ports import AuditUnavailable, RegistryError
from reconciler.registry.permissions import few, governed_levels, not_governable
from reconciler.registry.speaking import Speaking
from reconciler.settings.errors import SettingsError
from reconciler.settings.load import config_path, load_settings, refuse_writable_by_others
from reconciler.settings.model import Settings
from reconciler.settings.secret_files import UnreadableSecret, secret_paths, signing_key_path

Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Named:
    """What the configuration names, and how its files looked before they were read."""

    settings: Settings
    in_force: PolicyInForce
    registry: Speaking
    signer: Signer | None
    stamp: Stamp


def run_daemon(config: Path | None, settings: Settings) -> int:
    """Serves until a signal. Returns 0; raises SettingsError, PolicyError, SchemaMismatch or AlreadyServed."""
    url, stop, notifier = settings.audit.url.get_secret_value(), threading.Event(), Notifier()
    # Before the database: one that nobody has set up yet is often a configuration that nobody has written yet.
    named = _named_by(config, settings, notifier.progress)
    with lock.hold(url), opened(url, Access.WRITE) as engine:
        running = Running(config, named, engine, notifier, stop)
        LOGGER.info(_introduced(named), extra={"event": "started"})
        Daemon(running, stop, notifier).serve()
    return 0


def _introduced(named: Named) -> str:
    interval = duration_text(named.settings.schedule.interval)
    what = f"policy {named.in_force.digest[:12]}, mode {named.settings.mode}, every {interval}"
    return f"started: version {__version__}, registry {named.registry.uri}, {what}{_checks(named.in_force)}"


def _checks(in_force: PolicyInForce) -> str:
    """Whose code judges, of checks of plugins."""
    return "".join(f", {code.check} of {code}" for code in sorted(in_force.policy.all_needs().codes))


def _named_by(
    config: Path | None, settings: Settings, on_answer: Callable[[], None], includes: Sequence[str] | None = None
) -> Named:
    """Reads files and connects nothing. Raises SettingsError or PolicyError.

    Args:
        includes: what the policy is known to include: how files look is noted before they are read.
    """
    stamp = _stamped(config, settings, includes or ())
    for path in (config_path(config), settings.policy):
        if path is not None:
            refuse_writable_by_others(path)
    in_force = policy_in_force(settings)
    refuse_unsafe_includes(in_force)
    if includes is None and in_force.includes:
        return _named_by(config, settings, on_answer, in_force.includes)
    return Named(settings, in_force, make_registry(settings, on_answer), signer_of(settings), stamp)


def _stamped(config: Path | None, settings: Settings, includes: Sequence[str] = ()) -> Stamp:
    """What changes when a file does: policy, configuration, secrets. `includes`: the policy's other files."""
    paths = [config_path(config), settings.policy, *map(Path, includes)]
    # What cannot be read any more is told when the settings are read again.
    with contextlib.suppress(UnreadableSecret):
        paths += [*secret_paths(settings.credentials_directory), signing_key_path(settings.credentials_directory)]
    stamps = []
    for path in paths:
        with contextlib.suppress(OSError, AttributeError):
            found = path.stat()  # type: ignore[union-attr]
            stamps.append((str(path), found.st_mtime_ns, found.st_size, found.st_ino))
    return tuple(stamps)


class Running:
    """Policy, configuration and what is built from them, replaced as a whole or not at all."""

    def __init__(
        self, config: Path | None, named: Named, engine: Engine, notifier: Notifier, stop: threading.Event
    ) -> None:
        self._config = config
        self._engine = engine
        self._notifier = notifier
        self._stop = stop
        self._measuring = Measuring(named.settings.metrics.path)
        self._reload = threading.Event()
        self._log = CycleLog()
        self._schema_checked = self._permissions_told = False
        self._problem: str | None = None
        self._heads = HeadKeeper(engine, named.settings.heads_path(), named.signer)
        self._includes: tuple[str, ...] = ()
        self._stamp: Stamp = ()
        self._put_in_force(named)

    @property
    def interval(self) -> timedelta:
        return self._settings.schedule.interval

    @property
    def jitter(self) -> timedelta:
        return self._settings.schedule.jitter

    def ask_to_reload(self) -> None:
        self._reload.set()

    def sign_off(self) -> None:
        with contextlib.suppress(AuditUnavailable):
            self._audit.sign_off()
            self._heads.keep()

    # --- a cycle ---------------------------------------------------------------------------------------------

    def one_cycle(self) -> CycleSummary:
        CYCLE.set(uuid.uuid4().hex[:8])
        self._follow_the_files()
        # The database may be down when the daemon starts; its revision is checked when it can be reached.
        if not self._schema_checked:
            schema.require_head(self._engine)
            self._audit.sign_on(Mode(self._settings.mode), self._in_force.digest)
            self._schema_checked = True
        summary = self._cycle.run(self._in_force, Mode(self._settings.mode), self._problems())
        self._log.tell(summary)
        self._heads.keep()
        self._tell(summary)
        return summary

    def _problems(self) -> str | None:
        """What `status` shows beside the sentence: a reload that was refused, heads of the log that have no place."""
        return "; ".join(filter(None, (self._problem, self._heads.problem))) or None

    def _tell(self, summary: CycleSummary) -> None:
        self._notifier.progress()
        problems = self._problems()
        text = summary.sentence + (f"; {problems}" if problems else "")
        if summary.unavailable is None:
            self._notifier.ready(text)
            self._tell_permissions()
        else:
            self._notifier.status(f"waiting: {text}")
        self._measuring.cycle_ended(summary, self._heads.waiting)

    def _tell_permissions(self) -> None:
        """Warns, once, of the governed models that this account may not decide about."""
        if self._permissions_told:
            return
        self._permissions_told = True
        scope = self._in_force.policy.scope()
        with contextlib.suppress(RegistryError):
            if lacking := not_governable(scope, governed_levels(self._registry, scope)):
                LOGGER.warning("this account may not decide about %s", few(lacking))

    # --- reloading -------------------------------------------------------------------------------------------

    def _follow_the_files(self) -> None:
        stamp = _stamped(self._config, self._settings, self._includes)
        if not self._reload.is_set() and stamp == self._stamp:
            return
        self._reload.clear()
        # Taken before the files are read: a change made meanwhile is then read once more.
        self._stamp = stamp
        self._notifier.reloading()
        try:
            settings = load_settings(self._config)
            self._require_same_database(settings)
            named = _named_by(self._config, settings, self._notifier.progress)
            if _recorded_as(named.registry) != _recorded_as(self._registry):
                self.sign_off()
            self._put_in_force(named)
        except (SettingsError, PolicyError, UnreadableSecret) as error:
            if isinstance(error, PolicyError):
                # What is mended may be a file that the policy in force does not include.
                self._includes = error.includes
            reason = str(error).replace("\n", "; ")
            self._problem = f"reload refused, the old policy stays in force: {reason}"
            self._measuring.reload_refused()
            LOGGER.error(self._problem, extra={"event": "reload"})
            self._notifier.reloaded(self._problem)
            return
        self._problem = None
        what = f"policy {self._in_force.digest[:12]}, mode {settings.mode}{_checks(self._in_force)}"
        LOGGER.info(f"reloaded: {what}", extra={"event": "reload"})
        self._notifier.reloaded("reloaded")

    def _put_in_force(self, named: Named) -> None:
        for sentence in named.in_force.policy.never_judged():
            LOGGER.warning(sentence)
        settings, registry = named.settings, named.registry
        audit = resident_audit_log(self._engine, settings, registry, self._notifier.progress)
        self._audit = audit
        times = times_of(settings)
        self._cycle = Cycle(registry, audit, stop=self._stop.is_set, on_event=log_event, times=times)
        self._heads.use(settings.heads_path(), named.signer)
        self._settings, self._in_force, self._registry = settings, named.in_force, registry
        self._includes, self._stamp = named.in_force.includes, named.stamp
        self._measuring.in_force(settings.mode, named.in_force.digest)

    def _require_same_database(self, settings: Settings) -> None:
        if settings.audit.url != self._settings.audit.url:
            raise SettingsError(["audit.url: cannot change while the daemon runs: restart it"])


def _recorded_as(registry: Speaking) -> tuple[str, str]:
    return registry.uri, registry.workspace
