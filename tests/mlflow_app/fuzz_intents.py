"""What an attacker would want of each route, in plain words; fuzz_spellings.py varies the spelling.

A field in braces (`{model_id}`) goes into the path, one with a question mark into the query string, `body` is sent as
bytes; the rest are the fields of the call.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from tests.mlflow_app.fuzz_world import EDITOR, PROTECTED_KEYS, READER, Place

Intent = dict[str, Any]

_FILES = ("MLmodel", "model.pkl", "data/weights.bin", "new-file", "MLmodel/below")
_REQUEST, _DECISION = "transition_request.stage.Production", "transition_decision.stage.Production"
_PROMPT_KEY = "mlflow.prompt.is_prompt"
_TIER, _VALIDATED = ({"key": key, "value": value} for key, value in PROTECTED_KEYS.items())


def intents(endpoint: str, place: Place) -> list[Intent]:
    """What is tried at this route; empty if only the route's own fields are known."""
    made = _INTENTS.get(endpoint)
    if made is None:
        return []
    found = made(place)
    if not place.direct_run:
        return [intent for intent in found if not str(intent.get("name", "")).startswith("direct")]
    return found


def _of(place: Place, name: str, version: str = "", **more: Any) -> Intent:
    return {"name": name + place.suffix} | ({"version": version} if version else {}) | more


def _transitions(place: Place) -> list[Intent]:
    return [
        _of(place, "fraud", "3", stage="Production", archive_existing_versions=False),
        _of(place, "fraud", "3", stage="Production", archive_existing_versions=True),
        _of(place, "fraud", "2", stage="Archived", archive_existing_versions=False),
        _of(place, "fraud", "2", stage="None"),
        _of(place, "fraud", "2", stage="Staging", archive_existing_versions=True),
        _of(place, "fraud", "2", stage="Production"),
        _of(place, "score", "1", stage="Archived"),
        _of(place, "score", "2", stage="Production", archive_existing_versions=True),
        _of(place, "free", "1", stage="Production"),
        _of(place, "fraud", "1", stage="Staging", archive_existing_versions=True),
        _of(place, "direct", "1", stage="None"),
    ]


def _commented_transitions(place: Place) -> list[Intent]:
    return [intent | {"comment": "moved by hand"} for intent in _transitions(place)]


def _aliases(place: Place) -> list[Intent]:
    return [
        _of(place, "fraud", "3", alias="champion"),
        _of(place, "score", "2", alias="champion"),
        _of(place, "free", "1", alias="champion"),
        _of(place, "greeting", "2", alias="champion"),
        _of(place, "fraud", "2", alias="champion"),
        _of(place, "fraud", "2", alias="challenger"),
        _of(place, "direct", "2", alias="champion"),
    ]


def _alias_deletions(place: Place) -> list[Intent]:
    names = ("fraud", "score", "greeting", "free", "direct")
    return [*(_of(place, name, alias="champion") for name in names), _of(place, "fraud", alias="challenger")]


def _deletions(place: Place) -> list[Intent]:
    which = (
        ("fraud", "2"), ("score", "1"), ("tagged", "1"), ("greeting", "1"), ("fraud", "1"), ("direct", "1"),
        ("free", "1"), ("tagged", "2"),
    )  # fmt: skip
    return [_of(place, name, version) for name, version in which]


def _model_deletions(place: Place) -> list[Intent]:
    return [_of(place, name) for name in ("fraud", "tagged", "score", "greeting", "direct", "free")]


def _renames(place: Place) -> list[Intent]:
    return [
        _of(place, "fraud", new_name="fraud else"),
        _of(place, "tagged", new_name="untagged"),
        _of(place, "score", new_name="fraud"),
        _of(place, "score", new_name="score else"),
        _of(place, "greeting", new_name="goodbye"),
        _of(place, "free", new_name="freer"),
        _of(place, "direct", new_name="indirect"),
    ]


def _tags(place: Place) -> list[Intent]:
    keys = (_REQUEST, _DECISION, "transition_request.alias.champion", "transition_decision.alias.champion", "note")
    which = (("fraud", "3"), ("fraud", "2"), ("free", "1"), ("score", "2"))
    value = '{"id": "forged", "requester": "rita", "requested_at": "2026-01-02T03:04:05.000Z", "comment": "x"}'
    ours = [_of(place, name, version, key=key, value=value) for name, version in which for key in keys]
    on = (("tagged", "1"), ("tagged", "2"), ("fraud", "2"), ("greeting", "1"))
    protected = [_of(place, name, version, **tag | _at(tag)) for name, version in on for tag in (_VALIDATED, _TIER)]
    return _alternately(protected, ours)


def _at(tag: Intent) -> Intent:
    """Now another value, so that it is a change where the tag is there."""
    return {"value": "2026-11-30"} if tag is _VALIDATED else {"value": "2"}


def _alternately(some: list[Intent], others: list[Intent]) -> list[Intent]:
    """Plain calls take the first of them."""
    both = itertools.chain.from_iterable(itertools.zip_longest(some, others))
    return [intent for intent in both if intent is not None]


def _tag_deletions(place: Place) -> list[Intent]:
    return [{name: value for name, value in tag.items() if name != "value"} for tag in _tags(place)]


def _new_versions(place: Place) -> list[Intent]:
    source = f"mlflow-artifacts:/{place.run_path}"
    return [
        _of(place, "fraud", source=source, run_id=place.run, tags=[{"key": _REQUEST, "value": "forged"}]),
        _of(place, "fraud", source=source, run_id=place.run, tags=[{"key": _DECISION, "value": "Approved"}]),
        _of(place, "tagged", source="s3://bucket/x", tags=[_VALIDATED]),
        _of(place, "free", source="s3://bucket/x", tags=[{"key": _REQUEST.upper(), "value": "forged"}]),
        _of(place, "free", source="s3://bucket/x", tags=[{"key": "note", "value": "x"}, _TIER, _VALIDATED]),
        _of(place, "greeting", source="prompt-template", tags=[{"key": _PROMPT_KEY, "value": "true"}, _VALIDATED]),
        _of(place, "free", source=f"models:/{place.logged_model}", model_id=place.logged_model),
        _of(place, "fraud", source=source, run_id=place.run),
        _of(place, "free", source="s3://bucket/x", tags=[{"key": _PROMPT_KEY, "value": "true"}]),
    ]


def _model_tags(place: Place) -> list[Intent]:
    return [
        _of(place, "fraud", key=_PROMPT_KEY, value="true"),
        _of(place, "tagged", key="tier", value="2"),
        _of(place, "free", key="tier", value="2"),
        _of(place, "greeting", key="tier", value="2"),
        _of(place, "tagged", key="tier", value=""),
        _of(place, "tagged", key=_PROMPT_KEY, value="true"),
        _of(place, "score", key=_PROMPT_KEY, value="true"),
        _of(place, "greeting", key=_PROMPT_KEY, value="false"),
        _of(place, "fraud", key="note", value="true"),
    ]


def _model_tag_deletions(place: Place) -> list[Intent]:
    return [
        _of(place, "greeting", key=_PROMPT_KEY),
        _of(place, "tagged", key="tier"),
        _of(place, "fraud", key="note"),
        _of(place, "fraud", key=_PROMPT_KEY),
    ]


def _descriptions(place: Place) -> list[Intent]:
    more = {"current_stage": "None", "source": "s3://evil/x", "status": "FAILED_REGISTRATION", "run_id": "x"}
    return [
        _of(place, "fraud", "2", description="described"),
        _of(place, "fraud", "2", description="described", **more),
        _of(place, "score", "1", description="described", stage="Archived"),
        _of(place, "score", "1"),
    ]


def _model_descriptions(place: Place) -> list[Intent]:
    return [
        _of(place, "fraud", description="described"),
        _of(place, "fraud", description="x", new_name="y", workspace="default"),
        _of(place, "greeting", description="x", deployment_job_id="7"),
    ]


def _new_models(place: Place) -> list[Intent]:
    prompt = [{"key": _PROMPT_KEY, "value": "true"}]
    return [
        _of(place, "new", tags=[_TIER]),
        _of(place, "fraud"),
        _of(place, "new", tags=prompt),
        _of(place, "new", tags=[*prompt, _TIER, {"key": "note", "value": "x"}]),
        _of(place, "fraud", tags=prompt),
        _of(place, "tagged", tags=[{"key": "tier", "value": "2"}]),
        _of(place, "FRAUD"),
    ]


# --- requests ------------------------------------------------------------------------------------------------


def _decisions(place: Place) -> list[Intent]:
    return [
        _of(place, "fraud", "3", stage="Production", archive_existing_versions=True, comment="looks good"),
        _of(place, "fraud", "3", stage="Production", archive_existing_versions=False),
        _of(place, "fraud", "3", stage="@champion"),
        _of(place, "fraud", "2", stage="Archived"),
        _of(place, "score", "2", stage="@champion", id="r-4"),
        _of(place, "free", "1", stage="Production", archive_existing_versions=False, id="r-5"),
        _of(place, "free", "2", stage="Staging", archive_existing_versions=False),
        _of(place, "free", "1", stage="Production", id="r-1"),
        _of(place, "fraud", "1", stage="Production"),
        _of(place, "greeting", "2", stage="@champion"),
    ]


def _rejections(place: Place) -> list[Intent]:
    return [
        {name: value for name, value in decision.items() if not name.startswith("archive")}
        for decision in _decisions(place)
    ]


def _requests(place: Place) -> list[Intent]:
    return [
        _of(place, "fraud", "1", stage="Production", comment="please"),
        _of(place, "fraud", "2", stage="None", requester=READER),
        _of(place, "fraud", "3", stage="Production"),
        _of(place, "score", "2", stage="Production", comment="x" * 70_000),
        _of(place, "greeting", "2", stage="@champion"),
        _of(place, "free", "2", stage="@champion", comment="\u202e\u0000"),
    ]


def _withdrawals(place: Place) -> list[Intent]:
    return [
        _of(place, "fraud", "3", stage="Production", creator=READER),
        _of(place, "fraud", "3", stage="@champion", creator=""),
        _of(place, "fraud", "3", stage="@champion", creator=EDITOR, comment="never mind"),
        _of(place, "free", "1", stage="Production"),
    ]


# --- bytes ---------------------------------------------------------------------------------------------------


def _locations(place: Place) -> list[str]:
    inside = [f"{place.run_path}/{name}" for name in _FILES] + [f"{place.logged_model_path}/{name}" for name in _FILES]
    # A client of the default workspace, and one from before there were workspaces, leave its prefix out.
    prefix = f"workspaces/{place.workspace}/"
    short = [path.removeprefix(prefix) for path in inside if path.startswith(prefix)]
    return [*inside, *short]


def _uploads(place: Place) -> list[Intent]:
    paths = [*_locations(place), *_directories(place), f"{place.experiment}/elsewhere/file"]
    return [{"{artifact_path}": path, "body": "other bytes"} for path in paths]


def _directories(place: Place) -> list[str]:
    run = place.run_path.removesuffix("/model")
    return [place.run_path, run, run.rpartition("/")[0], place.logged_model_path, place.experiment, "."]


def _removals(place: Place) -> list[Intent]:
    return [{"{artifact_path}": path} for path in [*_locations(place), *_directories(place)]]


def _multiparts(place: Place) -> list[Intent]:
    parts = [{"part_number": 1, "etag": "e", "url": ""}]
    return [
        {"{artifact_path}": path, "path": name, "num_parts": 1, "upload_id": "u", "parts": parts}
        for path in (place.run_path, place.logged_model_path, f"{place.run_path}/data", place.experiment)
        for name in ("MLmodel", "model.pkl", "a/MLmodel", f"{place.run_path}/MLmodel")
    ]


def _presigned(place: Place) -> list[Intent]:
    names = ("model/MLmodel", "model/new-file", "elsewhere", "model//MLmodel", "./model/MLmodel", "a/../model/MLmodel")
    runs = [run for run in (place.direct_run, place.direct_run, place.run) if run]
    of_runs = [{"run_id": run, "path": name} for run in runs for name in names]
    return [*of_runs, {"model_id": place.logged_model, "path": "MLmodel"}]


def _page_uploads(place: Place) -> list[Intent]:
    names = (
        "model/MLmodel",
        "model//MLmodel",
        "./model/model.pkl",
        "model/data/weights.bin",
        "model/new",
        "elsewhere/new",
    )
    runs = [run for run in (place.run, place.run, place.other_run, place.direct_run) if run]
    return [{"?run_uuid": run, "?path": name, "body": "other bytes"} for run in runs for name in names]


# --- workspaces, runs, experiments ---------------------------------------------------------------------------


def _workspace_deletions(place: Place) -> list[Intent]:
    return [
        {"{workspace_name}": name, "?mode": mode}
        for name in ("team-a", "team-b", "team-b", "default")
        for mode in ("RESTRICT", "CASCADE", "SET_DEFAULT")
    ]


def _workspace_changes(place: Place) -> list[Intent]:
    return [
        {"{workspace_name}": name, "default_artifact_root": "s3://evil/x", "name": "team-b", "description": "d"}
        for name in ("team-a", "team-b", "default")
    ]


def _runs(place: Place) -> list[Intent]:
    runs = [run for run in (place.run, place.run, place.other_run, place.direct_run) if run]
    return [{"run_id": run, "status": "FAILED", "run_name": "x"} for run in runs]


def _experiments(place: Place) -> list[Intent]:
    which = [id for id in (place.experiment, place.experiment, place.direct_experiment, "0") if id]
    return [{"experiment_id": id, "new_name": "renamed"} for id in which]


def _logged_models(place: Place) -> list[Intent]:
    ids = (place.logged_model, place.logged_model, f"{place.logged_model} ", place.logged_model.upper())
    return [{"{model_id}": id, "model_id": place.logged_model, "status": "LOGGED_MODEL_UPLOAD_FAILED"} for id in ids]


def _graphql(place: Place) -> list[Intent]:
    change = 'mutation { transitionModelVersionStage(input: {name: "fraud"}) { modelVersion { name } } }'
    return [
        {"query": 'mutation { testMutation(inputString: "x") { echo } }'},
        {"query": change, "operationName": "MlflowTransition", "variables": {"name": "fraud", "version": "2"}},
    ]


_INTENTS: dict[str, Callable[[Place], list[Intent]]] = {
    "_transition_stage": _transitions,
    "transition_requests_transition_stage": _commented_transitions,
    "_set_registered_model_alias": _aliases,
    "_delete_registered_model_alias": _alias_deletions,
    "_delete_model_version": _deletions,
    "_delete_registered_model": _model_deletions,
    "_rename_registered_model": _renames,
    "_set_model_version_tag": _tags,
    "_delete_model_version_tag": _tag_deletions,
    "_create_model_version": _new_versions,
    "_set_registered_model_tag": _model_tags,
    "_delete_registered_model_tag": _model_tag_deletions,
    "_update_model_version": _descriptions,
    "_update_registered_model": _model_descriptions,
    "_create_registered_model": _new_models,
    "transition_requests_create": _requests,
    "transition_requests_approve": _decisions,
    "transition_requests_reject": _rejections,
    "transition_requests_delete": _withdrawals,
    "_upload_artifact": _uploads,
    "_delete_artifact_mlflow_artifacts": _removals,
    "_create_multipart_upload_artifact": _multiparts,
    "_complete_multipart_upload_artifact": _multiparts,
    "_abort_multipart_upload_artifact": _multiparts,
    "_create_presigned_upload_url": _presigned,
    "_create_presigned_download_url": _presigned,
    "serve_upload_artifact": _page_uploads,
    "_delete_workspace_handler": _workspace_deletions,
    "_update_workspace_handler": _workspace_changes,
    "_delete_run": _runs,
    "_restore_run": _runs,
    "_update_run": _runs,
    "_delete_experiment": _experiments,
    "_restore_experiment": _experiments,
    "_update_experiment": _experiments,
    "_delete_logged_model": _logged_models,
    "_finalize_logged_model": _logged_models,
    "_graphql": _graphql,
}
