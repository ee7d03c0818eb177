"""What a version was made from: followed through copies of copies, and checked against where its files lie.

A copy names another version, and whoever may rename or delete models may put another version under that name. So what
is found there counts only if its files are the ones that the registry hands out for the copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.evidence import Absent, OriginFacts, Unreadable, VersionFacts
from reconciler.domain.request import Request
from reconciler.domain.text import visible, visible_name
from reconciler.ports import NotFound, RegistryError
from reconciler.registry.paging import Row
from reconciler.registry.transport import Transport
from reconciler.registry.versions import download_uri, get_version, version_facts

_COPIES = 5
_MODEL_ID = re.compile(r"m-[A-Za-z0-9_-]{1,62}")
# Databricks lays copies of the files there, whatever the version was made from.
_FILES_OF_THE_REGISTRY = "dbfs:/databricks/mlflow-registry/"

_FROM_FILES = Absent(AbsenceCode.NO_LOGGED_MODEL, "the version was not made from a logged model")

T = TypeVar("T")


def answered(read: Callable[[], T], absent: Absent) -> T | Absent | Unreadable:
    """What `read` returns; `absent` if there is no such thing."""
    try:
        return read()
    except NotFound:
        return absent
    except RegistryError as error:
        return Unreadable(str(error))


@dataclass(frozen=True, slots=True)
class Origin:
    """`model`: the id of the logged model that the version was made from. `copy`: what a copy was copied from."""

    model: str | Absent | Unreadable
    copy: OriginFacts | None = None

    def replaced_by(self, found: Row) -> Absent | None:
        """Why this logged model is not the one whose files the version has; None if it is."""
        place = str(found.get("artifact_uri") or "").rstrip("/")
        if self.copy is None or self.copy.location.rstrip("/") == place:
            return None
        now = f"{visible(self.copy.copy_of, 200)} now leads to logged model {self.model}"
        return Absent(AbsenceCode.ORIGIN_REPLACED, f"{now}, whose files are not the version's")


class Origins:
    """Follows versions to what they were made from; a version that is no copy costs no call."""

    def __init__(self, registry: Transport) -> None:
        self._registry = registry

    def of(self, request: Request, version: VersionFacts | Absent | Unreadable) -> Origin:
        if not isinstance(version, VersionFacts):
            return Origin(version)
        model = self.logged_model_id(version)
        if _copied(version.source) is None or isinstance(model, Unreadable) or _is_broken(model):
            return Origin(model)
        gone = Absent(AbsenceCode.VERSION_MISSING, "the registry has no such model version")
        location = answered(lambda: download_uri(self._registry, request.model, request.version), gone)
        if not isinstance(location, str):
            return Origin(location)
        if location.startswith(_FILES_OF_THE_REGISTRY):
            return Origin(Unreadable("the registry keeps the files of a copy apart, and does not show whose they are"))
        return Origin(model, OriginFacts(version.source, location))

    def logged_model_id(self, version: VersionFacts) -> str | Absent | Unreadable:
        """The id of the logged model that the version was made from, through copies of copies."""
        source = version.source
        for _ in range(_COPIES + 1):
            made_from = _made_from(source)
            if not isinstance(made_from, tuple):
                return made_from
            origin = self._read(*made_from)
            if not isinstance(origin, VersionFacts):
                return origin
            source = origin.source
        return Absent(AbsenceCode.COPIES_TOO_DEEP, f"the version is a copy of a copy, more than {_COPIES} deep")

    def _read(self, name: str, number: str) -> VersionFacts | Absent | Unreadable:
        what = f"{visible_name(name)} version {number}"
        gone = Absent(AbsenceCode.ORIGIN_GONE, f"the version is a copy of {what}, which does not exist")
        return answered(lambda: version_facts(get_version(self._registry, name, number)), gone)


def _is_broken(model: str | Absent) -> bool:
    return isinstance(model, Absent) and model is not _FROM_FILES


def _copied(source: str) -> tuple[str, str] | None:
    made_from = _made_from(source)
    return made_from if isinstance(made_from, tuple) else None


def _made_from(source: str) -> str | tuple[str, str] | Absent:
    """A logged model's id, a version's name and number, or no `models:` address; read as MLflow reads it."""
    try:
        address = urlsplit(source, allow_fragments=False)
    except ValueError:
        return _FROM_FILES
    if address.scheme != "models":
        return _FROM_FILES
    first, _, second = address.path.lstrip("/").partition("/")
    if not address.netloc and not second and _MODEL_ID.fullmatch(first):
        return first
    if not address.netloc and first and second.isascii() and second.isdigit():
        return first, second
    detail = f"the source {visible(source, 200)} names neither a logged model nor a version"
    return Absent(AbsenceCode.ORIGIN_UNCLEAR, detail)
