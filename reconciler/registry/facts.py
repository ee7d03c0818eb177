"""Facts about runs and logged models, from MLflow's JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconciler.domain.evidence.evidence import Dataset, LoggedModelFacts, Reading, RunFacts, number
from reconciler.domain.text import Text
from reconciler.registry.paging import Row, rows_of
from reconciler.registry.understanding import Number
from reconciler.registry.versions import integer

# A run may log any number of models; more than one is all that is judged, beside whether the version's is one.
_KEPT_OUTPUTS = 10
# Which tag of a dataset says what a run used it for.
_CONTEXT = "mlflow.data.context"


def run_facts(row: Row, model: str = "") -> RunFacts:
    """`model`: the id of the version's logged model, kept among the run's outputs if it is one."""
    info = info_of(row)
    id = str(info.get("run_id"))
    tags = _pairs(row.get("data"), "tags")
    return RunFacts(
        run_id=id,
        status=str(info.get("status") or ""),
        lifecycle_stage=str(info.get("lifecycle_stage") or ""),
        end_time=integer(info["end_time"]) if info.get("end_time") else None,
        artifact_uri=str(info.get("artifact_uri") or ""),
        metrics={str(metric.get("key")): reading_of(metric, id) for metric in _metrics(row)},
        experiment_id=str(info.get("experiment_id") or ""),
        outputs=_outputs(row, model),
        params={name: Text.of(value) for name, value in _pairs(row.get("data"), "params").items()},
        datasets=tuple(_datasets(row)),
        user=_text(tags.get("mlflow.user") or info.get("user_id")),
        git_commit=_text(tags.get("mlflow.source.git.commit")),
        source_name=_text(tags.get("mlflow.source.name")),
        left_out={},
    )


def _pairs(part: Any, field: str) -> dict[str, str]:
    """Tags or parameters by their keys."""
    return {str(pair.get("key", "")): str(pair.get("value", "")) for pair in _members(part, field)}


def _datasets(row: Row) -> Iterator[Dataset]:
    for given in _members(row.get("inputs"), "dataset_inputs"):
        dataset = given.get("dataset")
        if isinstance(dataset, dict):
            context = _pairs(given, "tags").get(_CONTEXT, "")
            yield Dataset(str(dataset.get("name") or ""), str(dataset.get("digest") or ""), context)


def _members(part: Any, field: str) -> list[Row]:
    """The rows of a list that no check asks for: a server that gives something else there has none, and is judged."""
    rows = part.get(field) if isinstance(part, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _text(value: Any) -> Text | None:
    return Text.of(str(value)) if value else None


def shows_outputs(row: Row) -> bool:
    """Whether the row says which models the run logged; servers with logged models say so also if it is none."""
    return isinstance(row.get("outputs"), dict)


def _outputs(row: Row, model: str) -> tuple[str, ...] | None:
    if not shows_outputs(row):
        return None
    ids = {str(output.get("model_id") or "") for output in rows_of(row["outputs"], "model_outputs")} - {""}
    first = [model] if model in ids else []
    return tuple((first + sorted(ids - {model}))[:_KEPT_OUTPUTS])


def logged_model_facts(row: Row) -> LoggedModelFacts:
    info = info_of(row)
    metrics: dict[str, list[Reading]] = {}
    for metric in _metrics(row):
        key = str(metric.get("key"))
        metrics.setdefault(key, []).append(reading_of(metric, str(metric.get("run_id") or "")))
    return LoggedModelFacts(
        model_id=str(info.get("model_id")),
        source_run_id=str(info.get("source_run_id") or ""),
        status=str(info.get("status") or ""),
        metrics={key: tuple(readings) for key, readings in metrics.items()},
        experiment_id=str(info.get("experiment_id") or ""),
        left_out={},
    )


def info_of(row: Row) -> Row:
    """The part with what was not logged: ids, status, times."""
    info = row.get("info")
    return info if isinstance(info, dict) else {}


def _metrics(row: Row) -> list[Row]:
    data = row.get("data")
    return rows_of(data, "metrics") if isinstance(data, dict) else []


def reading_of(row: Row, run_id: str) -> Reading:
    raw = row.get("value", "")
    text = raw.text if isinstance(raw, Number) else str(raw)
    return Reading(
        text=text[:64],
        value=number(text[:64]),
        step=integer(row.get("step") or 0),
        timestamp=integer(row.get("timestamp") or 0),
        run_id=run_id,
        dataset_name=str(row.get("dataset_name") or ""),
        dataset_digest=str(row.get("dataset_digest") or ""),
    )
