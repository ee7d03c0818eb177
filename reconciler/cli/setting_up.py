"""init: a configuration and a policy for somebody with a laptop and a server, tried at once."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from reconciler.cli.daemon import show_findings
from reconciler.cli.exits import DONE, NEGATIVE, say
from reconciler.cli.files import write_new
from reconciler.cli.options import place_option, target_of
from reconciler.cli.terminal import progress_bar
from reconciler.domain.target import Target
from reconciler.domain.text import command_line, visible

_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,2})?"
_BOUND = re.compile(rf"\s*(?P<metric>[^\s<>=]+)\s*(?P<sign>>=|<=)\s*(?P<number>{_NUMBER})\s*", re.ASCII)
_DEFAULT_SERVER = "http://127.0.0.1:5000"
_DEFAULT_TARGET = "Production"
_DEFAULT_BOUND = "validation_accuracy>=0.90"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bound:
    """A number that a metric must reach."""

    metric: str
    at_least: bool
    number: str

    @classmethod
    def parse(cls, text: str) -> Bound:
        """Raises ValueError."""
        if (found := _BOUND.fullmatch(text)) is None:
            raise ValueError(f"{text!r} is no bound: write METRIC>=NUMBER or METRIC<=NUMBER")
        # YAML reads 1e-2 as a text.
        return cls(found["metric"], found["sign"] == ">=", format(Decimal(found["number"]), "f"))


@dataclass(frozen=True, slots=True)
class Answers:
    folder: Path
    server: str
    database: str
    target: Target
    bound: Bound

    @property
    def keeps_a_password(self) -> bool:
        from sqlalchemy import make_url

        return make_url(self.database).password is not None

    def files(self) -> dict[Path, tuple[str, int]]:
        """Content and mode of each."""
        secret = {self.folder / "credentials" / "audit.url": (self.database + "\n", 0o600)}
        return {
            self.folder / "config.yaml": (self._config(), 0o644),
            self.folder / "policy.yaml": (self._policy(), 0o644),
            **(secret if self.keeps_a_password else {}),
        }

    def _config(self) -> str:
        database = f"audit:\n  url: {json.dumps(self.database)}\n"
        if self.keeps_a_password:
            database = "credentials_directory: credentials          # the database's address, with its password\n"
        return (
            "# Every key is in docs/configuration.md. Credentials of the server: MLflow's own variables, such as\n"
            "# MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.\n"
            f"registry:\n  uri: {json.dumps(self.server)}\n{database}policy: policy.yaml\n"
            "mode: observe                               # observe | approve-only | enforce; begin by watching\n"
        )

    def _policy(self) -> str:
        archive = "    archive_existing: true\n" if self.target.is_stage else ""
        limit = "min" if self.bound.at_least else "max"
        return (
            f"# What a version must show before it goes to {self.target}; docs/policy.md has every check.\n"
            "version: 1\n"
            "rules:\n"
            "  - name: first-rule\n"
            '    models: ["*"]\n'
            f"    targets: [{json.dumps(str(self.target))}]\n"
            f"{archive}"
            "    require:\n"
            f"      - metric: {json.dumps(self.bound.metric)}\n"
            f"        {limit}: {self.bound.number}\n"
            "      - run: {linked: true}                   # it was really measured on this model\n"
        )


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: mlflow-reconciler init --server http://127.0.0.1:5000 --target @champion")(init)


def init(
    server: Annotated[str | None, typer.Option(help="MLflow server, or databricks://PROFILE.")] = None,
    database: Annotated[
        str | None, typer.Option(help="Where decisions are recorded (default: audit.db in the folder).")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help=f"Stage or @alias that is decided about (default: {_DEFAULT_TARGET}).")
    ] = None,
    bound: Annotated[
        str | None, typer.Option(help=f"What a version must have measured (default: '{_DEFAULT_BOUND}').")
    ] = None,
    directory: Annotated[Path | None, place_option(help="Folder for the files (default: the current one).")] = None,
) -> int:
    """Write a configuration and a policy, create the audit database, check everything, and say what to run next.

    On a terminal it asks for what no option says. Nothing that exists is overwritten. For a service: install-service.
    """
    answers = _answers(server, database, target, bound, directory)
    _refuse_existing(answers)
    _write(answers)
    return _try_out(answers)


# --- asking --------------------------------------------------------------------------------------------------


def _answers(server: str | None, database: str | None, target: str | None, bound: str | None,
             directory: Path | None) -> Answers:  # fmt: skip
    named = None if directory is None else str(directory)
    folder = _answer("--directory", named, "Folder for the files", ".", Path)
    known = os.environ.get("MLFLOW_REGISTRY_URI") or os.environ.get("MLFLOW_TRACKING_URI") or _DEFAULT_SERVER
    return Answers(
        folder,
        _answer("--server", server, "MLflow server", known, _server),
        _answer("--database", database, "Audit database", f"sqlite:///{folder.absolute()}/audit.db", _database),
        _answer("--target", target, "Stage or @alias to decide about", _DEFAULT_TARGET, _target),
        _answer("--bound", bound, "What a version must have measured", _DEFAULT_BOUND, _bound),
    )


def _answer(option: str, given: str | None, question: str, default: str, parse: Callable[[str], T]) -> T:
    """What the option says, else what is typed, else the default; asked again until it can be used."""
    if given is not None:
        return _parsed(option, given, parse)
    if not sys.stdin.isatty():
        return _parsed(option, default, parse)
    while True:
        try:
            return parse(str(typer.prompt(question, default=default, err=True)))
        except (ValueError, typer.BadParameter) as error:
            say(f"  {visible(str(error), 500)}")


def _parsed(option: str, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _target(text: str) -> Target:
    return target_of(text, "--target")


def _server(text: str) -> str:
    from reconciler.settings.addresses import address

    return address(text)


def _database(text: str) -> str:
    from reconciler.settings.addresses import database_url

    return database_url(text)


def _bound(text: str) -> Bound:
    return Bound.parse(text)


# --- writing -------------------------------------------------------------------------------------------------


def _refuse_existing(answers: Answers) -> None:
    from reconciler.settings.errors import SettingsError

    for path in answers.files():
        if path.exists() or path.is_symlink():
            raise SettingsError([f"{path} exists and is not overwritten: choose another --directory, or remove it"])


def _write(answers: Answers) -> None:
    from reconciler.policy.file import parse_policy
    from reconciler.settings.errors import SettingsError

    files = answers.files()
    parse_policy(files[answers.folder / "policy.yaml"][0], "policy.yaml")
    for path, (content, mode) in files.items():
        try:
            write_new(path, content, mode)
        except OSError as error:
            raise SettingsError([f"{path}: cannot be written: {error.strerror}"]) from None
        print(f"wrote {path}")


# --- trying --------------------------------------------------------------------------------------------------


def _try_out(answers: Answers) -> int:
    from reconciler import doctor
    from reconciler.audit import schema
    from reconciler.settings.load import load_settings

    config = answers.folder / "config.yaml"
    settings = load_settings(config)
    with progress_bar("checking"):
        schema.upgrade(settings.audit.url.get_secret_value())
        findings = doctor.check(settings, config)
    show_findings(findings)
    command = command_line("--config", str(config))
    if doctor.worst(findings) is doctor.Level.FAIL:
        say(f"next: mend what FAIL names, then `{command} check`")
        return NEGATIVE
    say(f"next: `{command} explain MODEL VERSION {answers.target}` says what would be decided about a version")
    say(f"then: `{command} once --dry-run` looks at the open requests; `{command} run` is the daemon")
    return DONE
