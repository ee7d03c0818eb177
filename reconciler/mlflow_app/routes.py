"""The routes: each reads its call, calls one method, and answers with JSON."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from importlib import resources
from typing import Any

from flask import Flask, Response, request
from mlflow.protos.model_registry_pb2 import TransitionModelVersionStage
from mlflow.server import handlers

from reconciler.domain.target import STAGES
from reconciler.domain.text import quoted
from reconciler.mlflow_app import wire
from reconciler.mlflow_app.browser import require_own_page
from reconciler.mlflow_app.carrying_out import write_direct_move
from reconciler.mlflow_app.errors import denied, invalid, unauthenticated
from reconciler.mlflow_app.governed import Governed
from reconciler.mlflow_app.guard import Guard
from reconciler.mlflow_app.identity import Identity, Seal
from reconciler.mlflow_app.login import Caller, Level
from reconciler.mlflow_app.options import Options
from reconciler.mlflow_app.reading import read_body, read_query, read_query_or_body
from reconciler.mlflow_app.requests import TransitionRequests
from reconciler.mlflow_app.store import Registry, registry_store
from reconciler.mlflow_app.wire import Call

View = Callable[[Call, Caller], dict[str, Any]]


class Routes:
    """The views of one server."""

    def __init__(self, options: Options, identity: Identity, seal: Seal, guard: Guard) -> None:
        self._options = options
        self._identity = identity
        self._seal = seal
        self._guard = guard

    def add_to(self, app: Flask) -> list[tuple[str, str]]:
        """Adds every route under /api and /ajax-api; returns (path, method) of each."""
        table: list[tuple[str, str, str, View]] = [
            ("POST", "transition-requests/create", "create", self._create),
            ("GET", "transition-requests/list", "list", self._list),
            ("POST", "transition-requests/approve", "approve", self._approve),
            ("POST", "transition-requests/reject", "reject", self._reject),
            ("DELETE", "transition-requests/delete", "delete", self._delete),
            ("GET", "databricks/registered-models/get", "get_model", self._get_model),
            ("POST", "databricks/model-versions/transition-stage", "transition_stage", self._transition_stage),
        ]
        added = []
        for method, path, name, view in table:
            answering = self._answering(method, name, view)
            for rule in handlers._get_paths(f"/mlflow/{path}"):
                app.add_url_rule(rule, f"transition_requests_{name}", answering, methods=[method])
                added.append((rule, method))
        page = handlers._add_static_prefix("/transition-requests")
        app.add_url_rule(page, "transition_requests_page", show_page, methods=["GET"])
        return [*added, (page, "GET")]

    def _answering(self, method: str, name: str, view: View) -> Callable[[], Response]:
        def answer() -> Response:
            caller = self._identity.caller()
            if self._identity.is_known and not caller.name:
                raise unauthenticated()
            return _json(view(self._call(method, name), caller))

        caught: Callable[[], Response] = handlers.catch_mlflow_exception(answer)
        return caught

    def _call(self, method: str, name: str) -> Call:
        if method == "GET":
            return read_query(request)
        require_own_page(request, self._options.public_origin)
        return read_query_or_body(request, name) if method == "DELETE" else read_body(request, name)

    def _requests(self) -> TransitionRequests:
        store = registry_store()
        governed = Governed(store.engine)
        return TransitionRequests(Registry(store), self._identity, self._options, self._seal, governed)

    # --- views -----------------------------------------------------------------------------------------------

    def _create(self, call: Call, caller: Caller) -> dict[str, Any]:
        return self._requests().create(call, caller)

    def _list(self, call: Call, caller: Caller) -> dict[str, Any]:
        listed = self._requests().list_open(call, caller)
        return listed | {"protected_tags": self._protected_tags()} if call.flag("protected_tags") else listed

    def _protected_tags(self) -> dict[str, Any]:
        """What a policy may rest on, and how far: for `mlflow-reconciler check`."""
        return {
            "keys": sorted(self._options.protected_tags),
            "enforced": not self._options.observe,
            "approvers_named": self._options.names_approvers,
        }

    def _approve(self, call: Call, caller: Caller) -> dict[str, Any]:
        return self._requests().approve(call, caller)

    def _reject(self, call: Call, caller: Caller) -> dict[str, Any]:
        return self._requests().reject(call, caller)

    def _delete(self, call: Call, caller: Caller) -> dict[str, Any]:
        return self._requests().delete(call, caller)

    def _get_model(self, call: Call, caller: Caller) -> dict[str, Any]:
        """Databricks' registered model: MLflow's, and what the caller may do with it."""
        level = self._identity.level(caller, call.model)
        if level < Level.READ:
            raise denied(f"Permission denied: reading model {quoted(call.model)}.")
        model = wire.model_data(registry_store().get_registered_model(call.model))
        level_name = _LEVELS[level]
        # A level that decides belongs to who may decide: where approvers are named, MANAGE alone is not enough.
        if self._identity.may_approve(caller, call.model):
            level_name = "CAN_MANAGE" if level is Level.MANAGE else "CAN_MANAGE_PRODUCTION_VERSIONS"
        return {"registered_model_databricks": model | {"id": call.model, "permission_level": level_name}}

    def _transition_stage(self, call: Call, caller: Caller) -> dict[str, Any]:
        """A direct transition with a comment; to and from protected stages for administrators only."""
        model, version, target, comment = call.model, call.version, call.target, call.comment
        if self._identity.level(caller, model) < Level.EDIT:
            raise denied(f"Permission denied: changing model {quoted(model)}.")
        if not target.is_stage:
            raise invalid(f"Invalid value for parameter 'stage': it must be one of {', '.join(STAGES)}.")
        archive = call.flag("archive_existing_versions") and target.may_archive
        self._guard.check(
            TransitionModelVersionStage(
                name=model, version=version, stage=target.name, archive_existing_versions=archive
            )
        )
        registry = Registry(registry_store())
        with registry.transaction(model) as within:
            moved = within.mlflow.transition_model_version_stage(model, version, target.name, archive)
            if comment:
                write_direct_move(within, model, version, target, caller, comment)
            answer = wire.version_data(moved)
        answer |= {"open_requests": self._requests().open_on(model, version, caller)}
        return {"model_version_databricks": answer}


_LEVELS = {Level.READ: "CAN_READ", Level.EDIT: "CAN_EDIT", Level.MANAGE: "CAN_EDIT"}


def show_page() -> Response:
    """A page to file requests and see open ones. It contains no data itself, and makes the same calls as clients."""
    nonce = secrets.token_urlsafe(16)
    html = resources.files("reconciler.mlflow_app").joinpath("page.html").read_text(encoding="utf-8")
    html = html.replace("@NONCE@", nonce).replace("@PREFIX@", handlers._add_static_prefix(""))
    own = f"'nonce-{nonce}'"
    policy = f"default-src 'none'; script-src {own}; style-src {own}; connect-src 'self'; frame-ancestors 'none'"
    return Response(html, mimetype="text/html", headers={"Content-Security-Policy": policy})


def _json(data: dict[str, Any]) -> Response:
    return Response(json.dumps(data), mimetype="application/json")
