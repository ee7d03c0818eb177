"""Where values come from beside the file: variables, secret files, and what MLflow users have set already."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from reconciler.settings.secret_files import SECRETS, read_secret, secret_path, variable


class Variables(EnvSettingsSource):
    """RECONCILER_<SECTION>__<KEY>, without those that name a secret's file."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        files = {f"{variable(secret)}_FILE".lower() for secret in SECRETS}
        self.env_vars = {name: value for name, value in self.env_vars.items() if name.lower() not in files}


class _Source(PydanticBaseSettingsSource):
    """A source that gives its values all at once."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False


class SecretFiles(_Source):
    """RECONCILER_<SECTION>__<KEY>_FILE, then $CREDENTIALS_DIRECTORY or `credentials_directory` / <section>.<key>."""

    def __init__(self, settings_cls: type[BaseSettings], content: Mapping[str, Any]) -> None:
        super().__init__(settings_cls)
        self._content = content

    def __call__(self) -> dict[str, Any]:
        directory = credentials_directory(self._content)
        found: dict[str, Any] = {}
        for section, key in SECRETS:
            if (path := secret_path(section, key, directory)) is not None:
                found.setdefault(section, {})[key] = read_secret(path, section, key)
        return found


def credentials_directory(content: Mapping[str, Any]) -> Path | None:
    named = os.environ.get(variable(("credentials_directory",))) or content.get("credentials_directory")
    return Path(named) if isinstance(named, str | Path) else None


class MlflowDefaults(_Source):
    """Where MLflow users have already said where their registry is."""

    def __call__(self) -> dict[str, Any]:
        registry, tracking = os.environ.get("MLFLOW_REGISTRY_URI"), os.environ.get("MLFLOW_TRACKING_URI")
        values = {"uri": registry or tracking, "workspace": os.environ.get("MLFLOW_WORKSPACE")}
        return {"registry": {key: value for key, value in values.items() if value}}
