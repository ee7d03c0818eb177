"""Secrets from files: named by a variable, passed by systemd, or in the configured folder."""

from __future__ import annotations

import grp
import os
from pathlib import Path

from reconciler.domain.errors import ExitCode, ReconcilerError

PREFIX = "RECONCILER_"
# Each may also be in a file (RECONCILER_REGISTRY__TOKEN_FILE), or a credential of that name (registry.token).
SECRETS = (("registry", "token"), ("registry", "password"), ("audit", "url"))
# With it heads of the log are signed. Only what runs cycles reads it: who may pause a daemon must not be able to sign.
SIGNING_KEY = ("audit", "signing_key")


class UnreadableSecret(ReconcilerError):
    """A configured secret cannot be read; the message names it. It is never treated as not configured."""

    exit_code = ExitCode.MISCONFIGURED


def variable(key: tuple[str, ...]) -> str:
    return PREFIX + "__".join(key).upper()


def secret_path(section: str, key: str, directory: Path | None) -> Path | None:
    """The file that holds a secret; None if a variable holds it, or it is not configured.

    `directory`: the configured `credentials_directory`. A service gets its credentials from systemd instead, and
    may not even read that folder.

    Raises:
        UnreadableSecret: it cannot be determined whether the file exists.
    """
    if variable((section, key)) in os.environ:
        return None
    if named := os.environ.get(f"{variable((section, key))}_FILE"):
        return Path(named)
    from_systemd = os.environ.get("CREDENTIALS_DIRECTORY")
    folder = Path(from_systemd) if from_systemd else directory
    if folder is None:
        return None
    path = folder / f"{section}.{key}"
    try:
        # An empty credential has not been filled in yet, nor has a blank one.
        return path if path.stat().st_size and read_secret(path, section, key) else None
    except FileNotFoundError:
        if folder.is_dir():
            return None
        raise UnreadableSecret(f"credentials_directory: {folder}: no such folder") from None
    except OSError as error:
        raise _unreadable(path, section, key, error) from None


def secret_files(directory: Path | None) -> dict[tuple[str, str], Path]:
    """The file of each secret that is currently read from one."""
    paths = {secret: secret_path(*secret, directory) for secret in SECRETS}
    return {secret: path for secret, path in paths.items() if path is not None}


def secret_paths(directory: Path | None) -> list[Path]:
    """The files that secrets are currently read from."""
    return list(secret_files(directory).values())


def signing_key(directory: Path | None) -> str | None:
    """The key that heads are signed with, as a file has it; None where none is configured. Raises UnreadableSecret."""
    path = signing_key_path(directory)
    return None if path is None else read_secret(path, *SIGNING_KEY)


def signing_key_path(directory: Path | None) -> Path | None:
    """As `secret_path`. A folder that is not there has no key."""
    if directory is not None and not directory.is_dir():
        directory = None
    return secret_path(*SIGNING_KEY, directory)


def read_secret(path: Path, section: str, key: str) -> str:
    """Read a secret. Raises UnreadableSecret."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, section, key, error) from None


def credential_exists(section: str, key: str, directory: Path) -> bool:
    """Whether the folder has this credential, even an empty one."""
    return (directory / f"{section}.{key}").exists()


def _unreadable(path: Path, section: str, key: str, error: Exception) -> UnreadableSecret:
    reason = getattr(error, "strerror", None) or "not text"
    remedy = f": {_readers(path)}" if isinstance(error, PermissionError) else ""
    return UnreadableSecret(f"{section}.{key}: cannot read the file {path}: {reason}{remedy}")


def _readers(path: Path) -> str:
    """Who to run as: a member of the group that may read the folder, if there is one."""
    try:
        folder = path.parent.stat()
        if folder.st_mode & 0o050 == 0o050 and folder.st_gid:
            return f"run this as a member of group {grp.getgrgid(folder.st_gid).gr_name}, or with sudo"
    except (OSError, KeyError):
        pass
    return "run this with sudo, or grant an operators' group access (install-service --operators GROUP)"
