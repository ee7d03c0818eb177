"""Keeps protected targets from direct changes, whichever of MLflow's routes they come by.

MLflow's own parser reads the call, so that the guard sees what the handler will do. Each of MLflow's registry
handlers is either named here or known to be harmless; one that is neither is refused.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import g, request
from mlflow.exceptions import MlflowException
from mlflow.protos import model_registry_pb2 as proto
from mlflow.server import handlers
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlRegisteredModelAlias
from sqlalchemy import bindparam, select

from reconciler.domain.tag_format import DECISION_PREFIX, REQUEST_PREFIX
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.domain.times import iso
from reconciler.mlflow_app.errors import denied
from reconciler.mlflow_app.identity import Identity
from reconciler.mlflow_app.options import Options
from reconciler.mlflow_app.requests import tell
from reconciler.mlflow_app.store import Registry, registry_store

DATABRICKS_TRANSITION = "transition_requests_transition_stage"

# What changes the registry and reaches neither a target nor a request.
HARMLESS = frozenset(
    {
        "_create_registered_model", "_update_registered_model", "_update_model_version",
        "_set_registered_model_tag", "_delete_registered_model_tag", "_get_latest_versions",
    }
)  # fmt: skip

_REGISTRY_PATHS = ("/mlflow/registered-models/", "/mlflow/model-versions/")
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Change:
    """A protected thing that a call would change, and what to do instead.

    `target` None: it is a tag of ours. `version` None: no version is left to tell about it.
    """

    what: str
    target: Target | None
    model: str
    version: str | None
    instead: str


class Guard:
    """Refuses what changes a protected target; lets administrators pass, and notes that they did."""

    def __init__(self, options: Options, identity: Identity) -> None:
        self._options = options
        self._identity = identity

    @handlers.catch_mlflow_exception
    def before(self) -> None:
        """For Flask's `before_request`, after basic-auth's own."""
        g.passed_as_administrator = []
        if request.method in _READS or request.endpoint is None:
            return
        find = _CHANGES.get(request.endpoint)
        if find is None:
            self._refuse_unknown(request.endpoint)
            return
        changes = list(find(self._options.targets))
        if not changes:
            return
        caller = self._identity.caller()
        if not caller.admin:
            raise denied(_refusal(changes[0]))
        g.passed_as_administrator = [(caller, change) for change in changes]

    def _refuse_unknown(self, endpoint: str) -> None:
        if endpoint in HARMLESS or not any(path in request.path for path in _REGISTRY_PATHS):
            return
        if not self._identity.caller().admin:
            sentence = "This call is newer than the transition-requests app, which cannot tell whether it is allowed."
            raise denied(f"{sentence} Upgrade mlflow-reconciler, or ask an administrator.")

    def after(self, response: Any) -> Any:
        """For Flask's `after_request`: what an administrator did without a request is told beside the version."""
        if response.status_code < 400:
            for caller, change in g.get("passed_as_administrator", []):
                if change.version is not None and change.target is not None:
                    said = f"{change.what} {iso(datetime.now(UTC))} by administrator {visible_name(caller.name)}"
                    tell(Registry(registry_store()), change.model, change.version, change.target, f"{said}, directly.")
        return response


def _refusal(change: Change) -> str:
    if change.target is None:
        return f"{change.what} by hand is not allowed: {change.instead}."
    return f"{change.what} directly is not allowed, since {change.target} is protected: {change.instead}."


def _ask(model: str, version: str, target: Target) -> str:
    command = f"mlflow-reconciler request create {shlex.quote(model)} {version} {target}"
    return f"file a transition request (POST api/2.0/mlflow/transition-requests/create, or `{command}`)"


def _first_out(held: Target) -> str:
    if held.is_stage:
        return f"have the version moved out of {held} by a transition request (to Archived, say) first"
    return f"have {held} moved to another version by a transition request first"


_CALLS = "use the transition-requests calls, or `mlflow-reconciler request`"


# --- what a call would change --------------------------------------------------------------------------------

Targets = frozenset[Target]


def _parsed(message: Any) -> Any:
    """The call as its handler will read it; a call that it will refuse anyway changes nothing."""
    try:
        return handlers._get_request_message(message)
    except MlflowException:
        return message


def _stage(name: str) -> Target | None:
    try:
        return Target.parse(name) if name and not name.startswith("@") else None
    except ValueError:
        return None


def _transition(targets: Targets) -> Iterator[Change]:
    call = _parsed(proto.TransitionModelVersionStage())
    into = _stage(call.stage)
    archived = Target.parse("Archived")
    if into is not None and into in targets:
        yield Change(
            f"Moving a version into {into}", into, call.name, call.version, _ask(call.name, call.version, into)
        )
    elif call.archive_existing_versions and archived in targets:
        instead = "leave archive_existing_versions out"
        yield Change("Archiving other versions", archived, call.name, call.version, instead)
    stages = frozenset(target for target in targets if target.is_stage)
    for held in _held_by(call.name, call.version, stages):
        if into is not None and held != into:
            instead = _ask(call.name, call.version, into)
            yield Change(f"Moving a version out of {held}", held, call.name, call.version, instead)


def _set_alias(targets: Targets) -> Iterator[Change]:
    call = _parsed(proto.SetRegisteredModelAlias())
    yield from _alias_change("Setting", call, targets, call.version)


def _delete_alias(targets: Targets) -> Iterator[Change]:
    call = _parsed(proto.DeleteRegisteredModelAlias())
    yield from _alias_change("Deleting", call, targets, _alias_holder(call.name, call.alias))


def _alias_change(verb: str, call: Any, targets: Targets, version: str | None) -> Iterator[Change]:
    # Some databases compare text without case; then @Champion would overwrite @champion.
    for target in targets:
        if not target.is_stage and target.name.casefold() == call.alias.casefold():
            instead = _ask(call.name, version or "VERSION", target) if verb == "Setting" else _first_out(target)
            yield Change(f"{verb} the alias @{call.alias}", target, call.name, version, instead)


def _delete_version(targets: Targets) -> Iterator[Change]:
    call = _parsed(proto.DeleteModelVersion())
    for held in _held_by(call.name, call.version, targets):
        yield Change(f"Deleting the version that holds {held}", held, call.name, None, _first_out(held))


def _delete_model(targets: Targets) -> Iterator[Change]:
    call = _parsed(proto.DeleteRegisteredModel())
    for held in _held_by(call.name, None, targets):
        yield Change(f"Deleting a model with a version that holds {held}", held, call.name, None, _first_out(held))


def _rename_model(targets: Targets) -> Iterator[Change]:
    call = _parsed(proto.RenameRegisteredModel())
    for version, held in _holders(call.name, targets):
        yield Change(
            f"Renaming a model with a version that holds {held}", held, call.new_name, version, _first_out(held)
        )


def _set_tag(targets: Targets) -> Iterator[Change]:
    yield from _tag_change("Writing", _parsed(proto.SetModelVersionTag()))


def _delete_tag(targets: Targets) -> Iterator[Change]:
    yield from _tag_change("Deleting", _parsed(proto.DeleteModelVersionTag()))


def _create_version(targets: Targets) -> Iterator[Change]:
    call = _parsed(proto.CreateModelVersion())
    for tag in call.tags:
        if _is_ours(tag.key):
            yield Change(f"Writing the tag {tag.key}", None, call.name, None, _CALLS)


def _tag_change(verb: str, call: Any) -> Iterator[Change]:
    if _is_ours(call.key):
        yield Change(f"{verb} the tag {call.key}", None, call.name, None, _CALLS)


def _is_ours(key: str) -> bool:
    return key.casefold().startswith((REQUEST_PREFIX, DECISION_PREFIX))


# --- who holds what ------------------------------------------------------------------------------------------


def _held_by(model: str, version: str | None, targets: Targets) -> list[Target]:
    """The protected targets that this version, or any version of the model, holds."""
    wanted = None if version is None else str(int(version)) if version.isdigit() else version
    return [held for number, held in _holders(model, targets) if wanted is None or number == wanted]


# Built once: most calls only pass through here.
_OF_STAGE = select(SqlModelVersion.version, SqlModelVersion.current_stage).where(
    SqlModelVersion.workspace == bindparam("workspace"),
    SqlModelVersion.name == bindparam("model"),
    SqlModelVersion.current_stage.in_(bindparam("held", expanding=True)),
)
_OF_ALIAS = select(SqlRegisteredModelAlias.version, SqlRegisteredModelAlias.alias).where(
    SqlRegisteredModelAlias.workspace == bindparam("workspace"),
    SqlRegisteredModelAlias.name == bindparam("model"),
    SqlRegisteredModelAlias.alias.in_(bindparam("held", expanding=True)),
)


def _holders(model: str, targets: Targets) -> list[tuple[str, Target]]:
    """By version number."""
    store: Any = registry_store()
    where = {"workspace": store._get_active_workspace(), "model": model}
    stages = [target.name for target in targets if target.is_stage]
    aliases = [target.name for target in targets if not target.is_stage]
    held: list[tuple[str, Target]] = []
    with store.engine.connect() as connection:
        if stages:
            rows = connection.execute(_OF_STAGE, {**where, "held": stages})
            held += [(str(version), Target.parse(stage)) for version, stage in rows]
        if aliases:
            rows = connection.execute(_OF_ALIAS, {**where, "held": aliases})
            held += [(str(version), Target.parse(f"@{alias}")) for version, alias in rows]
    return held


def _alias_holder(model: str, name: str) -> str | None:
    found = [number for number, held in _holders(model, frozenset({Target.parse(f"@{name}")}))]
    return found[0] if found else None


_CHANGES: dict[str, Callable[[Targets], Iterator[Change]]] = {
    "_transition_stage": _transition,
    DATABRICKS_TRANSITION: _transition,
    "_set_registered_model_alias": _set_alias,
    "_delete_registered_model_alias": _delete_alias,
    "_delete_model_version": _delete_version,
    "_delete_registered_model": _delete_model,
    "_rename_registered_model": _rename_model,
    "_set_model_version_tag": _set_tag,
    "_delete_model_version_tag": _delete_tag,
    "_create_model_version": _create_version,
}

GUARDED = frozenset(_CHANGES)
