"""Read models and their versions from an MLflow registry over REST."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from reconciler.domain.evidence.evidence import VersionFacts
from reconciler.domain.place import ModelVersion
from reconciler.domain.prompts import MARK, SOURCES_OF_PROMPTS, is_marked
from reconciler.domain.text import Text
from reconciler.ports import NotFound, RegistryError, Unavailable
from reconciler.registry.errors import NoEndpoint, PlainlyRefused, TooLarge
from reconciler.registry.paging import Row, rows_in_pages, rows_of
from reconciler.registry.transport import Transport

API = "/api/2.0/mlflow"
T = TypeVar("T")

# Tags are unbounded in number, so a page of versions can be of any size. Pages shrink when one is too large.
_PAGE_SIZES = (1000, 50, 1)

# A name outside this is not put into a filter: MLflow's filter grammar has no escape for quotes.
_QUOTABLE = re.compile(r"[\w .@+-]+", re.ASCII)


def quotable(name: str) -> bool:
    return bool(_QUOTABLE.fullmatch(name))


def quoted(names: Iterable[str]) -> str:
    """Names or ids as a filter's list takes them."""
    return ", ".join(f"'{name}'" for name in names)


# Prompts and their versions are in no search that does not ask for them, and then nothing else is.
PROMPTS_ONLY = f"tags.`{MARK}` = 'true'"


def search_tagged(transport: Transport, key: str, *, prompts: bool) -> list[Row]:
    """Every version of a model, or of a prompt, that has the tag."""
    return search_versions(transport, f"tags.`{key}` LIKE '%'" + (f" AND {PROMPTS_ONLY}" if prompts else ""))


def search_versions(transport: Transport, filter: str) -> list[Row]:
    """Return every version that matches, each once, by name and version number.

    Raises:
        Unavailable: the list could not be read to its end.
    """
    for size in _PAGE_SIZES[:-1]:
        try:
            return _distinct(_pages(transport, filter, size))
        except TooLarge:
            continue
    return _distinct(_pages(transport, filter, _PAGE_SIZES[-1]))


def _pages(transport: Transport, filter: str, size: int) -> Iterator[Row]:
    # Pages are offsets: in MLflow's default order (last updated first) rows could move while they are read.
    query = {"filter": filter, "max_results": size, "order_by": ["name ASC", "version_number ASC"]}
    return rows_in_pages(
        lambda more: transport.get(f"{API}/model-versions/search", {**query, **more}), "model_versions"
    )


def _distinct(rows: Iterable[Row]) -> list[Row]:
    return list({version_in(row): row for row in rows}.values())


def name_of(row: Row) -> str:
    return str(row.get("name", ""))


def version_in(row: Row) -> ModelVersion:
    """Which version a row is about."""
    return name_of(row), str(row.get("version", ""))


def model_in(row: Row) -> ModelVersion:
    """Which model, with all its versions, as `domain.holding.looks.Round.shown` has it."""
    return name_of(row), ""


def mlflow_version(transport: Transport) -> str:
    """The version that `mlflow server` reports at /version; "" for any other server."""
    try:
        text = transport.text("/version")
    except RegistryError:
        return ""
    return text if re.fullmatch(r"\d+(\.\w+)+", text) else ""


def first_version(transport: Transport) -> list[Row]:
    """Any one version; empty if the registry has none."""
    return rows_of(transport.get(f"{API}/model-versions/search", {"max_results": 1}), "model_versions")


def has_workspaces(transport: Transport) -> bool:
    """Whether the server knows workspaces, used or not; other servers ignore the header that names one."""
    try:
        info = transport.get("/api/3.0/mlflow/server-info")
    except (NoEndpoint, PlainlyRefused, NotFound):
        return False
    return isinstance(info, dict) and "workspaces_enabled" in info


def get_version(transport: Transport, model: str, version: str) -> Row:
    """Raises NotFound if there is no such model or version."""
    answer = transport.get(f"{API}/model-versions/get", {"name": model, "version": version})
    row: Row = member_of(answer, "model_version", dict, "the model version")
    return row


def get_model(transport: Transport, name: str) -> Row:
    """Raises NotFound if there is no such model."""
    answer = transport.get(f"{API}/registered-models/get", {"name": name})
    row: Row = member_of(answer, "registered_model", dict, "the registered model")
    return row


def download_uri(transport: Transport, model: str, version: str) -> str:
    """Where the files of a version lie. Raises NotFound if there is no such model or version."""
    answer = transport.get(f"{API}/model-versions/get-download-uri", {"name": model, "version": version})
    return member_of(answer, "artifact_uri", str, "the place of the version's files")


def member_of(answer: Any, field: str, kind: type[T], what: str) -> T:
    """A member that the answer must have. Raises Unavailable, which says `what`, if it has none of this kind."""
    member = answer.get(field) if isinstance(answer, dict) else None
    if not isinstance(member, kind):
        raise Unavailable(f"the registry's answer lacks {what}")
    return member


def tags_of(row: Row) -> dict[str, str]:
    """Tags by key; a tag without a value has the value ""."""
    return {str(tag.get("key", "")): str(tag.get("value", "")) for tag in row.get("tags") or [] if tag}


def shows_prompt(row: Row) -> bool:
    """Whether a model is a prompt, or a version one of a prompt, as far as its tags say; MLflow itself goes by them."""
    return is_marked(tags_of(row))


def has_files(version: Row) -> bool:
    """Whether it is of a model, whatever its tags say: a version of a prompt has none. Nobody can change a source."""
    return str(version.get("source") or "") not in SOURCES_OF_PROMPTS


def integer(value: Any) -> int:
    """The number; 0 if it is none. Proto JSON writes 64-bit numbers as strings, MLflow's own JSON as numbers."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0


def version_facts(row: Row) -> VersionFacts:
    return VersionFacts(
        run_id=str(row.get("run_id") or ""),
        source=str(row.get("source") or ""),
        status=str(row.get("status") or ""),
        current_stage=str(row.get("current_stage") or "None"),
        description=Text.of(str(row.get("description") or "")),
        tags={key: Text.of(value) for key, value in tags_of(row).items()},
        creation_timestamp=integer(row.get("creation_timestamp")) or None,
        left_out={},
    )
