"""What a decision does to a version, in the app's transaction: move it, and write the decision beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from mlflow.entities.model_registry import ModelVersionTag

from reconciler.domain.request import Request
from reconciler.domain.tag_format import decision_tag
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.domain.times import iso
from reconciler.domain.told import keeping_ids
from reconciler.mlflow_app.login import Caller
from reconciler.mlflow_app.store import Registry

# In bytes. MySQL's TEXT, the smallest column type in which MLflow keeps a version's tag, holds 65,535.
LONGEST_TAG: Final = 60_000


def move(within: Registry, model: str, version: str, target: Target, archive_existing: bool) -> None:
    if target.is_stage:
        within.mlflow.transition_model_version_stage(model, version, target.name, archive_existing)
    else:
        within.mlflow.set_registered_model_alias(model, target.name, version)


def write_decision(within: Registry, model: str, version: str, target: Target, sentence: str) -> None:
    """Write the decision beside the version, where MLflow's UI shows it, and keep the ids of earlier ones there.

    The caller's transaction holds the model's lock, so that no other decision is written between reading and writing.
    """
    key = decision_tag(target)
    shown = within.mlflow.get_model_version(model, version).tags.get(key, "")
    within.mlflow.set_model_version_tag(model, version, ModelVersionTag(key, keeping_ids(sentence, shown, LONGEST_TAG)))


def write_direct_move(within: Registry, model: str, version: str, target: Target, caller: Caller, comment: str) -> None:
    sentence = f"Moved {iso(datetime.now(UTC))} by {visible_name(caller.display_name)}, without a request: {comment}"
    write_decision(within, model, version, target, sentence)


def sentence_of(kind: str, at: datetime, caller: Caller, request: Request, comment: str) -> str:
    word = {"APPROVED_REQUEST": "Approved", "REJECTED_REQUEST": "Rejected"}[kind]
    requester = request.requester.known_as
    if comment.startswith(f"{word} "):
        # A sentence such as the daemon's, which already says all that, and why.
        return comment + (f" (By {visible_name(caller.name)}.)" if caller.name else "")
    reason = f": {comment}" if comment else ""
    return f"{word} {iso(at)} by {visible_name(caller.display_name)}, as {requester} asked{reason}"
