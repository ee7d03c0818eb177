"""The options that every command takes, and the settings that follow from them. Nothing here needs typer."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.policy.plugins import Plugins
    from reconciler.settings.model import Settings


class LogFormat(StrEnum):
    """The values of `log.format`, repeated so that not every command imports the configuration."""

    TEXT = "text"
    JSON = "json"
    JOURNAL = "journal"


class LogLevel(StrEnum):
    """The values of `log.level`, likewise."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


# They are accepted before or after the command.
COMMON_OPTIONS = ("--config", "--log-format", "--log-level")


# Followed by the name of a command; whoever asks for help needs no configuration.
_OUR_COMMAND = re.compile(r"(?<!=)\bmlflow-reconciler (?=[a-z])(?![a-z-]+(?: [a-z-]+)? --help)")


class Common:
    """The values of the common options: `mlflow-reconciler --config FILE command`."""

    config: Path | None = None
    log_format: LogFormat | None = None
    log_level: LogLevel | None = None
    # Whether the address of the database is the default: neither a file nor a variable names one.
    default_database = False


def common_first(arguments: Sequence[str]) -> list[str]:
    """`once --config FILE` means the same as `--config FILE once`, up to a `--`."""
    first: list[str] = []
    rest = list(arguments)
    ends = rest.index("--") if "--" in rest else len(rest)
    at = 0
    while at < ends:
        name, has_value, _ = rest[at].partition("=")
        length = 0 if name not in COMMON_OPTIONS else 1 if has_value else 2
        first += rest[at : at + length]
        del rest[at : at + length]
        ends, at = ends - length, at + (not length)
    return first + rest


def with_config(sentence: str) -> str:
    """The commands that a sentence names, with the configuration file that this one was given: ready to be typed."""
    if Common.config is None:
        return sentence
    return _OUR_COMMAND.sub(lambda _: f"mlflow-reconciler --config {shlex.quote(str(Common.config))} ", sentence)


def settings() -> Settings:
    """The settings. Raises SettingsError, which names every problem."""
    from reconciler.settings.load import load_settings

    log: dict[str, Any] = {"format": Common.log_format, "level": Common.log_level}
    loaded = load_settings(Common.config, log={key: str(value) for key, value in log.items() if value})
    Common.default_database = "url" not in loaded.audit.model_fields_set
    return loaded


def plugins() -> Plugins:
    """The checks of plugins that the configuration names; none where there is no configuration that can be read."""
    from reconciler.policy.plugins import NO_PLUGINS
    from reconciler.settings.errors import SettingsError

    try:
        return settings().plugins.named()
    except SettingsError:
        return NO_PLUGINS
