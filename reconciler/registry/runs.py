"""Read runs, with the logged models that each names as its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.evidence import Absent
from reconciler.domain.text import visible_name
from reconciler.registry.facts import info_of, shows_outputs
from reconciler.registry.many import Many, RowAnswer
from reconciler.registry.origins import answered
from reconciler.registry.paging import Row, rows_of
from reconciler.registry.transport import Transport
from reconciler.registry.versions import API, member_of, quoted


class _Outputs(Enum):
    """Where a server shows which logged models a run made, as far as is known."""

    UNKNOWN = auto()
    # Early releases of MLflow 3 leave them out of searches.
    READ_ONE_BY_ONE = auto()
    NOWHERE = auto()


class Runs:
    """Reads runs from the tracking server; how it shows outputs is found out once and remembered."""

    def __init__(self, tracking: Transport, many: Many) -> None:
        self._tracking = tracking
        self._many = many
        self._outputs = _Outputs.UNKNOWN

    def all(self, ids: Sequence[str], *, has_logged_models: bool) -> dict[str, RowAnswer]:
        """Each run by its id.

        Args:
            has_logged_models: some version was made from one, so the server is none of those that know no outputs.
        """
        if has_logged_models and self._outputs is _Outputs.NOWHERE:
            self._outputs = _Outputs.UNKNOWN
        found = {} if self._outputs is _Outputs.READ_ONE_BY_ONE else self._many.found(ids, self.search)
        for id in [id for id, row in found.items() if isinstance(row, Mapping) and not shows_outputs(row)]:
            if self._outputs is _Outputs.NOWHERE:
                break
            found[id] = row = self._get(id)
            if isinstance(row, Mapping):
                self._outputs = _Outputs.READ_ONE_BY_ONE if shows_outputs(row) else _Outputs.NOWHERE
        # A search shows only what the account may see, so it cannot prove that a run does not exist. A read can.
        return found | self._many.each([id for id in ids if id not in found], self.get, _absent)

    def search(self, ids: Sequence[str], experiments: Sequence[str]) -> dict[str, RowAnswer]:
        body = {
            "experiment_ids": experiments,
            "filter": f"attributes.run_id IN ({quoted(ids)})",
            "run_view_type": "ALL",
            "max_results": len(ids),
        }
        rows = rows_of(self._tracking.search(f"{API}/runs/search", body), "runs")
        return {str(info_of(row).get("run_id")): row for row in rows}

    def _get(self, id: str) -> RowAnswer:
        return answered(lambda: self.get(id), _absent(id))

    def get(self, id: str) -> RowAnswer:
        """Raises NotFound if it does not exist."""
        answer = self._tracking.get(f"{API}/runs/get", {"run_id": id})
        run: Row = member_of(answer, "run", dict, "'run'")
        return run


def _absent(id: str) -> Absent:
    return Absent(AbsenceCode.RUN_NOT_FOUND, f"run {visible_name(id)} does not exist")
