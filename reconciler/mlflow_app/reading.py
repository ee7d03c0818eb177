"""Reads the app's own calls. Refuses what is not exactly as documented."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from flask import Request

from reconciler.domain.decision import DECISION_ID
from reconciler.domain.text import quoted
from reconciler.mlflow_app import wire
from reconciler.mlflow_app.browser import is_daemon
from reconciler.mlflow_app.errors import invalid
from reconciler.mlflow_app.wire import Call

_ID: Final = re.compile(DECISION_ID)
_MOST_DECISIONS: Final = 100
_PLACE: Final = frozenset({"name", "version", "stage", "comment"})
FIELDS: Final = {
    "create": _PLACE | {"requester"},
    "approve": _PLACE | {"archive_existing_versions", "id"},
    "reject": _PLACE | {"id"},
    "delete": _PLACE | {"creator", "id"},
    "transition_stage": _PLACE | {"archive_existing_versions"},
}


def read_query(request: Request) -> Call:
    """The call of a GET. `target`, `model` and `decision` may be repeated; `governed` is read from daemons only."""
    if not all(wire.is_text(value) for value in (*request.args.getlist("model"), *request.args.getlist("target"))):
        raise invalid("Invalid value for parameter 'model' or 'target': it must be valid text.")
    arguments = request.args.to_dict()
    if not is_daemon(request):
        arguments.pop("governed", None)
    targets = [wire.parse_target(text) for text in request.args.getlist("target")]
    decisions = request.args.getlist("decision")
    if len(decisions) > _MOST_DECISIONS or not all(_ID.fullmatch(decision) for decision in decisions):
        raise invalid(f"Invalid value for parameter 'decision': give at most {_MOST_DECISIONS} ids of decisions.")
    return Call(arguments, targets, request.args.getlist("model"), decisions)


def read_body(request: Request, name: str) -> Call:
    """The call of a POST: one JSON object with the fields of this call, and nothing else.

    A page of another site can send forms, plain text and queries without asking the server first, but not JSON.
    """
    if request.args:
        raise invalid("Send the arguments as JSON in the body, not in the query string.")
    if request.mimetype != "application/json":
        raise invalid("Send the arguments as JSON, with Content-Type: application/json.")
    return Call(_known(_object(request.get_data(cache=True)), name))


def read_query_or_body(request: Request, name: str) -> Call:
    """The call of a DELETE: Databricks' clients send a query, its own pages a body."""
    if not request.get_data(cache=True):
        return Call(_known(_each_once(request), name))
    return read_body(request, name)


def _each_once(request: Request) -> dict[str, Any]:
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    if repeated:
        raise invalid(f"Duplicate parameter {quoted(repeated[0])} in the query: send it once.")
    return dict(request.args.to_dict())


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise invalid("The body is not a JSON object.")
    return data


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise invalid("Duplicate field in the body: send each field once.")
    return dict(pairs)


def _known(arguments: dict[str, Any], name: str) -> dict[str, Any]:
    unknown = sorted(set(arguments) - FIELDS[name])
    if unknown:
        raise invalid(f"Unknown field {quoted(unknown[0])}: this call takes {', '.join(sorted(FIELDS[name]))}.")
    return arguments
