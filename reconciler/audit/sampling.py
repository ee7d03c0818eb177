"""Samples: dossiers of decisions that a seed draws from a population, so that anybody can draw the same ones again."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Final, NamedTuple

from sqlalchemy import Connection, select

from reconciler.audit.dossiers import Dossier, dossier_of, written
from reconciler.audit.log.filling import Progress, unseen
from reconciler.audit.tables import DecisionRow
from reconciler.domain.decision import in_file_names
from reconciler.domain.proofs.checkpoint import Head
from reconciler.domain.times import iso

FORMAT: Final = "mlflow-reconciler sample v1"
# What the index says of a decision; each is in its row.
_LISTED: Final = ("decision_id", "decided_at", "model", "version", "target", "verdict", "mode")
# Of every file in the ZIP: the same sample is the same bytes.
_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Drawing:
    """How a sample is drawn. `report`: what its population is."""

    report: str
    since: datetime | None
    until: datetime | None
    size: int
    seed: str


def _decided(connection: Connection, drawing: Drawing) -> Iterator[str]:
    query = select(DecisionRow.decision_id)
    if drawing.since is not None:
        query = query.where(DecisionRow.decided_at >= drawing.since)
    if drawing.until is not None:
        query = query.where(DecisionRow.decided_at < drawing.until)
    return iter(connection.scalars(query))


# The population of each report that decisions can be drawn from.
POPULATIONS: Mapping[str, Callable[[Connection, Drawing], Iterator[str]]] = {"decisions": _decided}


def drawn(population: Sequence[str], size: int, seed: str) -> list[str]:
    """The decisions whose SHA-256 over the seed, a line break and their id is lowest."""
    return sorted(population, key=lambda id: (hashlib.sha256(f"{seed}\n{id}".encode()).digest(), id))[:size]


class Drawn(NamedTuple):
    """How many were drawn, and from how many. `strange`: ids that are no UUIDs, which their files are not named by."""

    many: int
    population: int
    strange: int


def write_sample(
    connection: Connection, drawing: Drawing, heads: Sequence[Head], file: IO[bytes], progress: Progress = unseen
) -> Drawn:
    """Writes a ZIP of dossiers with an index.

    Raises:
        Unprovable: as `dossier_of`.
    """
    population = sorted(POPULATIONS[drawing.report](connection, drawing))
    ids = drawn(population, drawing.size, drawing.seed)
    listed = []
    with zipfile.ZipFile(file, "w") as sample:
        for number, id in enumerate(ids):
            progress(number, len(ids))
            dossier = dossier_of(connection, id, heads)
            listed.append(_listed(dossier))
            _add(sample, f"dossiers/{in_file_names(id)}.json", written(dossier))
        index = {"format": FORMAT, "how": _how(drawing, population), "drawn": listed}
        _add(sample, "index.json", json.dumps(index, indent=1, sort_keys=True, ensure_ascii=True) + "\n")
    return Drawn(len(ids), len(population), sum(in_file_names(id) != id for id in ids))


def _listed(dossier: Dossier) -> dict[str, Any]:
    [row] = [entry["row"] for entry in dossier["entries"] if entry["table"] == DecisionRow.__tablename__]
    return {name: row[name] for name in _LISTED}


def _how(drawing: Drawing, population: Sequence[str]) -> dict[str, Any]:
    return {
        "report": drawing.report,
        "since": iso(drawing.since) if drawing.since else None,
        "until": iso(drawing.until) if drawing.until else None,
        "size": drawing.size,
        "seed": drawing.seed,
        "population": list(population),
    }


def _add(sample: zipfile.ZipFile, name: str, content: str) -> None:
    sample.writestr(zipfile.ZipInfo(name, _LONG_AGO), content.encode(), zipfile.ZIP_DEFLATED)
