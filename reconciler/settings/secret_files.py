"""Secrets out of files: named by a variable, handed over by systemd, or in the folder that the configuration names."""

from __future__ import annotations

import grp
import os
from pathlib import Path

from reconciler.domain.errors import ExitCode, ReconcilerError

PREFIX = "RECONCILER_"
# Each may also stand in a file (RECONCILER_REGISTRY__TOKEN_FILE), or be a credential of its name (registry.token).
SECRETS = (("registry", "token"), ("registry", "password"), ("audit", "url"))


class UnreadableSecret(ReconcilerError):
    """A secret that is configured and cannot be read; the message names it. It is never taken for one that is not."""

    exit_code = ExitCode.MISCONFIGURED


def variable(key: tuple[str, ...]) -> str:
    return PREFIX + "__".join(key).upper()


def secret_path(section: str, key: str, directory: Path | None) -> Path | None:
    """The file that a secret comes from; None where a variable or nothing gives it.

    `directory`: the configured `credentials_directory`. A service has its credentials from systemd instead, and may not
    even look into that folder.

    Raises:
        UnreadableSecret: nobody can tell whether there is one.
    """
    if variable((section, key)) in os.environ:
        return None
    if named := os.environ.get(f"{variable((section, key))}_FILE"):
        return Path(named)
    handed_over = os.environ.get("CREDENTIALS_DIRECTORY")
    folder = Path(handed_over) if handed_over else directory
    if folder is None:
        return None
    path = folder / f"{section}.{key}"
    try:
        # An empty credential is one that nobody has filled in yet.
        return path if path.stat().st_size else None
    except FileNotFoundError:
        if folder.is_dir():
            return None
        raise UnreadableSecret(f"credentials_directory: {folder}: there is no such folder") from None
    except OSError as error:
        raise _unreadable(path, section, key, error) from None


def secret_paths(directory: Path | None) -> list[Path]:
    """The files that secrets are read from now."""
    return [path for section, key in SECRETS if (path := secret_path(section, key, directory)) is not None]


def read_secret(path: Path, section: str, key: str) -> str:
    """Raises UnreadableSecret."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, section, key, error) from None


def credential_exists(section: str, key: str, directory: Path) -> bool:
    """Whether the folder has this credential, filled in or empty."""
    return (directory / f"{section}.{key}").exists()


def _unreadable(path: Path, section: str, key: str, error: Exception) -> UnreadableSecret:
    reason = getattr(error, "strerror", None) or "is not text"
    remedy = f": {_who_may(path)}" if isinstance(error, PermissionError) else ""
    return UnreadableSecret(f"{section}.{key}: the file {path} cannot be read: {reason}{remedy}")


def _who_may(path: Path) -> str:
    """The group that may read the folder, if one may."""
    try:
        folder = path.parent.stat()
        if folder.st_mode & 0o050 == 0o050 and folder.st_gid:
            return f"run this as a member of group {grp.getgrgid(folder.st_gid).gr_name}, or with sudo"
    except (OSError, KeyError):
        pass
    return "run this with sudo, or let an operators' group read it (install-service --operators GROUP)"
