"""Whether the changes that the witness saw after a call are allowed: by an approval, or as a recorded act of an
administrator, or of an approver on a protected tag."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tests.mlflow_app.fuzz_calls import Call
from tests.mlflow_app.fuzz_world import ADMINISTRATOR
from tests.mlflow_app.witness import Change

_REQUEST, _DECISION = "transition_request.", "transition_decision."
# Workspace and name.
Model = tuple[str, str]
_PROTECTED_TAG = "protected tag"
_OF_MODELS = ("version", "alias", "tag", "model", "prompt tag")
_COUNTED = (*_OF_MODELS, "run", "logged model", "experiment", "file")


@dataclass(frozen=True)
class Verdict:
    """`wrong` is "" where nothing changed or everything is accounted for; `by` says by what."""

    by: str = ""
    wrong: str = ""


@dataclass(frozen=True)
class Terms:
    """What a server allows.

    Attributes:
        approvers: None: every caller may decide.
        protects_tags: whether it protects tags.
    """

    approvers: Sequence[str] | None
    protects_tags: bool


def counted(changes: Sequence[Change], protects_tags: bool) -> list[Change]:
    """The changes of protected things, without our tags that were deleted or moved with an unprotected model."""
    tags = [change for change in changes if protects_tags and change.thing == _PROTECTED_TAG]
    return [*tags, *_counted(changes)]


def _counted(changes: Sequence[Change]) -> list[Change]:
    gone = {_model(change) for change in changes if change.free and _is_whole(change)}
    kept = [change for change in changes if change.thing in _COUNTED]
    return [change for change in kept if not (_model(change) in gone and _falls_or_moves(change))]


def _is_whole(change: Change) -> bool:
    """Whether the model is deleted, renamed or moved to another workspace, with all that belongs to it."""
    return (
        change.kind == "delete" or change.thing == "free model" or bool({"name", "workspace"} & {*change.what.split()})
    )


def _falls_or_moves(change: Change) -> bool:
    return change.thing in {"tag", "prompt tag"} and (change.kind == "delete" or change.was == change.became)


def judged(
    call: Call, status: int, changes: Sequence[Change], terms: Terms, written: Mapping[str, Collection[Model]]
) -> Verdict:
    """`written`: the models on which the app has recorded a direct act in its own table since the previous call, by
    who acted."""
    verdict = _judged(call, status, changes, terms, written.get(ADMINISTRATOR, ()))
    left = counted(changes, terms.protects_tags)
    tags = {_model(change) for change in left if change.thing == _PROTECTED_TAG}
    if not tags or verdict.wrong:
        return verdict
    if call.identity not in {ADMINISTRATOR, *(terms.approvers or ())}:
        return Verdict(wrong=f"{call.identity or 'nobody'} changed a protected tag")
    if not tags <= set(written.get(call.identity, ())):
        return Verdict(wrong="a change of a protected tag that is not recorded")
    return Verdict(verdict.by or ("administrator" if call.identity == ADMINISTRATOR else "approver of a tag"))


def _judged(call: Call, status: int, changes: Sequence[Change], terms: Terms, written: Collection[Model]) -> Verdict:
    left = _counted(changes)
    if not left:
        return Verdict()
    recorded = _all_recorded(left, {*written, *(_model(change) for change in changes if _is_decision(change))})
    if status >= 500 and call.identity == ADMINISTRATOR and recorded:
        # MLflow's basic-auth sweeps grants after a deletion, and fails on a body that is encoded twice.
        return Verdict("administrator")
    if status >= 300:
        return Verdict(wrong=f"it was answered {status}, and changed something")
    if call.endpoint in _OWN:
        verdict = _OWN[call.endpoint](call, left, terms.approvers)
        if not verdict.wrong or call.identity != ADMINISTRATOR:
            return verdict
    if call.identity == ADMINISTRATOR:
        return Verdict("administrator") if recorded else Verdict(wrong="an administrator's act that is not recorded")
    return Verdict(wrong="unauthorized change")


def _all_recorded(changes: Sequence[Change], recorded: Collection[Model]) -> bool:
    """An act on a run or a file is recorded on the model that is made of it, which the witness cannot name."""
    touched = {_model(change) for change in changes if change.thing in _OF_MODELS}
    return bool(recorded) and touched <= set(recorded)


def _model(change: Change) -> Model:
    return change.workspace, change.name


def _is_decision(change: Change) -> bool:
    return change.thing == "tag" and change.what.startswith(_DECISION) and change.kind != "delete"


# --- the app's own calls -------------------------------------------------------------------------------------


def _created(call: Call, changes: list[Change], approvers: Sequence[str] | None) -> Verdict:
    change = changes[0]
    fine = len(changes) == 1 and change.of_tag and change.kind == "insert" and change.what.startswith(_REQUEST)
    return Verdict("request") if fine else Verdict(wrong="filing a request writes one request and nothing else")


def _resolved(call: Call, changes: list[Change], approvers: Sequence[str] | None) -> Verdict:
    """Rejected or withdrawn: the request is gone, a decision may be written, and nothing else."""
    taken, written, rest = _parts(changes)
    if len(taken) == 1 and not rest and all(tag.version == taken[0].version for tag in written):
        return Verdict("request resolved")
    return Verdict(wrong="resolving a request removes it and nothing else")


def _approved(call: Call, changes: list[Change], approvers: Sequence[str] | None) -> Verdict:
    taken, written, rest = _parts(changes)
    if len(taken) != 1 or not written:
        return Verdict(wrong="an approval removes one request and writes one decision")
    request = taken[0]
    if approvers is not None and call.identity not in approvers:
        return Verdict(wrong=f"{call.identity or 'nobody'} is not an approver")
    if call.identity and json.loads(request.was).get("requester") == call.identity:
        return Verdict(wrong="a requester approved their own request")
    kind, _, name = request.what.removeprefix(_REQUEST).partition(".")
    wrong = [change for change in [*written, *rest] if not _follows(change, request, kind, name)]
    return Verdict(wrong=f"not what the request asked for: {wrong}") if wrong else Verdict("approval")


def _follows(change: Change, request: Change, kind: str, name: str) -> bool:
    """Whether this is a part of what approving that request does."""
    if (change.workspace, change.name) != (request.workspace, request.name):
        return False
    if change.of_tag:
        return change.version == request.version and change.what == f"{_DECISION}{kind}.{name}"
    if change.thing == "alias":
        return kind == "alias" and change.what == name and change.became == request.version
    if change.thing != "version" or kind != "stage" or change.what.strip() != "current_stage":
        return False
    # Other versions leave the stage if the approval archives them.
    return change.became == (name if change.version == request.version else "Archived")


def _moved_directly(call: Call, changes: list[Change], approvers: Sequence[str] | None) -> Verdict:
    """A direct transition to an unprotected stage writes its comment beside the version."""
    if all(_is_decision(change) for change in changes):
        return Verdict("comment of a direct transition")
    return Verdict(wrong="unauthorized change")


_OWN = {
    "transition_requests_create": _created,
    "transition_requests_approve": _approved,
    "transition_requests_reject": _resolved,
    "transition_requests_delete": _resolved,
    "transition_requests_transition_stage": _moved_directly,
}


def _parts(changes: Sequence[Change]) -> tuple[list[Change], list[Change], list[Change]]:
    """Requests that were removed, decisions that were written, and the rest."""
    taken = [
        change for change in changes if change.of_tag and change.kind == "delete" and change.what.startswith(_REQUEST)
    ]
    written = [change for change in changes if _is_decision(change)]
    return taken, written, [change for change in changes if change not in taken and change not in written]
