"""Read the configuration: variables over secret files over the YAML file over defaults; report every problem."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from reconciler.settings import addresses
from reconciler.settings.errors import SettingsError
from reconciler.settings.model import CONFIG_VARIABLE, DEFAULT_CONFIG, DEFAULT_STATE, Settings, known_keys
from reconciler.settings.problems import problem, unknown_keys, unknown_variables
from reconciler.settings.secret_files import UnreadableSecret, credential_exists, secret_files, variable
from reconciler.settings.sources import all_values, credentials_directory

_NAME_ANOTHER = f"name another with --config or {CONFIG_VARIABLE}"


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Return the settings from variables, secret files, the YAML file and defaults, in this order.

    The file is `config`, else $RECONCILER_CONFIG, else /etc/mlflow-reconciler/config.yaml if it exists. `overrides`
    are sections as mappings, or top-level values; they win over everything.

    Raises:
        SettingsError: with every problem; each names the key, the value (never a secret's) and what is allowed.
    """
    problems = list(unknown_variables(os.environ))
    path = config_path(config)
    content = _content(path) if path else {}
    problems += unknown_keys(content, path)
    if problems:
        raise SettingsError(problems)
    _require_a_named_database(content)
    try:
        loaded = Settings(**all_values(_with_the_instances_database(content, path), known_keys()))
    except UnreadableSecret as error:
        raise SettingsError([str(error)]) from None
    except ValidationError as error:
        files = secret_files(credentials_directory(content))
        raise SettingsError([problem(mistake, path, files) for mistake in error.errors()]) from None
    return _with_mlflows_tracking_uri(_overridden(loaded, overrides), content)


def _require_a_named_database(content: Mapping[str, Any]) -> None:
    """Refuse to guess a database where `credentials_directory` should name it."""
    directory = credentials_directory(content)
    audit = content.get("audit")
    named = variable(("audit", "url"))
    # As everywhere, a file or a folder that is named by an empty variable is not named.
    elsewhere = named in os.environ or any(map(os.environ.get, (f"{named}_FILE", "CREDENTIALS_DIRECTORY")))
    if directory is None or elsewhere or (isinstance(audit, dict) and "url" in audit):
        return
    with contextlib.suppress(OSError):
        if directory.is_dir() and not credential_exists("audit", "url", directory):
            remedy = f"create {directory / 'audit.url'} (if empty, the audit is in SQLite), or set audit.url"
            raise SettingsError([f"audit.url: {directory} has no such credential: {remedy}"])


def _with_the_instances_database(content: dict[str, Any], path: Path | None) -> dict[str, Any]:
    """mlflow-reconciler@NAME.service keeps its state in its own folder; a command in a shell must look there too."""
    if path is None or path.resolve().parent.parent != DEFAULT_CONFIG.parent or "STATE_DIRECTORY" in os.environ:
        return content
    audit = content.get("audit") or {}
    if not isinstance(audit, dict) or "url" in audit:
        return content
    url = f"sqlite:///{DEFAULT_STATE / path.resolve().parent.name}/audit.db"
    return content | {"audit": {**audit, "url": url}}


def _overridden(settings: Settings, overrides: Mapping[str, Any]) -> Settings:
    values: dict[str, Any] = {}
    for key, value in overrides.items():
        current = getattr(settings, key)
        values[key] = current.model_copy(update=dict(value)) if isinstance(current, BaseModel) else value
    return settings.model_copy(update=values)


def _with_mlflows_tracking_uri(settings: Settings, content: Mapping[str, Any]) -> Settings:
    """If MLflow's variables name the registry, they also name its tracking server."""
    registry, tracking = os.environ.get("MLFLOW_REGISTRY_URI"), os.environ.get("MLFLOW_TRACKING_URI")
    if (
        not registry
        or not tracking
        or settings.registry.tracking_uri
        or settings.registry.uri != registry.strip().rstrip("/")
    ):
        return settings
    try:
        tracking_uri = addresses.address(tracking)
    except ValueError as error:
        raise SettingsError([f"MLFLOW_TRACKING_URI: {error}"]) from None
    return settings.model_copy(update={"registry": settings.registry.model_copy(update={"tracking_uri": tracking_uri})})


# --- files ---------------------------------------------------------------------------------------------------


def config_path(config: Path | None) -> Path | None:
    """The file that `load_settings` reads."""
    named = config or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    return named or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)


def _content(path: Path) -> dict[str, Any]:
    content = _data(_text(path), path)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError([f"{path}: not a mapping: start with `registry:`"])
    # Relative paths in the file are relative to its folder.
    for key in ("policy", "credentials_directory"):
        if isinstance(content.get(key), str) and content[key]:
            content[key] = path.parent / content[key]
    return content


def _text(path: Path) -> str:
    try:
        _require_file(path, path.stat().st_mode)
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SettingsError([f"{path}: the file is not UTF-8: save it as UTF-8"]) from None
    except OSError as error:
        remedy = "run this as a user who may, or with sudo" if isinstance(error, PermissionError) else _NAME_ANOTHER
        raise SettingsError([f"{path}: cannot read the file: {error.strerror}: {remedy}"]) from None


def _data(text: str, path: Path) -> Any:
    """The document as plain values, read as a policy is; None if it is empty."""
    # Without a file, no parser is needed.
    from reconciler.policy.marks import Marks, compose
    from reconciler.policy.problems import PolicyError

    try:
        root = compose(text, str(path))
    except PolicyError as error:
        raise SettingsError(str(error).splitlines()) from None
    marks = Marks(root) if root is not None else None
    if marks is not None and marks.problems:
        raise SettingsError([mistake.in_file(str(path)) for mistake in marks.problems])
    return marks and marks.data


def _require_file(path: Path, mode: int) -> None:
    """Refuse a directory, which is no file, and a pipe, which may never end."""
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise SettingsError([f"{path}: is {kind}: name a file"])


def refuse_writable_by_others(path: Path) -> None:
    """Refuse a file that others can write: they could decide what is approved.

    Raises:
        SettingsError: it is not a file, or users other than its owner may write it.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    _require_file(path, mode)
    if mode & 0o022:
        raise SettingsError([f"{path}: writable by users other than its owner: chmod go-w {path}"])


def refuse_folder_writable_by_others(path: Path) -> None:
    """Refuse a folder in which others can replace files.

    Raises:
        SettingsError: users other than its owner may write it.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_mode & 0o022:
            raise SettingsError([f"{path}: writable by users other than its owner: chmod go-w {path}"])


def database_url(url: str) -> str:
    """Return the address with its driver. Raises SettingsError if it is not a usable database."""
    try:
        return addresses.database_url(url)
    except ValueError as error:
        raise SettingsError([str(error)]) from None
