"""Evidence of a stored decision, of which fields were redacted, as the engine can judge it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from reconciler.domain.evidence.evidence import Evidence
from reconciler.domain.evidence.salted import MAPS, json_text
from reconciler.domain.evidence.withheld import REDACTED
from reconciler.domain.text import Text

_GONE = {"redacted": True}


def evidence_left(document: Mapping[str, Any], redacted: Collection[str]) -> Evidence:
    """The evidence of which these fields are gone; `document` is the JSON data that is left.

    Raises:
        ValueError: as `Evidence.from_json`.
    """
    whole = {key: dict(value) if isinstance(value, dict) else value for key, value in document.items()}
    for path in redacted:
        of, name, *entry = path.split(".", 2)
        # What is put in the place of a field is withheld again: nobody sees it.
        whole.setdefault(of, {}).setdefault(name, {} if entry else _in_place_of(name))
    return Evidence.from_json(json_text(whole)).withholding(redacted, REDACTED)


def evidence_shown(document: Mapping[str, Any]) -> Evidence:
    """The evidence as `audit show` prints it, with `{"redacted": true}` in the place of what is gone.

    Raises:
        ValueError: as `Evidence.from_json`.
    """
    left: dict[str, Any] = {}
    gone: list[str] = []
    for key, answer in document.items():
        if not isinstance(answer, dict):
            left[key] = answer
            continue
        left[key] = {}
        for name, member in answer.items():
            if name in MAPS and isinstance(member, dict) and member != _GONE:
                left[key][name] = {entry: value for entry, value in member.items() if value != _GONE}
                gone += [f"{key}.{name}.{entry}" for entry, value in member.items() if value == _GONE]
            elif member == _GONE:
                gone.append(f"{key}.{name}")
            else:
                left[key][name] = member
    return evidence_left(left, gone)


def _in_place_of(name: str) -> Any:
    if name in MAPS or name == "left_out":
        return {}
    if name in {"datasets", "inputs", "outputs"}:
        return []
    # Of an answer without a fact there is only why, which a check shows and does not judge.
    return REDACTED if name == "detail" else Text.of("").to_data()
