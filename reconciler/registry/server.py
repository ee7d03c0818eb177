"""What every registry is asked in the same way, whatever protocol its requests follow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from reconciler.domain.evidence.evidence import Evidence, Needs
from reconciler.domain.place import ModelTarget
from reconciler.domain.request import Request
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.ports import Found, HoldersNow, Listed, Meter, NotFound
from reconciler.registry.evidence import EvidenceReader
from reconciler.registry.holders import read_holders
from reconciler.registry.transport import Transport, begin_all
from reconciler.registry.versions import mlflow_version


class ServerRegistry(ABC):
    """A registry, and the server that has the runs. `uri` carries no credentials; `workspace` is "" if it has none."""

    def __init__(self, uri: str, workspace: str, transport: Transport, tracking: Transport) -> None:
        self.uri = uri
        self.workspace = workspace
        self._transport = transport
        self._tracking = tracking
        self._reader = EvidenceReader(transport, tracking)

    def begin(self, deadline: timedelta | None) -> Meter:
        return begin_all({self._transport, self._tracking}, deadline)

    def evidence(self, wanted: Sequence[tuple[Listed, Needs]], now: datetime) -> dict[str, Evidence]:
        return self._reader.read(wanted, now)

    def held_now(self, asked: Collection[ModelTarget], *, all_of: bool = False) -> HoldersNow:
        return read_holders(self._transport, asked, all_of=all_of)

    def version(self) -> str:
        """MLflow's version; "" if the server does not report it."""
        return mlflow_version(self._transport)

    @abstractmethod
    def find(self, model: str, version: str, target: Target, now: datetime) -> Found:
        """Raises NotFound if there is no such version."""

    def _open_on(self, model: str, version: str, target: Target, now: datetime) -> Request:
        """Raises NotFound if no request is open."""
        found = self.find(model, version, target, now)
        if not found.open:
            raise NotFound(f"no request for {target} is open on version {visible_name(version)}")
        return found.listed.request
