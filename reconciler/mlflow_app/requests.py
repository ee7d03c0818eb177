"""The five calls: create, list, approve, reject, delete. This module alone decides who may do what."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from reconciler.domain.request import NOBODY, Assurance, Request, Requester
from reconciler.domain.tag_format import read_request, request_tag, request_value, target_of_tag
from reconciler.domain.target import Target
from reconciler.domain.text import quoted, visible_name
from reconciler.domain.times import in_millis, to_millis
from reconciler.mlflow_app import wire
from reconciler.mlflow_app.carrying_out import LONGEST_TAG, move, sentence_of, write_decision
from reconciler.mlflow_app.errors import Answered, denied, exists, invalid, missing
from reconciler.mlflow_app.governed import Covers, Governed, warning_of_no_rule
from reconciler.mlflow_app.held import unknown_to
from reconciler.mlflow_app.history import What, by_caller
from reconciler.mlflow_app.identity import Identity, Seal, seal_in
from reconciler.mlflow_app.login import Caller, Level
from reconciler.mlflow_app.options import Options
from reconciler.mlflow_app.store import Found, Registry
from reconciler.mlflow_app.wire import Call

# Reading a version reads its requests: a caller with READ must not make that slow for everyone.
_MOST_OPEN = 20


@dataclass(frozen=True, slots=True)
class Open:
    """An open request, its tag, and whether it has an id and time of its own."""

    request: Request
    stamped: bool
    found: Found


class TransitionRequests:
    """The calls of one server, for one caller at a time."""

    def __init__(
        self, registry: Registry, identity: Identity, options: Options, seal: Seal, governed: Governed
    ) -> None:
        self._registry = registry
        self._governed = governed
        self._identity = identity
        self._options = options
        self._seal = seal

    # --- the calls -------------------------------------------------------------------------------------------

    def create(self, call: Call, caller: Caller) -> dict[str, Any]:
        model, version, target, comment = call.model, call.version, call.target, call.comment
        is_prompt = self._is_prompt(model)
        self._require(self._identity.level(caller, model, is_prompt) >= Level.READ, f"reading {quoted(model)}")
        if is_prompt and target.is_stage:
            raise invalid(
                f"{quoted(model)} is a prompt, and prompts have no stages: request an alias, such as @champion."
            )
        stage = self._stage_of(model, version)
        requester = _requester(call.optional("requester"), caller)
        now = datetime.now(UTC)
        request = Request(
            "", self._registry.workspace, model, version, target, requester, in_millis(now), comment,
            str(uuid.uuid4()), "", is_prompt,
        )  # fmt: skip
        value = self._value(request)
        if len(value.encode()) > LONGEST_TAG:
            raise invalid("Invalid value for parameter 'comment': it is too long for a tag of a version.")
        if len(self._registry.find(models=[model], version=version, limit=_MOST_OPEN)) == _MOST_OPEN:
            raise exists(f"Version {version} of {quoted(model)} already has the maximum of {_MOST_OPEN} open requests.")
        with self._registry.transaction(model) as within:
            filed = within.add_tag(model, version, request_tag(target), value)
            if filed:
                within.tell(What.FILED, request, requester, comment)
        if not filed:
            raise self._open_already(model, version, target)
        actions = self._actions(request, caller)
        answer = wire.transition_request(request, True, actions) | {"id": request.id, "from_stage": stage}
        warning = None if self._covered(request) is not False else warning_of_no_rule(request)
        return {"request": answer} | ({"warning": warning} if warning else {})

    def list_open(self, call: Call, caller: Caller) -> dict[str, Any]:
        if call.arguments.get("name") is not None or call.arguments.get("version") is not None:
            return self._list_version(call, caller)
        if isinstance(governed := call.arguments.get("governed"), str):
            self._governed.hear(self._registry.workspace, caller.name, governed)
        limit = call.max_results
        readable = self._readable(call, caller, limit + 1)
        page = readable[:limit]
        answer: dict[str, Any] = {"requests": self._listed(page, caller, call.flag("expand_model_version"))}
        if call.decisions:
            answer["decided"] = self._told(self._registry.told_of(call.decisions), caller)
        if call.history_after is not None:
            part = self._registry.told_after(call.history_after)
            answer |= {"history": self._told(part.rows, caller), "history_to": part.read_to}
        if isinstance(known := call.arguments.get("holders"), str):
            held = self._registry.held(call.targets, of_prompts=call.flag("holders_of_prompts"))
            answer["holders"] = unknown_to(known, held, lambda models: self._readable_among(models, caller))
        if len(readable) > limit:
            last = page[-1]
            answer["next_page_token"] = wire.page_token(last.model, last.version, last.key)
        return answer

    def _told(self, rows: Sequence[Mapping[str, Any]], caller: Caller) -> list[dict[str, Any]]:
        """Rows of the history, as far as the caller may read their models."""
        readable = self._readable_among({row["model"] for row in rows}, caller)
        return [wire.told(row) for row in rows if row["model"] in readable]

    def _readable_among(self, models: Set[str], caller: Caller) -> Set[str]:
        return {model for model, level in self._levels(models, caller).items() if level >= Level.READ}

    def _readable(self, call: Call, caller: Caller, wanted: int) -> list[Found]:
        """Up to `wanted` requests that the caller may read: a page and its token reveal no others."""
        readable: list[Found] = []
        after = call.after
        while True:
            found = self._registry.find(models=call.models, targets=call.targets, after=after, limit=wanted)
            levels = self._levels({tag.model for tag in found}, caller)
            readable += [tag for tag in found if levels[tag.model] >= Level.READ]
            if len(found) < wanted or len(readable) >= wanted:
                return readable[:wanted]
            after = found[-1].model, int(found[-1].version), found[-1].key

    def _levels(self, models: Set[str], caller: Caller) -> dict[str, Level]:
        prompts = self._registry.prompts(models) if models else frozenset()
        return {model: self._identity.level(caller, model, model in prompts) for model in models}

    def approve(self, call: Call, caller: Caller) -> dict[str, Any]:
        archive = call.flag("archive_existing_versions")
        target = call.target
        if archive and not target.may_archive:
            raise invalid("archive_existing_versions is for Staging and Production only.")
        pending = self._decidable(call, caller)
        own = self._identity.approves_own(pending.request.requester.name, caller)
        if own and not self._options.self_approval:
            raise denied("You cannot approve your own request: ask another approver.")
        return self._resolve(pending, call, caller, "APPROVED_REQUEST", archive)

    def reject(self, call: Call, caller: Caller) -> dict[str, Any]:
        return self._resolve(self._decidable(call, caller), call, caller, "REJECTED_REQUEST")

    def delete(self, call: Call, caller: Caller) -> dict[str, Any]:
        level = self._identity.level(caller, call.model, self._is_prompt(call.model))
        self._require(level >= Level.READ, f"reading {quoted(call.model)}")
        pending = self._open(call)
        # Databricks' users pass `request.user_id or ""`, which is empty without authentication.
        creator = call.arguments.get("creator") and call.optional("creator")
        if creator and not self._identity.is_own(pending.request.requester.name, Caller(creator)):
            raise missing(f"No open request of {quoted(creator)} for {pending.request.target}.")
        own = self._identity.is_own(pending.request.requester.name, caller)
        may = own or self._level(caller, pending.request) >= Level.MANAGE
        self._require(may, "withdrawing another user's request")
        return self._resolve(pending, call, caller, "CANCELLED_REQUEST")

    # --- listing ---------------------------------------------------------------------------------------------

    def _list_version(self, call: Call, caller: Caller) -> dict[str, Any]:
        model, version = call.model, call.version
        level = self._identity.level(caller, model, self._is_prompt(model))
        self._require(level >= Level.READ, f"reading {quoted(model)}")
        self._stage_of(model, version)
        found = self._registry.find(models=[model], version=version, targets=call.targets)
        return {"requests": self._listed(found, caller, call.flag("expand_model_version"))}

    def _listed(self, found: Sequence[Found], caller: Caller, expand: bool) -> list[dict[str, Any]]:
        models = {tag.model for tag in found}
        prompts = self._registry.prompts(models) if models else frozenset()
        versions = self._registry.versions(found) if expand and found else {}
        covers = self._covers() if found else None
        rows = []
        for tag in found:
            if (pending := self._read(tag, tag.model in prompts)) is None:
                continue
            actions = self._actions(pending.request, caller)
            row = wire.listed(pending.request, pending.stamped, actions, tag.stage)
            if covers is not None and covers(pending.request) is False:
                row["covered"] = False
            if (version := versions.get((tag.model, tag.version))) is not None:
                row["model_version"] = wire.version_data(version)
            rows.append(row)
        return rows

    def _actions(self, request: Request, caller: Caller) -> list[str]:
        actions = []
        if self._identity.is_own(request.requester.name, caller) or self._level(caller, request) >= Level.MANAGE:
            actions.append(wire.CANCEL)
        if self._identity.may_approve(caller, request.model, request.is_prompt):
            own = self._identity.approves_own(request.requester.name, caller)
            if not own or self._options.self_approval:
                actions.append(wire.APPROVE)
            actions.append(wire.REJECT)
        return actions

    # --- one request -----------------------------------------------------------------------------------------

    def _open(self, call: Call) -> Open:
        # A mistake in the comment is told like one in the others, before anything is looked for.
        model, version, target, _ = call.model, call.version, call.target, call.comment
        self._stage_of(model, version)
        found = self._registry.find(models=[model], version=version, targets=[target])
        pending = self._read(found[0], self._is_prompt(model)) if found else None
        if pending is None:
            raise _nothing_open(model, version, target)
        # Beyond Databricks: a call that names the id of the request that was read decides that request and no other.
        if (id := call.optional("id")) is not None and id != pending.request.id:
            raise _nothing_open(model, version, target, id)
        return pending

    def _decidable(self, call: Call, caller: Caller) -> Open:
        may = self._identity.may_approve(caller, call.model, self._is_prompt(call.model))
        needed = "an approver" if self._options.names_approvers else "MANAGE on the model"
        self._require(may, f"deciding requests for {quoted(call.model)} requires {needed}")
        return self._open(call)

    def _resolve(
        self, pending: Open, call: Call, caller: Caller, kind: str, archive_existing: bool = False
    ) -> dict[str, Any]:
        """Remove the request first: of two calls that resolve it at once, one finds it gone. All or nothing."""
        request, now = pending.request, datetime.now(UTC)
        with self._registry.transaction(request.model, moves=True) as within:
            if not within.take_tag(pending.found):
                raise _nothing_open(request.model, request.version, request.target)
            if kind == "APPROVED_REQUEST":
                move(within, request.model, request.version, request.target, archive_existing)
            if kind != "CANCELLED_REQUEST":
                sentence = sentence_of(kind, now, caller, request, call.comment)
                write_decision(within, request.model, request.version, request.target, sentence)
            version = wire.version_data(within.mlflow.get_model_version(request.model, request.version))
            within.tell(What.of(kind), request, by_caller(caller.name), call.comment)
        at = to_millis(now)
        done = wire.activity(kind, request, caller.name, call.comment, at, pending.found.stage)
        return {"activity": done, "model_version": version}

    def open_on(self, model: str, version: str, caller: Caller) -> list[dict[str, Any]]:
        """`open_requests` of Databricks' ModelVersionDatabricks."""
        return self._listed(self._registry.find(models=[model], version=version), caller, expand=False)

    # --- inside ----------------------------------------------------------------------------------------------

    def _read(self, found: Found, is_prompt: bool) -> Open | None:
        """None for a tag whose key names no target, such as an alias that MLflow would not accept."""
        target = target_of_tag(found.key)
        if target is None:
            return None
        request, stamped = read_request("", self._registry.workspace, found.model, found.version, target, found.value)
        request = replace(request, is_prompt=is_prompt)
        if stamped and self._seal.holds(request, seal_in(found.value)):
            request = replace(request, requester=Requester(request.requester.name, Assurance.AUTHENTICATED))
        return Open(request, stamped, found)

    def _value(self, request: Request) -> str:
        seal = self._seal.of(request) if request.requester.assurance is Assurance.AUTHENTICATED else None
        return request_value(request, **({"seal": seal} if seal else {}))

    def _stage_of(self, model: str, version: str) -> str:
        """Raises MlflowException, RESOURCE_DOES_NOT_EXIST, if there is no such version."""
        return str(self._registry.mlflow.get_model_version(model, version).current_stage)

    def _is_prompt(self, model: str) -> bool:
        return model in self._registry.prompts([model])

    def _level(self, caller: Caller, request: Request) -> Level:
        return self._identity.level(caller, request.model, request.is_prompt)

    def _open_already(self, model: str, version: str, target: Target) -> Answered:
        found = self._registry.find(models=[model], version=version, targets=[target])
        pending = self._read(found[0], is_prompt=False) if found else None
        if pending is None:
            return exists(f"Another request for {target} was open a moment ago: list the requests, then try again.")
        requester = pending.request.requester.known_as
        named = f"request {visible_name(pending.request.id)} of {requester}"
        return exists(
            f"{named} for version {version} of {quoted(model)} to {target} is already open: withdraw it first."
        )

    def _covered(self, request: Request) -> bool | None:
        return self._covers()(request)

    def _covers(self) -> Covers:
        return self._governed.covers(self._registry.workspace, self._identity.user_may_approve)

    def _require(self, allowed: bool, what: str) -> None:
        if not allowed:
            raise denied(f"Permission denied: {what}.")


def _requester(claimed: str | None, caller: Caller) -> Requester:
    """The authenticated user, whatever the call claims; without authentication, what it claims."""
    if caller.name:
        return Requester(caller.name, Assurance.AUTHENTICATED)
    return Requester(claimed, Assurance.ASSERTED) if claimed else NOBODY


def _nothing_open(model: str, version: str, target: Target, id: str | None = None) -> Answered:
    which = f"request {quoted(id)}" if id else "request"
    return missing(f"No open {which} for version {version} of {quoted(model)} to {target}.")
