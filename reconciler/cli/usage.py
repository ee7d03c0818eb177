"""A mistake in the command line, in one sentence: what is wrong, what is allowed, and which command shows help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
import typer.main
from typer.exceptions import TyperException

from reconciler.cli.common import COMMON_OPTIONS
from reconciler.domain.text import visible

_MOST = 1000


def usage_sentence(error: TyperException, app: typer.Typer, typed: Sequence[str]) -> str:
    """`typed`: the command line, for the errors that do not know their command."""
    context = getattr(error, "ctx", None)
    path = _command_in(typed, app) if context is None else context.command_path
    return f"{visible(_wrong(error) + _allowed(error, context), _MOST)} (see `{path} --help`)"


def _command_in(typed: Sequence[str], app: typer.Typer) -> str:
    command: Any = typer.main.get_command(app)
    path = [command.name]
    for word in typed:
        if word in getattr(command, "commands", {}):
            command = command.commands[word]
            path.append(word)
    return " ".join(path)


def _wrong(error: TyperException) -> str:
    if _is(error, "MissingParameter"):
        return f"{_place(error)} is missing"
    if isinstance(error, typer.BadParameter):
        return f"{_place(error)}: {_reason(error).rstrip('.')}"
    if _is(error, "NoSuchOption"):
        return f"no such option '{getattr(error, 'option_name', '')}'"
    message = error.message.partition(". Did you mean")[0].rstrip(".")
    return message[:1].lower() + message[1:]


def _is(error: TyperException, kind: str) -> bool:
    # Typer shows only one of its usage errors by an official name.
    return type(error).__name__ == kind


def _place(error: Any) -> str:
    """The option or argument, without the quotes that typer puts around it."""
    return str(error.param_hint or error.param.get_error_hint()).replace("'", "")


def _reason(error: TyperException) -> str:
    """What is wrong with the value: in our words where pydantic refused it."""
    from pydantic import ValidationError

    from reconciler.domain.mistakes import typed_and_wrong

    if isinstance(error.__cause__, ValidationError):
        return typed_and_wrong(error.__cause__.errors()[0])
    return error.message


def _allowed(error: TyperException, context: Any) -> str:
    """What is allowed, beginning with a colon; "" where the reason says it already."""
    if _is(error, "NoSuchOption"):
        return f": use {_either(_options(context))}"
    if context is None or _is(error, "BadParameter"):
        return ""
    if commands := getattr(context.command, "commands", None):
        return f": use {_either(list(commands))}"
    return f": use {' '.join(context.get_usage().removeprefix('Usage: ').split())}"


def _options(context: Any) -> list[str]:
    names = [name for parameter in context.command.get_params(context) for name in parameter.opts]
    return list(dict.fromkeys([*(name for name in names if name.startswith("--")), *COMMON_OPTIONS]))


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
