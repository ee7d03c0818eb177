"""Manual pages made from the commands: one for each group of them, and one for those without a group.

Roff by hand, in a few lines: click-man and argparse-manpage read the trees of click and argparse; typer has its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer.main

from reconciler import __version__
from reconciler.cli.app import app

PRODUCT = "mlflow-reconciler"
# What stands on the first page only.
ABOUT = (
    "A data scientist asks for a model version to go to Production or to @champion. The daemon polls the registry, "
    "gathers the evidence, judges it by a policy file, records the decision, and only then approves or rejects. "
    "An auditor can ask later who asked, what was measured, which rule decided, and what reached a target "
    "without a decision."
)
EXIT_CODES = {
    "0": "Done, or `explain` would approve.",
    "1": "A negative answer.",
    "2": "The command line is wrong.",
    "3": "`explain` abstains, a request is still open, or what was asked cannot be judged.",
    "4": "There is no such model, version, request or decision.",
    "69": "The registry or the database cannot be reached or written.",
    "70": "A defect of mlflow-reconciler.",
    "78": "The configuration, the policy, a credential or the schema is wrong.",
    "130": "Interrupted.",
}
ENVIRONMENT = {
    "RECONCILER_CONFIG": "The configuration file, where --config names none.",
    "RECONCILER_REGISTRY__URI": "The registry; else MLFLOW_REGISTRY_URI, else MLFLOW_TRACKING_URI.",
    "RECONCILER_AUDIT__URL": "The audit database: sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE.",
    "RECONCILER_POLICY": "The policy file.",
    "RECONCILER_MODE": "observe, approve-only or enforce.",
    "RECONCILER_SECTION__KEY": "Any other key of the configuration file.",
    "NO_COLOR": "Where it is set, nothing is coloured.",
}
FILES = {
    "/etc/mlflow-reconciler/config.yaml": "The configuration, where neither --config nor RECONCILER_CONFIG names one.",
    "/var/lib/mlflow-reconciler/audit.db": "The audit database, where no other is configured.",
}


def man_pages() -> dict[str, str]:
    """The pages by the names of their files, such as `mlflow-reconciler-audit.1`."""
    root: Any = typer.main.get_command(app)
    context = root.context_class(root, info_name=PRODUCT, **root.context_settings)
    groups = {name: one for name, one in root.commands.items() if hasattr(one, "commands")}
    single = {name: one for name, one in root.commands.items() if name not in groups}
    pages = {PRODUCT: _first_page(root, single, groups, context)}
    for name, group in groups.items():
        within = group.context_class(group, info_name=name, parent=context)
        pages[f"{PRODUCT}-{name}"] = _page_of(f"{PRODUCT}-{name}", group, group.commands, within, [PRODUCT])
    return {f"{name}.1": text for name, text in pages.items()}


def _first_page(root: Any, commands: dict[str, Any], groups: dict[str, Any], context: Any) -> str:
    others = [f"{PRODUCT}-{name}" for name in groups]
    of_groups = {f"{PRODUCT} {name}": f"{group.help} See {PRODUCT}-{name}(1)." for name, group in groups.items()}
    between = [
        ".SH OPTIONS", *_options(root, context),
        ".PP", "The first three may stand before or after the command.",
        ".SH GROUPS OF COMMANDS", *_definitions(of_groups),
    ]  # fmt: skip
    return _page_of(PRODUCT, root, commands, context, others, between)


def _page_of(
    page: str, group: Any, commands: dict[str, Any], context: Any, see: list[str], between: list[str] | None = None
) -> str:
    is_first = between is not None
    usage = f"{context.command_path} [OPTIONS] COMMAND [ARGUMENTS]"
    lines = [
        f'.TH {page.upper()} 1 "" "{PRODUCT} {__version__}" "{PRODUCT}"',
        ".nh", ".ad l",
        ".SH NAME", f"{_roff(page)} \\- {_roff(group.help.rstrip('.'))}",
        ".SH SYNOPSIS", f".B {_roff(usage)}",
        ".SH DESCRIPTION", _text(ABOUT if is_first else group.help),
        ".PP", _text("What a machine reads is printed to stdout, what is said to people to stderr."),
        *(between or []),
        ".SH COMMANDS", *(line for name, one in commands.items() for line in _command(name, one, context)),
        ".SH EXIT STATUS", *_definitions(EXIT_CODES),
        ".SH ENVIRONMENT", *_definitions(ENVIRONMENT),
        ".SH FILES", *_definitions(FILES),
        ".SH SEE ALSO", *[f".BR {_roff(name)} (1){',' if name != see[-1] else ''}" for name in see],
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _command(name: str, command: Any, parent: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=name, parent=parent)
    yield f".SS {_roff(context.command_path)}"
    yield f".B {_roff(' '.join([context.command_path, *command.collect_usage_pieces(context)]))}"
    for paragraph in re.split(r"\n\s*\n", command.help or ""):
        yield ".PP"
        yield _text(" ".join(paragraph.split()))
    yield from _options(command, context)
    if command.epilog:
        yield ".PP"
        yield _text(command.epilog)


def _options(command: Any, context: Any) -> Iterator[str]:
    records = filter(None, (one.get_help_record(context) for one in command.get_params(context)))
    return _definitions({names: " ".join(told.split()) for names, told in records})


def _definitions(told: dict[str, str]) -> Iterator[str]:
    for term, text in told.items():
        yield ".TP"
        yield f".B {_roff(term)}"
        yield _text(text)


def _text(text: str) -> str:
    """A line of text that roff takes for no request. Words in backquotes are commands: they are bold."""
    return re.sub(r"`([^`]*)`", r"\\fB\1\\fR", _roff(text))


def _roff(text: str) -> str:
    """A hyphen is written so that it can be copied into a shell; a first dot or quote is no request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    escaped = escaped.replace("'", "\\(aq").replace('"', "\\(dq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
