"""Refuses at the routes what the wall at the store would refuse, with a message that says how to request it.

MLflow's handlers read a call by one function. The guard replaces it, so it judges the very message that the handler
will use. Only the wording of a refusal depends on the guard: which version holds what is known to the wall.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from flask import Flask, request
from google.protobuf.json_format import ParseError
from google.protobuf.message import Message
from mlflow.server import handlers
from mlflow.utils.proto_json_utils import parse_dict

from reconciler.domain.target import Target
from reconciler.domain.text import quoted, visible, visible_name
from reconciler.mlflow_app.changes import (
    USE_THE_CALLS,
    Change,
    Kind,
    Targets,
    first_move_out,
    how_to_ask,
    is_our_tag,
    protected_alias,
)
from reconciler.mlflow_app.errors import invalid, missing
from reconciler.mlflow_app.identity import Identity
from reconciler.mlflow_app.refusals import Refusals

# Handlers that change the registry and reach neither a target nor a request.
HARMLESS: Final = frozenset(
    {
        "_create_registered_model", "_update_registered_model", "_update_model_version",
        "_set_registered_model_tag", "_delete_registered_model_tag", "_get_latest_versions",
        # What these reach is checked in the store, which knows which version holds what.
        "_delete_registered_model", "_rename_registered_model",
    }
)  # fmt: skip
# Handlers of the calls that are checked here.
GUARDED: Final = frozenset(
    {
        "_transition_stage", "_set_registered_model_alias", "_delete_registered_model_alias", "_delete_model_version",
        "_set_model_version_tag", "_delete_model_version_tag", "_create_model_version",
        "transition_requests_transition_stage",
    }
)  # fmt: skip

_REGISTRY_PATHS: Final = ("/mlflow/registered-models/", "/mlflow/model-versions/")
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_VERSION = re.compile(r"[1-9][0-9]{0,9}")
_LARGEST_VERSION: Final = 2**31 - 1
_UNKNOWN = (
    "This call is newer than the transition-requests app, which cannot tell whether it is allowed: "
    "upgrade mlflow-reconciler, or ask an administrator."
)


class Guard:
    """The guard of one server."""

    def __init__(self, targets: Targets, identity: Identity, refusals: Refusals, workspace: Callable[[], str]) -> None:
        self._targets = targets
        self._identity = identity
        self._refusals = refusals
        self._workspace = workspace
        self._read_as_mlflow: Callable[..., Any] = handlers._get_request_message

    def install(self, app: Flask) -> None:
        handlers._get_request_message = self._read
        # After basic-auth's own hook: by then the caller is known.
        app.before_request(self._before_request)

    def check(self, message: Message) -> None:
        """Raises MlflowException if this call would change something protected."""
        find = _CHANGES[message.DESCRIPTOR.name]
        change = next(find(message, self._targets, self._workspace()), None)
        if change is not None and not (caller := self._identity.caller()).admin:
            self._refusals.refuse(change, caller)

    def _read(self, request_message: Any, flask_request: Any = request, schema: Any = None) -> Any:
        """Read a call as MLflow does, but strictly if it may touch a target."""
        if self._refusals.observe or request_message.DESCRIPTOR.name not in _CHANGES:
            return self._read_as_mlflow(request_message, flask_request, schema)
        strict = _read_strictly(type(request_message)(), flask_request)
        message = self._read_as_mlflow(request_message, flask_request, schema)
        if message != strict:
            raise invalid("The body is ambiguous: send each field once, under the name that MLflow documents.")
        self.check(message)
        return message

    @handlers.catch_mlflow_exception
    def _before_request(self) -> None:
        endpoint = request.endpoint
        if request.method in _READS or endpoint is None or endpoint in HARMLESS | GUARDED:
            return
        if any(path in request.path for path in _REGISTRY_PATHS):
            caller = self._identity.caller()
            if not caller.admin:
                self._refusals.refuse_unknown(_UNKNOWN, caller)


def _read_strictly(message: Any, flask_request: Any) -> Any:
    """Raises MlflowException (400) for a body that MLflow would read only in part, or fail on."""
    try:
        data = handlers._get_normalized_request_json(flask_request)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise invalid("The body is not a JSON object.")
    try:
        parse_dict(data, message)
    except (ParseError, ValueError, TypeError, AttributeError) as error:
        raise invalid(f"The body cannot be read: {visible(str(error).rstrip('.'), 300)}.") from None
    version = getattr(message, "version", "")
    if version and not _VERSION.fullmatch(version):
        raise invalid(f"{quoted(version)} is not a version number: use digits only, such as 7.")
    if version and int(version) > _LARGEST_VERSION:
        raise missing(f"There is no version {version} of {quoted(message.name)}.")
    return message


# --- what a call would change, as far as the call itself shows ---------------------------------------------------


def _transition(call: Any, targets: Targets, workspace: str) -> Iterator[Change]:
    into = _stage(call.stage)
    archived = Target.parse("Archived")
    if into is not None and into in targets:
        what = f"Moving a version into {into}"
        yield Change(Kind.TARGET, what, workspace, call.name, None, into, how_to_ask(call.name, call.version, into))
    elif call.archive_existing_versions and archived in targets:
        instead = "leave archive_existing_versions out"
        yield Change(Kind.TARGET, "Archiving other versions", workspace, call.name, None, archived, instead)


def _stage(name: str) -> Target | None:
    try:
        return Target.parse(name) if name and not name.startswith("@") else None
    except ValueError:
        return None


def _set_alias(call: Any, targets: Targets, workspace: str) -> Iterator[Change]:
    target = protected_alias(call.alias, targets)
    if target is not None:
        instead = how_to_ask(call.name, call.version or "VERSION", target)
        what = f"Setting the alias @{visible_name(call.alias)}"
        yield Change(Kind.TARGET, what, workspace, call.name, None, target, instead)


def _delete_alias(call: Any, targets: Targets, workspace: str) -> Iterator[Change]:
    target = protected_alias(call.alias, targets)
    if target is not None:
        what = f"Deleting the alias @{visible_name(call.alias)}"
        yield Change(Kind.TARGET, what, workspace, call.name, None, target, first_move_out(target))


def _no_change(_call: Any, _targets: Targets, _workspace: str) -> Iterator[Change]:
    """Still read strictly: its version must be the one that the wall will see."""
    return iter(())


def _set_tag(call: Any, _targets: Targets, workspace: str) -> Iterator[Change]:
    yield from _tag("Writing", call.key, call.name, workspace)


def _delete_tag(call: Any, _targets: Targets, workspace: str) -> Iterator[Change]:
    yield from _tag("Deleting", call.key, call.name, workspace)


def _create_version(call: Any, _targets: Targets, workspace: str) -> Iterator[Change]:
    for tag in call.tags:
        yield from _tag("Writing", tag.key, call.name, workspace)


def _tag(verb: str, key: str, model: str, workspace: str) -> Iterator[Change]:
    if is_our_tag(key):
        what = f"{verb} the tag {visible_name(key)} by hand"
        yield Change(Kind.TAG, what, workspace, model, None, None, USE_THE_CALLS)


# By the name of the message that the handler reads.
_CHANGES: Final[dict[str, Callable[[Any, Targets, str], Iterator[Change]]]] = {
    "TransitionModelVersionStage": _transition,
    "SetRegisteredModelAlias": _set_alias,
    "DeleteRegisteredModelAlias": _delete_alias,
    "DeleteModelVersion": _no_change,
    "SetModelVersionTag": _set_tag,
    "DeleteModelVersionTag": _delete_tag,
    "CreateModelVersion": _create_version,
}
