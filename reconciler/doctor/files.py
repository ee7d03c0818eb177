"""What is on this host: configuration, policy, credentials and disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import make_url

from reconciler.bootstrap.policies import policy_in_force
from reconciler.doctor.findings import Finding, fail, ok, skip, warn
from reconciler.domain.policy import Policy
from reconciler.domain.text import counted
from reconciler.policy.file import PolicyError
from reconciler.settings.errors import SettingsError
from reconciler.settings.load import config_path, refuse_writable_by_others
from reconciler.settings.model import Settings
from reconciler.settings.secret_files import secret_paths

_LEAST_FREE = 1 << 30


def configuration(settings: Settings, config: Path | None) -> Finding:
    path = config_path(config)
    try:
        if path is not None:
            refuse_writable_by_others(path)
    except SettingsError as error:
        return fail("configuration", str(error))
    source = f"{path}, and" if path else "no file;"
    return ok("configuration", f"{source} variables; mode {settings.mode}")


def policy(settings: Settings) -> Finding:
    refuse_writable_by_others(settings.policy_path())
    in_force = policy_in_force(settings)
    targets = ", ".join(str(target) for target in sorted(in_force.policy.governed_targets()))
    count = len(in_force.policy.rules)
    rules = f"{counted(count, 'rule')} {'governs' if count == 1 else 'govern'}"
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
