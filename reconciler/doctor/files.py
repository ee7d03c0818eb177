"""What is on this host: configuration, policy, credentials and disk."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from sqlalchemy import make_url

from reconciler.bootstrap.audit_logs import signer_of
from reconciler.bootstrap.policies import policy_in_force, refuse_unsafe_includes
from reconciler.doctor.findings import Finding, fail, ok, skip, warn
from reconciler.domain.policy import Policy
from reconciler.domain.text import counted
from reconciler.policy.file import PolicyError
from reconciler.settings.errors import SettingsError
from reconciler.settings.load import config_path, refuse_writable_by_others
from reconciler.settings.model import Settings
from reconciler.settings.secret_files import UnreadableSecret, secret_paths

_LEAST_FREE = 1 << 30
_FRESH = 600.0


def configuration(settings: Settings, config: Path | None) -> Finding:
    path = config_path(config)
    try:
        if path is not None:
            refuse_writable_by_others(path)
    except SettingsError as error:
        return fail("configuration", str(error))
    source = f"{path}, and" if path else "no file;"
    return ok("configuration", f"{source} variables; mode {settings.mode}")


def plugins(settings: Settings) -> list[Finding]:
    """Which checks of plugins are loaded, and with which code; nothing where none is configured."""
    loaded = [kind.plugin.code for kind in settings.plugins.named().loaded()]
    return [ok("plugins", "; ".join(f"{code.check} of {code}" for code in loaded))] if loaded else []


def policy(settings: Settings) -> Finding:
    refuse_writable_by_others(settings.policy_path())
    in_force = policy_in_force(settings)
    refuse_unsafe_includes(in_force)
    targets = ", ".join(str(target) for target in sorted(in_force.policy.governed_targets()))
    count = len(in_force.policy.rules)
    rules = f"{counted(count, 'rule')} {'governs' if count == 1 else 'govern'}"
    if out := list(in_force.policy.never_judged()):
        return warn("policy", "; ".join(out))
    return ok("policy", f"{rules} {targets}; digest {in_force.digest[:12]}")


def policy_or_none(settings: Settings) -> Policy | None:
    """The policy; None if it cannot be read, which `policy` reports."""
    try:
        return policy_in_force(settings).policy
    except (SettingsError, PolicyError):
        return None


def credentials(settings: Settings) -> Finding:
    paths = secret_paths(settings.credentials_directory)
    # An operators' group may read them (install-service --operators), no other user.
    exposed = [str(path) for path in paths if path.stat().st_mode & 0o037]
    if exposed:
        return warn("credentials", f"{', '.join(exposed)} can be read by others: chmod o-rwx,g-wx")
    return ok("credentials", f"read from {', '.join(map(str, paths))}" if paths else "from variables, if any")


def disk(settings: Settings) -> Finding:
    url = make_url(settings.audit.url.get_secret_value())
    if url.get_backend_name() != "sqlite":
        return skip("disk", "not checked: the audit is in PostgreSQL, which has its own monitoring")
    folder = Path(url.database or "").resolve().parent
    if not folder.is_dir():
        return fail("disk", f"{folder} does not exist: create it, or set audit.url to a file elsewhere")
    free = shutil.disk_usage(folder).free
    space = f"{folder} has {free / (1 << 30):.1f} GB free"
    return ok("disk", space) if free >= _LEAST_FREE else warn("disk", f"{space}: make room")


def heads(settings: Settings) -> Finding:
    """Where heads of the log go, and whether they are signed."""
    signed, path = _signed(settings), settings.heads_path()
    if path is None:
        return ok("heads", f"of the log go to the journal only, since audit.heads names no file; {signed}")
    if path.is_file() and path.stat().st_size:
        return ok("heads", f"of the log are appended to {path}, {signed}: is a copy kept where its owner cannot write?")
    folder = path.absolute().parent
    if path.exists() and not path.is_file():
        return fail("heads", f"audit.heads: {path} is not a regular file: name another")
    if not folder.is_dir():
        return warn("heads", f"audit.heads: there is no folder {folder}: create it, or name a file elsewhere")
    if not os.access(folder, os.W_OK | os.X_OK):
        return warn("heads", f"audit.heads: this user may not write to {folder}: let the daemon's user write there")
    return ok("heads", f"of the log will be appended to {path}, {signed}")


def _signed(settings: Settings) -> str:
    try:
        return "signed" if signer_of(settings) is not None else "not signed (audit.signing_key)"
    except UnreadableSecret as error:
        # An operator must not be able to read it.
        if not isinstance(error.__context__, PermissionError):
            raise SettingsError([str(error)]) from None
        return "signed with a key that this user may not read"


def metrics(settings: Settings) -> list[Finding]:
    """Nothing where no file is wanted. Whether the service may write there is seen by what it wrote."""
    path = settings.metrics.path
    if path is None:
        return []
    if path.is_dir():
        return [fail("metrics", f"metrics.path: {path} is a folder: name a file in it, such as metrics.prom")]
    folder = path.absolute().parent
    if not folder.is_dir():
        remedy = "create it, or start the service where it is the service's /run folder"
        return [warn("metrics", f"metrics.path: there is no folder {folder}: {remedy}")]
    if path.is_file() and time.time() - path.stat().st_mtime < _FRESH:
        return [ok("metrics", f"{path} was written in the last ten minutes")]
    return [_writable(path, folder)]


def _writable(path: Path, folder: Path) -> Finding:
    if os.geteuid() == 0:
        return skip("metrics", f"{path} was not written lately, and root may write anywhere: start the service first")
    if not os.access(folder, os.W_OK | os.X_OK):
        remedy = "let the daemon's user write there, or set metrics.path to another folder"
        return warn("metrics", f"metrics.path: this user may not write to {folder}: {remedy}")
    return ok("metrics", f"{path} can be written by this user")
