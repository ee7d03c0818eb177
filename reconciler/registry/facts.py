"""Facts about runs and logged models, from MLflow's JSON."""

from __future__ import annotations

from typing import Any

from reconciler.domain.evidence import LoggedModelFacts, Needs, Reading, RunFacts, number
from reconciler.registry.paging import Row, rows_of
from reconciler.registry.understanding import Number

# A run may log any number of models; more than one is all that is judged, beside whether the version's is one.
_KEPT_OUTPUTS = 10


def run_facts(row: Row, needs: Needs, model: str = "") -> RunFacts:
    """`model`: the id of the version's logged model, kept among the run's outputs if it is one."""
    info = info_of(row)
    id = str(info.get("run_id"))
    readings = [(str(metric.get("key")), _reading(metric, id)) for metric in _metrics(row)]
    return RunFacts(
        run_id=id,
        status=str(info.get("status") or ""),
        lifecycle_stage=str(info.get("lifecycle_stage") or ""),
        end_time=_int(info["end_time"]) if info.get("end_time") else None,
        artifact_uri=str(info.get("artifact_uri") or ""),
        metrics={key: reading for key, reading in readings if key in needs.metrics},
        experiment_id=str(info.get("experiment_id") or ""),
        outputs=_outputs(row, model),
    )


def shows_outputs(row: Row) -> bool:
    """Whether the row says which models the run logged; servers with logged models say so also if it is none."""
    return isinstance(row.get("outputs"), dict)


def _outputs(row: Row, model: str) -> tuple[str, ...] | None:
    if not shows_outputs(row):
        return None
    ids = {str(output.get("model_id") or "") for output in rows_of(row["outputs"], "model_outputs")} - {""}
    first = [model] if model in ids else []
    return tuple((first + sorted(ids - {model}))[:_KEPT_OUTPUTS])


def logged_model_facts(row: Row, needs: Needs) -> LoggedModelFacts:
    info = info_of(row)
    metrics: dict[str, tuple[Reading, ...]] = {}
    for metric in _metrics(row):
        key = str(metric.get("key"))
        if key in needs.metrics:
            metrics[key] = (*metrics.get(key, ()), _reading(metric, str(metric.get("run_id") or "")))
    return LoggedModelFacts(
        model_id=str(info.get("model_id")),
        source_run_id=str(info.get("source_run_id") or ""),
        status=str(info.get("status") or ""),
        metrics=metrics,
        experiment_id=str(info.get("experiment_id") or ""),
    )


def info_of(row: Row) -> Row:
    """The part with what was not logged: ids, status, times."""
    info = row.get("info")
    return info if isinstance(info, dict) else {}


def _metrics(row: Row) -> list[Row]:
    data = row.get("data")
    return rows_of(data, "metrics") if isinstance(data, dict) else []


def _reading(row: Row, run_id: str) -> Reading:
    raw = row.get("value", "")
    text = raw.text if isinstance(raw, Number) else str(raw)
    return Reading(
        text=text[:64],
        value=number(text[:64]),
        step=_int(row.get("step") or 0),
        timestamp=_int(row.get("timestamp") or 0),
        run_id=run_id,
        dataset_name=str(row.get("dataset_name") or ""),
        dataset_digest=str(row.get("dataset_digest") or ""),
    )


def _int(value: Any) -> int:
    """The number; 0 if it is none. Proto JSON writes 64-bit numbers as strings, MLflow's own JSON as numbers."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0
