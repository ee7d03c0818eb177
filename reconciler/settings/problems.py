"""Problems of a configuration, in one line each: the key, the value (never a secret's), what is allowed."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reconciler.domain.mistakes import plain_words, typed_and_wrong
from reconciler.domain.text import visible
from reconciler.settings.model import CONFIG_VARIABLE, known_keys
from reconciler.settings.secret_files import PREFIX, SECRETS, SIGNING_KEY, variable


def unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    known = {CONFIG_VARIABLE, *(variable(key) for key in known_keys())}
    known |= {f"{variable(secret)}_FILE" for secret in (*SECRETS, SIGNING_KEY)}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            # Every name shares its beginning, which makes none alike.
            near = _hint(name.removeprefix(PREFIX), {other.removeprefix(PREFIX) for other in known}, PREFIX)
            yield f"{visible(name, 100)}: unknown setting{near}"


def unknown_keys(content: Mapping[str, Any], path: Path | None) -> list[str]:
    keys = known_keys()
    problems = []
    for section, value in content.items():
        inner = value if isinstance(value, dict) and not any(key == (section,) for key in keys) else {None: None}
        for name in inner:
            key = (str(section),) if name is None else (str(section), str(name))
            if key not in keys and not any(name is None and known[0] == section for known in keys):
                names = {".".join(known) for known in keys}
                problems.append(f"{path}: {visible('.'.join(key), 100)}: unknown setting" + _hint(".".join(key), names))
    return problems


def _hint(word: str, known: set[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.75)
    return f": did you mean {prefix}{near[0]}?" if near else ": see docs/configuration.md for all settings"


def problem(error: Any, path: Path | None, files: Mapping[tuple[str, str], Path]) -> str:
    """`path`: the configuration file; `files`: those that secrets are read from."""
    key = tuple(str(part) for part in error["loc"])
    if not key:
        return str(error["ctx"]["error"])
    source = next((file for secret, file in files.items() if secret == key), path)
    named = variable(key) if variable(key) in os.environ else f"{source}: {'.'.join(key)}" if source else ".".join(key)
    # The value of a secret is never repeated; our own messages about addresses do not repeat it either.
    return f"{named}: {plain_words(error) if key in SECRETS else typed_and_wrong(error)}"
