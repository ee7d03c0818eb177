"""The configuration: one frozen object, validated once."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic.fields import FieldInfo

from reconciler.domain.text import visible_name
from reconciler.domain.times import duration_text
from reconciler.settings.addresses import address, database_url, is_databricks, is_loopback
from reconciler.settings.errors import SettingsError
from reconciler.settings.plugins import PluginSettings
from reconciler.settings.section import Duration, Section, names_of, positive
from reconciler.settings.sendable import as_utf8, in_a_header

CONFIG_VARIABLE = "RECONCILER_CONFIG"
DEFAULT_CONFIG = Path("/etc/mlflow-reconciler/config.yaml")
DEFAULT_STATE = Path("/var/lib/mlflow-reconciler")


class RegistrySettings(Section):
    """The registry: where requests are listed and evidence is read."""

    uri: str | None = Field(None, description="The registry: http(s)://… (default $MLFLOW_REGISTRY_URI, …).")
    tracking_uri: str | None = Field(None, description="The tracking server, if it is not the registry.")
    protocol: Literal["auto", "tags", "transition-requests"] = Field(
        "auto", description="How requests are made on the registry."
    )
    workspace: str | None = Field(None, description="MLflow workspace (default $MLFLOW_WORKSPACE).")
    username: str | None = Field(None, description="For basic authentication.")
    password: SecretStr | None = Field(None, description="For basic authentication.")
    token: SecretStr | None = Field(None, description="Bearer token; wins over username and password.")
    allow_plaintext: bool = Field(False, description="Allow http:// to hosts other than this one.")
    timeout: Duration = Field(timedelta(seconds=10), description="Deadline of one call, retries included.")
    budget: float = Field(
        10.0, gt=0, le=1000, description="Databricks: calls per second; the workspace's 40 are shared."
    )
    full_sweep: Duration = Field(
        timedelta(minutes=15), description="Databricks: every version is checked at least this often."
    )
    max_bytes: int = Field(32 * 1024 * 1024, ge=1024, description="Largest response to read, in bytes.")

    @field_validator("uri", "tracking_uri")
    @classmethod
    def _address(cls, uri: str | None) -> str | None:
        return None if uri is None else address(uri)

    @field_validator("token")
    @classmethod
    def _sendable_token(cls, token: SecretStr | None) -> SecretStr | None:
        return None if token is None else SecretStr(in_a_header(token.get_secret_value()))

    @field_validator("password")
    @classmethod
    def _sendable_password(cls, password: SecretStr | None) -> SecretStr | None:
        return None if password is None else SecretStr(as_utf8(password.get_secret_value()))

    @field_validator("username")
    @classmethod
    def _sendable_username(cls, username: str | None) -> str | None:
        return None if username is None else as_utf8(username)

    @field_validator("workspace")
    @classmethod
    def _sendable_workspace(cls, workspace: str | None) -> str | None:
        return None if workspace is None else in_a_header(workspace)

    @field_validator("timeout", "full_sweep")
    @classmethod
    def _must_be_positive(cls, duration: timedelta) -> timedelta:
        return positive(duration)


def _state_directory() -> str:
    """The first entry of systemd's colon-separated list, which is the service's own."""
    return os.environ.get("STATE_DIRECTORY", "").split(":")[0] or str(DEFAULT_STATE)


class AuditSettings(Section):
    """The audit database."""

    url: SecretStr = Field(
        default_factory=lambda: SecretStr(f"sqlite:///{_state_directory()}/audit.db"),
        description="sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE.",
    )
    heads: str | None = Field(
        None,
        description="A file that heads of the log are appended to; empty: none (default: beside the SQLite file, …).",
    )

    @field_validator("url")
    @classmethod
    def _known_database(cls, url: SecretStr) -> SecretStr:
        return SecretStr(database_url(as_utf8(url.get_secret_value())))


class ScheduleSettings(Section):
    """When cycles run."""

    interval: Duration = Field(
        timedelta(seconds=60), description="Time from the start of one cycle to the start of the next."
    )
    jitter: Duration = Field(timedelta(seconds=5), description="Random variation of the interval, plus or minus.")
    deadline: Duration = Field(timedelta(minutes=5), description="A cycle makes no further calls after this time.")
    evidence_age: Duration = Field(
        timedelta(minutes=5), description="A decision that is older is judged again before it is carried out."
    )
    lease: Duration = Field(
        timedelta(seconds=90), description="How long the decisions of a replica that died stay reserved for it."
    )

    @field_validator("interval", "deadline", "evidence_age", "lease")
    @classmethod
    def _must_be_positive(cls, duration: timedelta) -> timedelta:
        return positive(duration)


class ObserveSettings(Section):
    """Looking at what holds a governed target, however it came there."""

    interval: Duration = Field(
        timedelta(hours=1), description="How often every version is looked at, also for what leaves no trace."
    )
    budget: Duration = Field(
        timedelta(seconds=2), description="How long one cycle may ask an open-source server for further pages."
    )

    @field_validator("interval", "budget")
    @classmethod
    def _must_be_positive(cls, duration: timedelta) -> timedelta:
        return positive(duration)


class EvidenceSettings(Section):
    """What is kept of what was judged."""

    exclude: Annotated[tuple[str, ...], BeforeValidator(names_of)] = Field(
        (), description="Names of tags, parameters and datasets (globs) that are never read into the evidence."
    )


class LogSettings(Section):
    """Logging to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json", "journal"] = "text"


class MetricsSettings(Section):
    """Metrics for a monitoring system."""

    path: Path | None = Field(None, description="A .prom file for node_exporter's textfile collector.")


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


class Settings(Section):
    """Everything that can be configured. Make one with `load_settings`."""

    registry: RegistrySettings = RegistrySettings()
    audit: AuditSettings = Field(default_factory=AuditSettings)
    credentials_directory: Path | None = Field(
        None, description="Directory of credentials, for commands run from a shell."
    )
    policy: Annotated[Path | None, BeforeValidator(_none_if_empty)] = Field(None, description="The policy file.")
    mode: Literal["observe", "approve-only", "enforce"] = Field("observe", description="What the daemon may do.")
    schedule: ScheduleSettings = ScheduleSettings()
    observe: ObserveSettings = ObserveSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    plugins: PluginSettings = PluginSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()

    @model_validator(mode="after")
    def _lease_outlasts_an_act(self) -> Settings:
        # An act is at most three writes, and reading its result takes at worst as many calls again.
        least = self.registry.timeout * 4 + timedelta(seconds=10)
        if self.schedule.lease < least:
            shown = duration_text(least)
            raise ValueError(f"schedule.lease: shorter than an act may take: use at least {shown}")
        return self

    def registry_uri(self) -> str:
        """The registry's address. Raises SettingsError if no registry is configured."""
        if self.registry.uri is None:
            variables = "registry.uri, RECONCILER_REGISTRY__URI or MLFLOW_TRACKING_URI"
            raise SettingsError([f"no registry is configured: set {variables} to its address"])
        _refuse_plaintext(self.registry.uri, self.registry.allow_plaintext)
        return self.registry.uri

    def tracking_uri(self) -> str:
        """Where runs are: the registry's address unless configured otherwise."""
        uri = self.registry.tracking_uri or self.registry_uri()
        _refuse_plaintext(uri, self.registry.allow_plaintext)
        return uri

    @property
    def recorded_registry(self) -> tuple[str, str] | None:
        """The registry's address and workspace as the audit records them.

        None if no registry is configured, or it is `databricks`, whose address only its SDK knows.
        """
        if self.registry.uri is None or is_databricks(self.registry.uri):
            return None
        return visible_name(self.registry.uri), visible_name(self.registry.workspace or "")

    def heads_path(self) -> Path | None:
        """Where heads of the log are appended; None: nowhere, so that the journal alone has them."""
        if self.audit.heads is not None:
            return Path(self.audit.heads) if self.audit.heads else None
        _, _, database = self.audit.url.get_secret_value().partition("sqlite:///")
        if database:
            path = Path(database.partition("?")[0])
            return path.with_name(f"{path.name.removesuffix('.db')}.heads")
        return Path(_state_directory()) / "audit.heads" if os.environ.get("STATE_DIRECTORY") else None

    @property
    def mode_is_set(self) -> bool:
        """Whether the mode was configured; otherwise it is the default."""
        return "mode" in self.model_fields_set

    @property
    def on_databricks(self) -> bool:
        return is_databricks(self.registry_uri())

    def policy_path(self) -> Path:
        """The policy's path. Raises SettingsError if no policy is configured."""
        if self.policy is None:
            raise SettingsError(
                ["no policy is configured: set policy or RECONCILER_POLICY to the path of a policy file"]
            )
        return self.policy


def known_keys() -> dict[tuple[str, ...], FieldInfo]:
    """Every key by its path, such as ("registry", "uri")."""
    keys: dict[tuple[str, ...], FieldInfo] = {}
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            keys |= {(name, key): inner for key, inner in section.model_fields.items()}
        else:
            keys[name,] = field
    return keys


def _refuse_plaintext(uri: str, allowed: bool) -> None:
    parts = urlsplit(uri)
    if parts.scheme != "http" or allowed or is_loopback(parts.hostname or ""):
        return
    raise SettingsError(
        [f"registry.uri: {uri} would send credentials in plain text: use https://, or set registry.allow_plaintext"]
    )
