"""Databricks' JSON: how a call is read, and how it is answered."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.utils.proto_json_utils import message_to_json

from reconciler.domain.request import Request
from reconciler.domain.tag_format import DECISION_PREFIX, decision_tag
from reconciler.domain.target import Target
from reconciler.domain.text import quoted
from reconciler.domain.times import to_millis
from reconciler.mlflow_app.errors import invalid, missing

COMMENT_LIMIT = 65_535
_VERSION = re.compile(r"[1-9][0-9]{0,9}")
_COUNT = re.compile(r"[1-9][0-9]{0,4}")
_NUMBER = re.compile(r"[0-9]{1,18}")
# The column is a 32-bit integer in every database.
_LARGEST_VERSION = 2**31 - 1
# The longest tag key that MLflow accepts; an alias follows the longer of our two prefixes.
_LONGEST_KEY = 250
_LONGEST_ALIAS = _LONGEST_KEY - len(f"{DECISION_PREFIX}alias.")
PAGE, LARGEST_PAGE = 1_000, 10_000

CANCEL, APPROVE, REJECT = "CANCEL_TRANSITION_REQUEST", "APPROVE_TRANSITION_REQUEST", "REJECT_TRANSITION_REQUEST"


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of a call: from the body, or from the query string if there is no body."""

    arguments: Mapping[str, Any]
    targets: Sequence[Target] = ()
    models: Sequence[str] = ()
    decisions: Sequence[str] = ()

    def text(self, name: str) -> str:
        value = self.optional(name)
        if value is None:
            raise invalid(f"Missing value for required parameter '{name}'.")
        return value

    def optional(self, name: str) -> str | None:
        value = self.arguments.get(name)
        if value is None:
            return None
        if isinstance(value, str) and not is_text(value):
            raise invalid(f"Invalid value for parameter '{name}': it contains a NUL or an unpaired surrogate.")
        # Some clients send a version as a number.
        if isinstance(value, int) and not isinstance(value, bool) and name == "version":
            value = str(value)
        if not isinstance(value, str) or not value:
            raise invalid(f"Invalid value for parameter '{name}': it must be a non-empty string.")
        return value

    def flag(self, name: str) -> bool:
        value = self.arguments.get(name, False)
        if isinstance(value, str) and value.lower() in {"true", "false"}:
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise invalid(f"Invalid value for parameter '{name}': it must be true or false.")
        return value

    @property
    def model(self) -> str:
        return self.text("name")

    @property
    def version(self) -> str:
        version = self.text("version")
        if not _VERSION.fullmatch(version):
            raise invalid("Invalid value for parameter 'version': it must be a number in digits, such as 7.")
        if int(version) > _LARGEST_VERSION:
            raise missing(f"There is no version {version} of {quoted(self.model)}.")
        return version

    @property
    def target(self) -> Target:
        return parse_target(self.text("stage"))

    @property
    def comment(self) -> str:
        comment = self.optional("comment") or ""
        if len(comment) > COMMENT_LIMIT:
            raise invalid(f"Invalid value for parameter 'comment': it may have at most {COMMENT_LIMIT} characters.")
        return comment

    @property
    def max_results(self) -> int:
        text = str(self.arguments.get("max_results", PAGE))
        if not _COUNT.fullmatch(text) or int(text) > LARGEST_PAGE:
            raise invalid(f"Invalid value for parameter 'max_results': it must be a number from 1 to {LARGEST_PAGE}.")
        return int(text)

    @property
    def history_after(self) -> int | None:
        """Behind which number of the history rows are asked for; None: they are not."""
        given = self.arguments.get("history_after")
        if given is None:
            return None
        if not _NUMBER.fullmatch(str(given)):
            raise invalid("Invalid value for parameter 'history_after': it must be a number of the history, or 0.")
        return int(given)

    @property
    def after(self) -> tuple[str, int, str] | None:
        token = self.optional("page_token") if self.arguments.get("page_token") else None
        return read_token(token) if token else None


def parse_target(text: str) -> Target:
    try:
        target = Target.parse(text)
    except ValueError as error:
        raise invalid(f"Invalid value for parameter 'stage': {error}.") from None
    if len(decision_tag(target)) > _LONGEST_KEY:
        raise invalid(f"Invalid value for parameter 'stage': an alias may have at most {_LONGEST_ALIAS} characters.")
    return target


def is_text(value: object) -> bool:
    """Whether a value is text that every database accepts: without NUL and unpaired surrogates."""
    return isinstance(value, str) and not any(
        character == "\0" or "\ud800" <= character <= "\udfff" for character in value
    )


def page_token(model: str, version: str, key: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([model, int(version), key]).encode()).decode()


def read_token(token: str) -> tuple[str, int, str]:
    try:
        model, version, key = json.loads(base64.urlsafe_b64decode(token.encode()))
        if not (isinstance(version, int) and 0 <= version <= _LARGEST_VERSION and is_text(model) and is_text(key)):
            raise ValueError(token)
        return model, version, key
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise invalid(
            "Invalid value for parameter 'page_token': use the next_page_token of the previous page."
        ) from None


# --- answers -------------------------------------------------------------------------------------------------


def transition_request(request: Request, stamped: bool, actions: Sequence[str]) -> dict[str, Any]:
    """Databricks' TransitionRequest. A tag written by hand has no time of its own, and gets none."""
    shown: dict[str, Any] = {"activity_type": "REQUESTED_TRANSITION", "to_stage": str(request.target)}
    shown["user_id"] = request.requester.name
    if stamped:
        shown["creation_timestamp"] = to_millis(request.requested_at)
    if request.comment:
        shown["comment"] = request.comment
    if request.is_prompt:
        shown["is_prompt"] = True
    return shown | {"available_actions": list(actions)}


def listed(request: Request, stamped: bool, actions: Sequence[str], from_stage: str) -> dict[str, Any]:
    """The Activity that `list` returns, with our fields beyond Databricks'."""
    shown = transition_request(request, stamped, actions)
    return shown | {
        "id": request.id,
        "name": request.model,
        "version": request.version,
        "from_stage": from_stage,
        "requester_assurance": str(request.requester.assurance),
    }


def activity(kind: str, request: Request, by: str, comment: str, at: int, from_stage: str) -> dict[str, Any]:
    """What became of a request: APPROVED_REQUEST, REJECTED_REQUEST or CANCELLED_REQUEST."""
    shown = {
        "id": request.id,
        "activity_type": kind,
        "user_id": by,
        "creation_timestamp": at,
        "last_updated_timestamp": at,
        "from_stage": from_stage,
        "to_stage": str(request.target),
    }
    return shown | ({"comment": comment} if comment else {})


def told(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the history, in the words of an Activity where it has one."""
    return {
        "number": row["number"],
        "what": row["what"],
        "name": row["model"],
        "version": "" if row["version"] is None else str(row["version"]),
        "to_stage": row["target"],
        "id": row["request_id"],
        "user_id": row["decider"],
        "user_assurance": row["assurance"],
        "comment": row["sentence"],
        "creation_timestamp": row["at_ms"],
        "decision_id": row["decision_id"],
    }


def version_data(version: ModelVersion) -> dict[str, Any]:
    """A model version as MLflow's own calls show it."""
    data: dict[str, Any] = json.loads(message_to_json(version.to_proto()))
    return data


def model_data(model: RegisteredModel) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(message_to_json(model.to_proto()))
    return data
