"""Whether what the witness saw after a call may be: an approval, or an administrator's act that is told."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tests.mlflow_app.fuzz_calls import Call
from tests.mlflow_app.fuzz_world import ADMINISTRATOR
from tests.mlflow_app.witness import Change

_REQUEST, _DECISION = "transition_request.", "transition_decision."
# Workspace and name.
Model = tuple[str, str]
_OF_MODELS = ("version", "alias", "tag", "model", "prompt tag")
_COUNTED = (*_OF_MODELS, "run", "logged model", "experiment", "file")


@dataclass(frozen=True)
class Verdict:
    """`wrong` is "" where nothing changed or everything is accounted for; `by` says by what."""

    by: str = ""
    wrong: str = ""


def counted(changes: Sequence[Change]) -> list[Change]:
    """Without what nobody protects, and without our tags that fell or moved with a model that nobody protects."""
    gone = {_model(change) for change in changes if change.free and _is_whole(change)}
    kept = [change for change in changes if change.thing in _COUNTED]
    return [change for change in kept if not (_model(change) in gone and _falls_or_moves(change))]


def _is_whole(change: Change) -> bool:
    """Deleted, renamed or in another workspace, with all that belongs to it."""
    return (
        change.kind == "delete" or change.thing == "free model" or bool({"name", "workspace"} & {*change.what.split()})
    )


def _falls_or_moves(change: Change) -> bool:
    return change.thing in {"tag", "prompt tag"} and (change.kind == "delete" or change.was == change.became)


def judged(
    call: Call, status: int, changes: Sequence[Change], approvers: Sequence[str] | None, written: Collection[Model]
) -> Verdict:
    """`approvers` None: whoever calls may decide. `written`: models about which the app has written down an
    administrator's act in its own table since the call before."""
    left = counted(changes)
    if not left:
        return Verdict()
    told = _all_told(left, {*written, *(_model(change) for change in changes if _tells(change))})
    if status >= 500 and call.identity == ADMINISTRATOR and told:
        # MLflow's basic-auth sweeps grants after a deletion, and fails on a body that is encoded twice.
        return Verdict("administrator")
    if status >= 300:
        return Verdict(wrong=f"it was answered {status}, and changed something")
    if call.endpoint in _OWN:
        verdict = _OWN[call.endpoint](call, left, approvers)
        if not verdict.wrong or call.identity != ADMINISTRATOR:
            return verdict
    if call.identity == ADMINISTRATOR:
        return Verdict("administrator") if told else Verdict(wrong="an administrator's act that is told nowhere")
    return Verdict(wrong="nobody allowed it")


def _all_told(changes: Sequence[Change], told: Collection[Model]) -> bool:
    """An act on a run or a file is told on the model that is made of it, which the witness cannot name."""
    touched = {_model(change) for change in changes if change.thing in _OF_MODELS}
    return bool(told) and touched <= set(told)


def _model(change: Change) -> Model:
    return change.workspace, change.name


def _tells(change: Change) -> bool:
    return change.thing == "tag" and change.what.startswith(_DECISION) and change.kind != "delete"


# --- the app's own calls -------------------------------------------------------------------------------------


def _created(call: Call, changes: list[Change], approvers: Sequence[str] | None) -> Verdict:
    one = changes[0]
    fine = len(changes) == 1 and one.of_tag and one.kind == "insert" and one.what.startswith(_REQUEST)
    return Verdict("request") if fine else Verdict(wrong="filing a request writes one request and nothing else")


def _resolved(call: Call, changes: list[Change], approvers: Sequence[str] | None) -> Verdict:
    """Rejected or withdrawn: the request is gone, a decision may be told, and no more."""
    taken, told, rest = _parts(changes)
    if len(taken) == 1 and not rest and all(tag.version == taken[0].version for tag in told):
        return Verdict("request resolved")
    return Verdict(wrong="resolving a request takes it away and nothing else")


def _approved(call: Call, changes: list[Change], approvers: Sequence[str] | None) -> Verdict:
    taken, told, rest = _parts(changes)
    if len(taken) != 1 or not told:
        return Verdict(wrong="an approval takes one request away and tells one decision")
    request = taken[0]
    if approvers is not None and call.identity not in approvers:
        return Verdict(wrong=f"{call.identity or 'nobody'} is no approver")
    if call.identity and json.loads(request.was).get("requester") == call.identity:
        return Verdict(wrong="a requester approved a request of their own")
    kind, _, name = request.what.removeprefix(_REQUEST).partition(".")
    wrong = [change for change in [*told, *rest] if not _follows(change, request, kind, name)]
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
    # Others leave the stage where the approval says so.
    return change.became == (name if change.version == request.version else "Archived")


def _moved_directly(call: Call, changes: list[Change], approvers: Sequence[str] | None) -> Verdict:
    """A direct transition to a stage that nobody protects writes its comment beside the version."""
    if all(_tells(change) for change in changes):
        return Verdict("comment of a direct transition")
    return Verdict(wrong="nobody allowed it")


_OWN = {
    "transition_requests_create": _created,
    "transition_requests_approve": _approved,
    "transition_requests_reject": _resolved,
    "transition_requests_delete": _resolved,
    "transition_requests_transition_stage": _moved_directly,
}


def _parts(changes: Sequence[Change]) -> tuple[list[Change], list[Change], list[Change]]:
    """Requests that were taken away, decisions that were told, and the rest."""
    taken = [one for one in changes if one.of_tag and one.kind == "delete" and one.what.startswith(_REQUEST)]
    told = [one for one in changes if _tells(one)]
    return taken, told, [one for one in changes if one not in taken and one not in told]
