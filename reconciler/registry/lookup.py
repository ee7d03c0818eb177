"""Suggestions for the name of a model or version that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from reconciler.domain.text import quoted, visible_name
from reconciler.ports import NotFound, RegistryError
from reconciler.registry.paging import rows_of
from reconciler.registry.transport import Transport
from reconciler.registry.versions import API, name_of

# One page: a guess is not worth more than one call.
_NAMES = 1000
_GUESSES = 3


def not_there(transport: Transport, model: str, version: str, base: str) -> NotFound:
    """The error that says whether the model or the version is missing, and suggests similar names."""
    name = quoted(model)
    try:
        row = transport.get(f"{API}/registered-models/get", {"name": model})
    except NotFound:
        near = _near(model, _names(transport))
        hint = f"did you mean {', '.join(map(visible_name, near))}?" if near else "see the registry for its models"
        return NotFound(f"no model {name} at {base}: {hint}", near)
    except RegistryError:
        return NotFound(f"no version {visible_name(version)} of model {name} at {base}")
    return NotFound(f"model {name} has no version {visible_name(version)}: {_newest(row)}")


def _newest(answer: object) -> str:
    row = answer.get("registered_model") if isinstance(answer, dict) else None
    versions = rows_of(row, "latest_versions") if isinstance(row, dict) else []
    texts = [str(version.get("version")) for version in versions]
    numbers = [int(text) for text in texts if text.isdigit()]
    return f"its newest version is {max(numbers)}" if numbers else "it has no versions yet"


def _names(transport: Transport) -> list[str]:
    try:
        answer = transport.get(f"{API}/registered-models/search", {"max_results": _NAMES})
        return list(map(name_of, rows_of(answer, "registered_models")))
    except RegistryError:
        return []


def _near(model: str, names: Sequence[str]) -> list[str]:
    """Names that differ by a few letters, or begin with the given one."""
    alike = difflib.get_close_matches(model, names, n=_GUESSES, cutoff=0.6)
    longer = [name for name in names if name.lower().startswith(model.lower())]
    return list(dict.fromkeys([*alike, *longer]))[:_GUESSES]
