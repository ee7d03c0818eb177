"""What changed of a holder after it was approved: what its decision rests on, held against what is there now.

Compared are the things that an approval is about: where the version comes from, its description and tags, the model's,
the metrics of its run and logged model, and its file `MLmodel` where a rule asked for it. Tags of ours are left out,
and what nobody can tell: what had no room, what was kept out or redacted, what cannot be read now.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.evidence import (
    Evidence,
    LoggedModelFacts,
    ModelFacts,
    Needs,
    RunFacts,
    SignatureFacts,
    VersionFacts,
)
from reconciler.domain.evidence.salted import fields_of, shown_path
from reconciler.domain.scope import matches_any
from reconciler.domain.tag_format import DECISION_PREFIX, REQUEST_PREFIX
from reconciler.domain.text import visible

_VERSION, _RUN, _LOGGED = VersionFacts.key, RunFacts.key, LoggedModelFacts.key
_MODEL: Final = ModelFacts.key
_SIGNATURE: Final = SignatureFacts.key
_SINGLE: Final = frozenset({
    f"{_VERSION}.run_id", f"{_VERSION}.source", f"{_VERSION}.description", f"{_RUN}.status", f"{_RUN}.lifecycle_stage",
    f"{_LOGGED}.model_id", f"{_MODEL}.description", f"{_SIGNATURE}.sha256",
})  # fmt: skip
# What is compared by name, each with the member that it is in.
_NAMED: Final = re.compile(rf"({_VERSION}\.tags|{_RUN}\.metrics|{_LOGGED}\.metrics|{_MODEL}\.tags)\.(.*)", re.DOTALL)
# A longer text is told by its beginning, its length and its hash.
_LONGEST: Final = 200

# Values by the path of their field, as people may see them.
Values = Mapping[str, str]


class Change(NamedTuple):
    """A field that is another than it was judged. None: there was, or is, none."""

    field: str
    judged: str | None
    found: str | None


def needs_again(judged: Mapping[str, Any]) -> Needs:
    """What has to be read again of a holder whose decision rests on this evidence (as JSON data)."""

    def asked(key: str) -> bool:
        answer = judged.get(key)
        return isinstance(answer, dict) and answer.get("code") != AbsenceCode.NOT_ASKED

    model = judged.get(_MODEL, {})
    tags = model.get("tags", {}) if isinstance(model, dict) else {}
    return Needs(
        run=asked(_RUN),
        logged_model=asked(_LOGGED),
        registered_model=asked(_MODEL),
        model_tags=frozenset(tags) if isinstance(tags, dict) else frozenset(),
        signature=asked(_SIGNATURE),
    )


def changes_since(
    judged: Mapping[str, Any], seen: Mapping[str, str | None], now: Evidence, exclude: Sequence[str] = ()
) -> Iterator[Change]:
    """The fields that are another than when they were last looked at, be it as they were judged, in order.

    Args:
        judged: the stored evidence as JSON data, with `{"redacted": true}` where something was removed.
        seen: by field, what was found since, where it was another than before.
        exclude: globs over names that the configuration keeps out of evidence by now.
    """
    there = now.to_data()
    before, after = dict(_values(judged)), dict(_values(there))
    out = [*judged.get("excluded", ()), *there.get("excluded", ())]
    globs = [*exclude, *judged.get("excluded_names", ()), *there.get("excluded_names", ())]
    for path in sorted({*before, *after, *seen}):
        field = shown_path(path)
        if after.get(path) == seen.get(field, before.get(path)) or path in out or _kept_out(path, globs):
            continue
        # What is not plain is on record by another name.
        if (field == path or path in before or path in after) and _is_told(path, judged) and _is_told(path, there):
            yield Change(field, before.get(path), after.get(path))


# --- fields --------------------------------------------------------------------------------------------------


def _values(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for path, value in fields_of(document):
        if path in _SINGLE or _is_compared_by_name(path):
            yield path, _text(value)
        elif path.endswith(".answer") and path.count(".") == 1:
            yield path, str(value)


def _is_compared_by_name(path: str) -> bool:
    named = _NAMED.fullmatch(path)
    return named is not None and not named[2].startswith((DECISION_PREFIX, REQUEST_PREFIX))


def _is_told(path: str, document: Mapping[str, Any]) -> bool:
    """Whether this evidence says what the field is, or that there is none."""
    key, _, rest = path.partition(".")
    answer = document.get(key)
    if not isinstance(answer, dict) or answer.get("answer") == "unreadable":
        return False
    if answer.get("code") == AbsenceCode.NOT_ASKED:
        return False
    if rest == "answer":
        return True
    if answer.get("answer") != "found":
        # That it is gone as a whole is told once.
        return False
    named = _NAMED.fullmatch(path)
    if named is None and key == _SIGNATURE and answer.get(rest) == "":
        # No file was read.
        return False
    if named is None:
        return rest in answer and not _is_redacted(answer[rest])
    member = answer.get(rest.partition(".")[0], {})
    if not isinstance(member, dict) or _is_redacted(member):
        return False
    return not _is_redacted(member[named[2]]) if named[2] in member else _is_whole(key, rest.partition(".")[0], answer)


def _is_whole(key: str, member: str, answer: Mapping[str, Any]) -> bool:
    """Whether a name that is not there was not there: of a model only tags that are asked for are read."""
    left_out = answer.get("left_out")
    return key == _MODEL or (isinstance(left_out, dict) and member not in left_out)


def _is_redacted(value: Any) -> bool:
    return isinstance(value, dict) and value == {"redacted": True}


def _kept_out(path: str, globs: Sequence[str]) -> bool:
    named = _NAMED.fullmatch(path)
    return named is not None and named[1].endswith(".tags") and matches_any(named[2], globs)


# --- values --------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(_text(reading) for reading in _latest(value))
    if isinstance(value, dict) and "head" in value:
        return _shortened(value["head"], value.get("length"), value.get("sha256"))
    if isinstance(value, dict) and "text" in value:
        dataset = value.get("dataset_name")
        return visible(f"{value['text']} on {dataset}" if dataset else str(value["text"]), _LONGEST)
    return _shortened(str(value), None, None)


def _latest(readings: Sequence[Any]) -> list[Any]:
    """Of a logged model's metric the last reading on each dataset."""
    by_dataset: dict[tuple[str, str], Any] = {}
    for reading in sorted(readings, key=lambda one: (one["timestamp"], one["step"])):
        by_dataset[reading["dataset_name"], reading["dataset_digest"]] = reading
    return [by_dataset[dataset] for dataset in sorted(by_dataset)]


def _shortened(text: str, length: int | None, digest: str | None) -> str:
    shown = visible(text, len(text) * 10)
    if len(shown) <= _LONGEST:
        return shown
    whole = digest or hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{shown[: _LONGEST - 1]}… ({length or len(text)} characters, sha256 {whole})"
