"""init: a configuration and a policy for somebody with a laptop and a server, tried at once."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from reconciler.cli import completing
from reconciler.cli.answers import Answers, Bound, Files
from reconciler.cli.daemon import show_findings
from reconciler.cli.exits import DONE, NEGATIVE, is_out_of, say
from reconciler.cli.options import place_option, target_of
from reconciler.cli.shown.terminal import progress_bar
from reconciler.cli.written.files import write_new
from reconciler.domain.errors import ExitCode, ReconcilerError
from reconciler.domain.target import Target
from reconciler.domain.text import command_line, visible, visible_name

# Each overrides those behind it, and the configuration has no say against the first.
_SERVERS = ("RECONCILER_REGISTRY__URI", "MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI")
_DEFAULT_SERVER = "http://127.0.0.1:5000"
_DEFAULT_TARGET = "Production"
_DEFAULT_BOUND = "validation_accuracy>=0.90"
T = TypeVar("T")


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: mlflow-reconciler init --server http://127.0.0.1:5000 --target @champion")(init)


def init(
    server: Annotated[str | None, typer.Option(metavar="<url>", help="MLflow server, or databricks://PROFILE.")] = None,
    database: Annotated[
        str | None,
        typer.Option(metavar="<url>", help="Database for the decisions (default: audit.db in the folder)."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="<target>",
            help=f"Stage or @alias to govern (default: {_DEFAULT_TARGET}).",
            autocompletion=completing.targets,
        ),
    ] = None,
    bound: Annotated[
        str | None,
        typer.Option(
            metavar="<bound>", help=f"What a version must have measured to pass (default: '{_DEFAULT_BOUND}')."
        ),
    ] = None,
    directory: Annotated[Path | None, place_option(help="Folder for the files (default: the current one).")] = None,
) -> int:
    """Write a configuration and a policy, create the audit database, check everything, and say what to run next.

    On a terminal it asks for what no option says. Nothing that exists is overwritten. For a service: install-service.
    """
    from reconciler.policy.file import parse_policy

    answers = _answers(server, database, target, bound, directory)
    files = answers.files()
    parse_policy(files[answers.folder / "policy.yaml"][0], "policy.yaml")
    _refuse_existing(files)
    if (code := _create_database(answers)) is not DONE:
        return code
    _write(files)
    return _try_out(answers)


# --- asking --------------------------------------------------------------------------------------------------


def _answers(server: str | None, database: str | None, target: str | None, bound: str | None,
             directory: Path | None) -> Answers:  # fmt: skip
    named = None if directory is None else str(directory)
    folder = _answer("--directory", named, "Folder for the files", ".", _folder)
    known = next(filter(None, map(os.environ.get, _SERVERS)), _DEFAULT_SERVER)
    own = os.environ.get("RECONCILER_AUDIT__URL") or f"sqlite:///{folder.absolute()}/audit.db"
    return Answers(
        folder,
        _answer("--server", server, "MLflow server", known, _server),
        _answer("--database", database, "Audit database", own, _database),
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


def _folder(text: str) -> Path:
    folder = Path(text)
    try:
        there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    except OSError as error:
        raise ValueError(f"cannot be used: {error.strerror}: name another directory") from None
    if not there.is_dir():
        raise ValueError(f"{visible_name(str(there))} is a file: name a directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{visible_name(str(there))} cannot be written by this user: name another directory")
    return folder


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


def _refuse_existing(files: Files) -> None:
    from reconciler.settings.errors import SettingsError

    for path, (content, _) in files.items():
        if not _is_there(path, content) and (path.exists() or path.is_symlink()):
            remedy = "change it yourself, or remove it, or choose another --directory"
            raise SettingsError([f"{path} exists with other content, and is not overwritten: {remedy}"])


def _is_there(path: Path, content: str) -> bool:
    """Whether an earlier call has written it already, with the same answers."""
    try:
        return not path.is_symlink() and path.read_text(encoding="utf-8") == content
    except (OSError, ValueError):
        return False


def _write(files: Files) -> None:
    for path, (content, mode) in files.items():
        if _is_there(path, content):
            print(f"kept {path}")
            continue
        with _writing(path):
            write_new(path, content, mode)
        print(f"wrote {path}")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    from reconciler.settings.errors import SettingsError

    try:
        yield
    except OSError as error:
        if is_out_of(error):
            raise
        raise SettingsError([f"{path}: cannot be written: {error.strerror}"]) from None


# --- the database --------------------------------------------------------------------------------------------


def _create_database(answers: Answers) -> ExitCode:
    """Before any file is written: an answer that is wrong leaves nothing behind, and can be given again."""
    from reconciler.audit import schema

    new = [folder for folder in (answers.folder, *answers.folder.parents) if not folder.exists()]
    with _writing(answers.folder):
        answers.folder.mkdir(parents=True, exist_ok=True)
    try:
        with progress_bar("creating the audit database"):
            schema.upgrade(answers.database)
    except ReconcilerError as error:
        with contextlib.suppress(OSError):
            for folder in new:
                folder.rmdir()
        say(str(error))
        say(f"nothing was written; fix this, or choose another --database, then run: {answers.command}")
        return error.exit_code
    return DONE


# --- trying --------------------------------------------------------------------------------------------------


def _try_out(answers: Answers) -> int:
    from reconciler import doctor
    from reconciler.settings.load import load_settings

    config = answers.folder / "config.yaml"
    settings = load_settings(config)
    with progress_bar("checking"):
        findings = doctor.check(settings, config)
    show_findings(findings)
    _say_overridden({"RECONCILER_REGISTRY__URI": answers.server, "RECONCILER_AUDIT__URL": answers.database})
    command = command_line("--config", str(config))
    if doctor.worst(findings) is doctor.Level.FAIL:
        say(f"next: fix what FAIL names, then `{command} check`")
        return NEGATIVE
    say(f"next: `{command} explain MODEL VERSION {answers.target}` says what would be decided about a version")
    say(f"then: `{command} once --dry-run` looks at the open requests; `{command} run` is the daemon")
    return DONE


def _say_overridden(answered: Mapping[str, str]) -> None:
    for variable, answer in answered.items():
        if os.environ.get(variable, answer) != answer:
            say(f"warning: {variable} is set to another value, which overrides the configuration: unset it")
