"""Values from outside the file: variables, secret files, and the variables that MLflow users already have."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from reconciler.settings.secret_files import SECRETS, read_secret, secret_path, variable

Values = dict[str, Any]


def all_values(content: Mapping[str, Any], keys: Iterable[tuple[str, ...]]) -> Values:
    """Variables over secret files over `content` (the YAML file) over MLflow's own variables.

    Raises:
        UnreadableSecret: a configured secret cannot be read.
    """
    return reduce(_over, [_variables(keys), _secrets(content), content, _mlflow_defaults()], {})


def _over(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Values:
    """`values`, completed from `defaults`, key by key within a section."""
    merged = {**defaults, **values}
    for key in values.keys() & defaults.keys():
        if isinstance(values[key], dict) and isinstance(defaults[key], dict):
            merged[key] = _over(values[key], defaults[key])
    return merged


def _variables(keys: Iterable[tuple[str, ...]]) -> Values:
    """RECONCILER_<SECTION>__<KEY>, in upper or lower case."""
    given = {name.lower(): value for name, value in os.environ.items()}
    values: Values = {}
    for key in keys:
        if (value := given.get(variable(key).lower())) is not None:
            section = values.setdefault(key[0], {}) if len(key) > 1 else values
            section[key[-1]] = value
    return values


def _secrets(content: Mapping[str, Any]) -> Values:
    """RECONCILER_<SECTION>__<KEY>_FILE, then $CREDENTIALS_DIRECTORY or `credentials_directory` / <section>.<key>."""
    directory = credentials_directory(content)
    found: Values = {}
    for section, key in SECRETS:
        if (path := secret_path(section, key, directory)) is not None:
            found.setdefault(section, {})[key] = read_secret(path, section, key)
    return found


def credentials_directory(content: Mapping[str, Any]) -> Path | None:
    named = os.environ.get(variable(("credentials_directory",))) or content.get("credentials_directory")
    return Path(named) if isinstance(named, str | Path) else None


def _mlflow_defaults() -> Values:
    """The registry's address and workspace from MLflow's own variables."""
    registry, tracking = os.environ.get("MLFLOW_REGISTRY_URI"), os.environ.get("MLFLOW_TRACKING_URI")
    values = {"uri": registry or tracking, "workspace": os.environ.get("MLFLOW_WORKSPACE")}
    return {"registry": {key: value for key, value in values.items() if value}}
