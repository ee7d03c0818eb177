"""The configuration: one frozen object, validated once, from variables, secret files and one YAML file."""

from __future__ import annotations

import contextlib
import difflib
import ipaddress
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from reconciler.domain.mistakes import plain_words, typed_and_wrong
from reconciler.domain.text import visible, visible_name
from reconciler.domain.times import duration_text, parse_duration
from reconciler.secret_files import (
    PREFIX,
    SECRETS,
    UnreadableSecret,
    credential_exists,
    read_secret,
    secret_path,
    variable,
)

CONFIG_VARIABLE = "RECONCILER_CONFIG"
DEFAULT_CONFIG = Path("/etc/mlflow-reconciler/config.yaml")
DEFAULT_STATE = Path("/var/lib/mlflow-reconciler")


class SettingsError(Exception):
    """The configuration is wrong; `problems` are one-line sentences, and `str` has one a line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def _duration(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float | timedelta):
        raise ValueError("is not a duration: use for example 90s, 10m or 1h30m")
    return value if isinstance(value, timedelta) else parse_duration(value)


Duration = Annotated[timedelta, BeforeValidator(_duration)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RegistrySettings(_Section):
    """Where requests are listed and evidence is read."""

    uri: str | None = Field(None, description="The registry: http(s)://… (default $MLFLOW_REGISTRY_URI, …).")
    tracking_uri: str | None = Field(None, description="Where runs are, if not at the registry's address.")
    protocol: Literal["auto", "tags", "transition-requests"] = Field("auto", description="How requests are made.")
    workspace: str | None = Field(None, description="MLflow workspace (default $MLFLOW_WORKSPACE).")
    username: str | None = Field(None, description="For basic authentication.")
    password: SecretStr | None = Field(None, description="For basic authentication.")
    token: SecretStr | None = Field(None, description="Bearer token; wins over username and password.")
    allow_plaintext: bool = Field(False, description="Allow http:// to other hosts than this one.")
    timeout: Duration = Field(timedelta(seconds=10), description="Deadline of one call, tries included.")
    budget: float = Field(
        10.0, gt=0, le=1000, description="Databricks: calls per second; the workspace's 40 are shared."
    )
    full_sweep: Duration = Field(timedelta(minutes=15), description="Databricks: each version is looked at this often.")
    max_bytes: int = Field(32 * 1024 * 1024, ge=1024, description="The largest reply that is read.")

    @field_validator("uri", "tracking_uri")
    @classmethod
    def _address(cls, uri: str | None) -> str | None:
        return None if uri is None else address(uri)

    @field_validator("timeout", "full_sweep")
    @classmethod
    def _some_time(cls, duration: timedelta) -> timedelta:
        return _positive(duration)


def _state_directory() -> str:
    """systemd names several with colons between; the first is the service's own."""
    return os.environ.get("STATE_DIRECTORY", "").split(":")[0] or str(DEFAULT_STATE)


class AuditSettings(_Section):
    """The audit database."""

    url: SecretStr = Field(
        default_factory=lambda: SecretStr(f"sqlite:///{_state_directory()}/audit.db"),
        description="sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE.",
    )

    @field_validator("url")
    @classmethod
    def _known_database(cls, url: SecretStr) -> SecretStr:
        return SecretStr(_database_url(url.get_secret_value()))


class ScheduleSettings(_Section):
    """When cycles run."""

    interval: Duration = Field(timedelta(seconds=60), description="From the start of one cycle to the next.")
    jitter: Duration = Field(timedelta(seconds=5), description="Up to this much is added or taken away.")
    deadline: Duration = Field(timedelta(minutes=5), description="A cycle asks nothing more after this.")
    lease: Duration = Field(timedelta(seconds=90), description="How long a replica that is gone keeps its decisions.")

    @field_validator("interval", "deadline", "lease")
    @classmethod
    def _some_time(cls, duration: timedelta) -> timedelta:
        return _positive(duration)


class LogSettings(_Section):
    """What is told on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json", "journal"] = "text"


class MetricsSettings(_Section):
    """What is written for a monitoring system."""

    path: Path | None = Field(None, description="A .prom file for node_exporter's textfile collector.")


def _named(value: Any) -> Any:
    return None if value == "" else value


class Settings(BaseSettings):
    """Everything that can be configured. Make one with `load_settings`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__")

    registry: RegistrySettings = RegistrySettings()
    audit: AuditSettings = Field(default_factory=AuditSettings)
    credentials_directory: Path | None = Field(None, description="A folder of credentials, for commands in a shell.")
    policy: Annotated[Path | None, BeforeValidator(_named)] = Field(None, description="The policy file.")
    mode: Literal["observe", "approve-only", "enforce"] = Field("observe", description="What may be done.")
    schedule: ScheduleSettings = ScheduleSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load_settings` passes the YAML file's content in; variables override it.
        secrets = _SecretFiles(settings_cls, init_settings())
        return _Variables(settings_cls), secrets, init_settings, _MlflowDefaults(settings_cls)

    @model_validator(mode="after")
    def _lease_outlasts_an_act(self) -> Settings:
        # An act is at most three writes, and what it did is read in as many calls again at worst.
        least = self.registry.timeout * 4 + timedelta(seconds=10)
        if self.schedule.lease < least:
            shown = duration_text(least)
            raise ValueError(f"schedule.lease: is shorter than an act may take: use at least {shown}")
        return self

    def registry_uri(self) -> str:
        """Raises SettingsError where no registry is named."""
        if self.registry.uri is None:
            ways = "registry.uri, RECONCILER_REGISTRY__URI or MLFLOW_TRACKING_URI"
            raise SettingsError([f"no registry is named: set {ways} to its address"])
        _refuse_plaintext(self.registry.uri, self.registry.allow_plaintext)
        return self.registry.uri

    def tracking_uri(self) -> str:
        """Where runs are: at the registry's address unless told otherwise."""
        uri = self.registry.tracking_uri or self.registry_uri()
        _refuse_plaintext(uri, self.registry.allow_plaintext)
        return uri

    @property
    def recorded_registry(self) -> tuple[str, str] | None:
        """The registry's address and workspace as the audit has them.

        None where no registry is named, or it is `databricks`, whose address only its SDK knows.
        """
        if self.registry.uri is None or is_databricks(self.registry.uri):
            return None
        return visible_name(self.registry.uri), visible_name(self.registry.workspace or "")

    @property
    def mode_is_set(self) -> bool:
        """Somebody chose the mode; else it is the one that a daemon has where nothing is said."""
        return "mode" in self.model_fields_set

    @property
    def on_databricks(self) -> bool:
        return is_databricks(self.registry_uri())

    def policy_path(self) -> Path:
        """Raises SettingsError where no policy is named."""
        if self.policy is None:
            raise SettingsError(["no policy is named: set policy or RECONCILER_POLICY to the path of a policy file"])
        return self.policy


class _Variables(EnvSettingsSource):
    """RECONCILER_<SECTION>__<KEY>, without those that name a secret's file."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        files = {f"{variable(secret)}_FILE".lower() for secret in SECRETS}
        self.env_vars = {name: value for name, value in self.env_vars.items() if name.lower() not in files}


class _Source(PydanticBaseSettingsSource):
    """A source that gives its values all at once."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False


class _SecretFiles(_Source):
    """RECONCILER_<SECTION>__<KEY>_FILE, then $CREDENTIALS_DIRECTORY or `credentials_directory` / <section>.<key>."""

    def __init__(self, settings_cls: type[BaseSettings], content: Mapping[str, Any]) -> None:
        super().__init__(settings_cls)
        self._content = content

    def __call__(self) -> dict[str, Any]:
        directory = _credentials_directory(self._content)
        found: dict[str, Any] = {}
        for section, key in SECRETS:
            if (path := secret_path(section, key, directory)) is not None:
                found.setdefault(section, {})[key] = read_secret(path, section, key)
        return found


def _credentials_directory(content: Mapping[str, Any]) -> Path | None:
    named = os.environ.get(variable(("credentials_directory",))) or content.get("credentials_directory")
    return Path(named) if isinstance(named, str | Path) else None


class _MlflowDefaults(_Source):
    """Where MLflow users have already said where their registry is."""

    def __call__(self) -> dict[str, Any]:
        registry, tracking = os.environ.get("MLFLOW_REGISTRY_URI"), os.environ.get("MLFLOW_TRACKING_URI")
        values = {"uri": registry or tracking, "workspace": os.environ.get("MLFLOW_WORKSPACE")}
        return {"registry": {key: value for key, value in values.items() if value}}


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """The settings from variables, secret files, the YAML file and defaults, in this order.

    `config` else $RECONCILER_CONFIG else /etc/mlflow-reconciler/config.yaml if it exists. `overrides` are sections
    as mappings, or top-level values; they win over everything.

    Raises:
        SettingsError: with every problem, each naming the key, the value (never a secret's) and what is allowed.
    """
    problems = list(_unknown_variables(os.environ))
    path = _config_path(config)
    content = _content(path) if path else {}
    problems += _unknown_keys(content, path)
    if problems:
        raise SettingsError(problems)
    _require_a_named_database(content)
    try:
        loaded = Settings(**_with_the_instances_database(content, path))
    except UnreadableSecret as error:
        raise SettingsError([str(error)]) from None
    except ValidationError as error:
        raise SettingsError([_problem(one, path) for one in error.errors()]) from None
    return _tracking_as_mlflow_has_it(_overridden(loaded, overrides), content)


def _require_a_named_database(content: Mapping[str, Any]) -> None:
    """Whoever keeps credentials in a folder has said where the audit is: no other database is guessed."""
    directory = _credentials_directory(content)
    audit = content.get("audit")
    named = variable(("audit", "url"))
    elsewhere = {named, f"{named}_FILE", "CREDENTIALS_DIRECTORY"} & set(os.environ)
    if directory is None or elsewhere or (isinstance(audit, dict) and "url" in audit):
        return
    with contextlib.suppress(OSError):
        if directory.is_dir() and not credential_exists("audit", "url", directory):
            remedy = f"create {directory / 'audit.url'} (left empty, the audit is SQLite), or set audit.url"
            raise SettingsError([f"audit.url: {directory} has no such credential: {remedy}"])


def _with_the_instances_database(content: dict[str, Any], path: Path | None) -> dict[str, Any]:
    """mlflow-reconciler@NAME.service keeps its state in a folder of its own, and so must whoever asks from a shell."""
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


def _tracking_as_mlflow_has_it(settings: Settings, content: Mapping[str, Any]) -> Settings:
    """A registry that MLflow's variables name has its runs where MLflow's variables say."""
    registry, tracking = os.environ.get("MLFLOW_REGISTRY_URI"), os.environ.get("MLFLOW_TRACKING_URI")
    if not registry or not tracking or settings.registry.tracking_uri or settings.registry.uri != registry.rstrip("/"):
        return settings
    try:
        address_of_runs = address(tracking)
    except ValueError as error:
        raise SettingsError([f"MLFLOW_TRACKING_URI: {error}"]) from None
    return settings.model_copy(
        update={"registry": settings.registry.model_copy(update={"tracking_uri": address_of_runs})}
    )


# --- files ---------------------------------------------------------------------------------------------------


def _config_path(config: Path | None) -> Path | None:
    named = config or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    return named or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise SettingsError([f"{path}{at}: is not YAML: {visible(error.problem or '', 200)}"]) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise SettingsError([f"{path}: is not YAML text"]) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError([f"{path}: holds no keys: begin with `registry:`"])
    # What is named in the file stands beside the file.
    for key in ("policy", "credentials_directory"):
        if isinstance(content.get(key), str) and content[key]:
            content[key] = path.parent / content[key]
    return content


def refuse_writable_by_others(path: Path) -> None:
    """Whoever can write the policy decides what is approved.

    Raises:
        SettingsError: others than the file's owner may write it.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if mode & 0o022:
        raise SettingsError([f"{path}: may be written by others than its owner: chmod go-w {path}"])


def config_path(config: Path | None) -> Path | None:
    """The file that `load_settings` reads."""
    return _config_path(config)


# --- telling what is wrong -----------------------------------------------------------------------------------


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


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    known = {CONFIG_VARIABLE, *(variable(key) for key in known_keys())}
    known |= {f"{variable(secret)}_FILE" for secret in SECRETS}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            yield f"{visible(name, 100)}: is no setting" + _hint(name, known)


def _unknown_keys(content: Mapping[str, Any], path: Path | None) -> list[str]:
    keys = known_keys()
    problems = []
    for section, value in content.items():
        inner = value if isinstance(value, dict) and not any(key == (section,) for key in keys) else {None: None}
        for name in inner:
            key = (str(section),) if name is None else (str(section), str(name))
            if key not in keys and not any(name is None and one[0] == section for one in keys):
                known = {".".join(one) for one in keys}
                problems.append(f"{path}: {visible('.'.join(key), 100)}: is no setting" + _hint(".".join(key), known))
    return problems


def _hint(word: str, known: set[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.75)
    return f": did you mean {near[0]}?" if near else ": see docs/configuration.md for those that are"


def _problem(error: Any, path: Path | None) -> str:
    key = tuple(str(part) for part in error["loc"])
    if not key:
        return str(error["ctx"]["error"])
    named = variable(key) if variable(key) in os.environ else f"{path}: {'.'.join(key)}" if path else ".".join(key)
    # What is given where a secret belongs is never repeated; our own sentences about an address do not do so either.
    return f"{named}: {plain_words(error) if key in SECRETS else typed_and_wrong(error)}"


# --- addresses -----------------------------------------------------------------------------------------------


def address(uri: str) -> str:
    """A registry's address without a slash at its end.

    Raises:
        ValueError: not an address that can be used; the message repeats no credentials.
    """
    if is_databricks(uri):
        return uri
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not an address: use https://HOST[:PORT][/PATH]") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("is not an address of a server: use https://HOST[:PORT][/PATH], or databricks")
    if parts.username is not None or parts.password is not None:
        raise ValueError("has a user or password in it: take it out, and set registry.username and registry.password")
    if parts.query or parts.fragment:
        raise ValueError("has a query or fragment: use https://HOST[:PORT][/PATH]")
    return uri.rstrip("/")


def is_databricks(uri: str) -> bool:
    return uri == "databricks" or uri.startswith("databricks://")


def _refuse_plaintext(uri: str, allowed: bool) -> None:
    parts = urlsplit(uri)
    if parts.scheme != "http" or allowed or is_loopback(parts.hostname or ""):
        return
    raise SettingsError(
        [f"registry.uri: {uri} would send credentials in plain text: use https://, or set registry.allow_plaintext"]
    )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _database_url(url: str) -> str:
    for short in ("postgresql://", "postgres://"):
        if url.startswith(short):
            return "postgresql+psycopg://" + url.removeprefix(short)
    if url.startswith("sqlite:///") and url != "sqlite:///":
        if ":memory:" in url:
            raise ValueError("keeps nothing: an audit in memory is none; use sqlite:///PATH")
        return url
    if url.startswith("postgresql+psycopg://"):
        return url
    raise ValueError("is not a database: use sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE")


def database_url(url: str) -> str:
    """Raises SettingsError for what is no database that can be used."""
    try:
        return _database_url(url)
    except ValueError as error:
        raise SettingsError([str(error)]) from None


def _positive(duration: timedelta) -> timedelta:
    if duration <= timedelta(0):
        raise ValueError("must be longer than nothing: use for example 60s")
    return duration
