"""The routes: each reads its call, asks one method, and answers JSON."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from importlib import resources
from typing import Any

from flask import Flask, Response, request
from mlflow.server import handlers

from reconciler.domain.target import STAGES
from reconciler.mlflow_app import wire
from reconciler.mlflow_app.errors import denied, invalid
from reconciler.mlflow_app.identity import Caller, Identity, Level, Seal
from reconciler.mlflow_app.options import Options
from reconciler.mlflow_app.requests import TransitionRequests, tell_direct
from reconciler.mlflow_app.store import Registry, registry_store
from reconciler.mlflow_app.wire import Call

View = Callable[[Call, Caller], dict[str, Any]]


class Routes:
    """The views of one server."""

    def __init__(self, options: Options, identity: Identity, seal: Seal) -> None:
        self._options = options
        self._identity = identity
        self._seal = seal

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
            answering = self._answering(view)
            for rule in handlers._get_paths(f"/mlflow/{path}"):
                app.add_url_rule(rule, f"transition_requests_{name}", answering, methods=[method])
                added.append((rule, method))
        page = handlers._add_static_prefix("/transition-requests")
        app.add_url_rule(page, "transition_requests_page", show_page, methods=["GET"])
        return [*added, (page, "GET")]

    def _answering(self, view: View) -> Callable[[], Response]:
        def answer() -> Response:
            return _json(view(read_call(), self._identity.caller()))

        caught: Callable[[], Response] = handlers.catch_mlflow_exception(answer)
        return caught

    def _requests(self) -> TransitionRequests:
        return TransitionRequests(Registry(registry_store()), self._identity, self._options, self._seal)

    # --- views -----------------------------------------------------------------------------------------------

    def _create(self, call: Call, caller: Caller) -> dict[str, Any]:
        return self._requests().create(call, caller)

    def _list(self, call: Call, caller: Caller) -> dict[str, Any]:
        return self._requests().list_open(call, caller)

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
            raise denied(f"Permission denied: reading model {call.model!r}.")
        shown = wire.model_data(registry_store().get_registered_model(call.model))
        level_name = _LEVELS[level]
        if level_name != "CAN_MANAGE" and self._identity.may_approve(caller, call.model):
            level_name = "CAN_MANAGE_PRODUCTION_VERSIONS"
        return {"registered_model_databricks": shown | {"id": call.model, "permission_level": level_name}}

    def _transition_stage(self, call: Call, caller: Caller) -> dict[str, Any]:
        """A direct transition with a comment. The guard has refused protected stages by now."""
        model, version, target, comment = call.model, call.version, call.target, call.comment
        if self._identity.level(caller, model) < Level.EDIT:
            raise denied(f"Permission denied: changing model {model!r}.")
        if not target.is_stage:
            raise invalid(f"Invalid value for parameter 'stage': one of {', '.join(STAGES)} belongs here.")
        archive = call.flag("archive_existing_versions") and target.name in {"Staging", "Production"}
        registry = Registry(registry_store())
        with registry.transaction() as within:
            moved = within.mlflow.transition_model_version_stage(model, version, target.name, archive)
            if comment:
                tell_direct(within, model, version, target, caller, comment)
            shown = wire.version_data(moved)
        shown |= {"open_requests": self._requests().open_on(model, version, caller)}
        return {"model_version_databricks": shown}


_LEVELS = {Level.READ: "CAN_READ", Level.EDIT: "CAN_EDIT", Level.MANAGE: "CAN_MANAGE"}


def read_call() -> Call:
    """Arguments from the query string for GET, from JSON where there is a body, from the query string else.

    `target` and `model` may be repeated in the query of a list.
    """
    query = request.args
    if request.method == "GET":
        targets = [wire.parse_target(text) for text in query.getlist("target")]
        return Call(query.to_dict(), targets, query.getlist("model"))
    if not request.get_data(cache=True):
        return Call(query.to_dict())
    data = request.get_json(force=True, silent=True)
    if not isinstance(data, dict):
        raise invalid("The body is not a JSON object.")
    return Call(data | query.to_dict() if request.method == "DELETE" else data)


def show_page() -> Response:
    """A page on which people ask and see what is open; it shows nothing by itself and calls what clients call."""
    nonce = secrets.token_urlsafe(16)
    html = resources.files("reconciler.mlflow_app").joinpath("page.html").read_text(encoding="utf-8")
    html = html.replace("@NONCE@", nonce).replace("@PREFIX@", handlers._add_static_prefix(""))
    own = f"'nonce-{nonce}'"
    policy = f"default-src 'none'; script-src {own}; style-src {own}; connect-src 'self'; frame-ancestors 'none'"
    return Response(html, mimetype="text/html", headers={"Content-Security-Policy": policy})


def _json(data: dict[str, Any]) -> Response:
    return Response(json.dumps(data), mimetype="application/json")
