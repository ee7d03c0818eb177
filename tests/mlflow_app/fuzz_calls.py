"""The calls of the fuzz test: deterministic for a seed, for every route of the tables."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote, urlencode

from tests.mlflow_app.fuzz_intents import Intent, intents
from tests.mlflow_app.fuzz_routes import DANGEROUS, Route
from tests.mlflow_app.fuzz_spellings import Form, formed, path_spelled, plainly, spelled
from tests.mlflow_app.fuzz_world import ADMINISTRATOR, APPROVER, EDITOR, MANAGER, READER, USERS, Place, World

NOBODY = ""
# Most calls come from the users with the most rights that are still not allowed to do this.
_IDENTITIES = {EDITOR: 30, MANAGER: 34, READER: 8, NOBODY: 4, APPROVER: 12, ADMINISTRATOR: 12}
_DECIDERS = {APPROVER: 45, MANAGER: 25, EDITOR: 10, READER: 8, ADMINISTRATOR: 8, NOBODY: 4}

_LET_IN = {"requests": (APPROVER, MANAGER), "workspaces": (ADMINISTRATOR, MANAGER)}

# Calls to one route, by family; what is not named gets one.
_CALLS = {"registry": 34, "requests": 36, "artifacts": 20, "workspaces": 26, "origins": 14, "mcp servers": 1}
_FEWER = {
    "_create_registered_model": 6, "_update_registered_model": 6, "_get_latest_versions": 2,
    "_update_model_version": 10,
    "_restore_run": 4, "_restore_experiment": 4, "_update_run": 4, "_update_experiment": 4, "_finalize_logged_model": 4,
    "_abort_multipart_upload_artifact": 4, "_create_presigned_download_url": 4, "_create_workspace_handler": 4,
    "_create_presigned_upload_url": 14, "_update_workspace_handler": 8, "_create_model_version": 20,
    "_set_registered_model_tag": 20, "_delete_registered_model_tag": 12, "transition_requests_reject": 20,
    "transition_requests_approve": 60,
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A call as it goes over the wire; `path` is quoted, with its query string."""

    number: int
    identity: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    family: str
    endpoint: str
    route: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"body": self.body.decode("latin-1")}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Call:
        return cls(**data | {"body": data["body"].encode("latin-1")})

    def shown(self) -> str:
        who = self.identity or "nobody"
        where = self.headers.get("X-MLFLOW-WORKSPACE")
        text = f" {self.body[:400].decode('utf-8', 'backslashreplace')}" if self.body else ""
        kind = self.headers.get("Content-Type", "no content type")
        return f"#{self.number} {who}{f' in {where}' if where else ''}: {self.method} {self.path} [{kind}]{text}"


@dataclass(frozen=True)
class Scene:
    """The setting of a run: its world, whether users log in, whether it has workspaces, and its share of the calls."""

    world: World
    login: bool
    workspaces: bool
    dangerous_only: bool = False
    share: float = 1.0


def make_calls(routes: Sequence[Route], scene: Scene, seed: int) -> list[Call]:
    """The same calls for the same routes, scene and seed, in an order that mixes the families."""
    chance = random.Random(seed)
    planned = [(route, turn) for route in routes for turn in _turns(route, scene)]
    chance.shuffle(planned)
    return [
        _Caller(random.Random(f"{seed}/{number}"), scene, turn).call(number, route)
        for number, (route, turn) in enumerate(planned)
    ]


def _turns(route: Route, scene: Scene) -> list[int | None]:
    """One for each call to a route; of a dangerous one some calls are plain, and take their intents in turn."""
    count = _count(route, scene)
    plain = -(-count // 4) if route.family in DANGEROUS else 0
    return [*range(plain), *[None] * (count - plain)]


def _count(route: Route, scene: Scene) -> int:
    dangerous = route.family in DANGEROUS
    if scene.dangerous_only and not dangerous:
        return 0
    whole = _FEWER.get(route.endpoint, _CALLS.get(route.family, 1))
    if route.family == "workspaces" and not scene.workspaces:
        whole = 2
    return max(1, round(whole * scene.share))


class _Caller:
    """Makes one call: with a turn a plain one by a permitted user, else one in a random spelling."""

    def __init__(self, chance: random.Random, scene: Scene, turn: int | None) -> None:
        self._chance = chance
        self._scene = scene
        self._turn = turn
        self._place = chance.choice(scene.world.places)

    def call(self, number: int, route: Route) -> Call:
        identity = self._identity(route)
        fields, path, arguments, body = self._content(route)
        query, headers, sent = self._formed(route, fields)
        if body:
            headers, sent = {"Content-Type": self._chance.choice(["application/octet-stream", "text/plain", ""])}, body
        whole = "&".join(part for part in (urlencode(arguments), query) if part)
        headers = {name: value for name, value in headers.items() if value} | self._where(identity)
        return Call(
            number, identity, route.method, path + (f"?{whole}" if whole else ""), headers, sent,
            route.family, route.endpoint, route.label,
        )  # fmt: skip

    def _formed(self, route: Route, fields: Intent) -> Form:
        if route.endpoint == "_generate_demo":
            # Without a valid part of the demo it makes all parts, which takes half a minute.
            return "", {"Content-Type": "application/json"}, b'{"features": ["none of them"]}'
        if not fields:
            return "", {}, b""
        return plainly(fields) if self._turn is not None else formed(self._chance, spelled(self._chance, fields))

    def _identity(self, route: Route) -> str:
        if not self._scene.login:
            return NOBODY
        if self._turn is not None:
            let_in = _LET_IN.get(route.family, (MANAGER, EDITOR))
            return let_in[self._turn % len(let_in)]
        weights = _DECIDERS if route.family == "requests" else _IDENTITIES
        if route.family == "workspaces":
            weights = {ADMINISTRATOR: 40, MANAGER: 30, EDITOR: 20, NOBODY: 10}
        return self._chance.choices(list(weights), list(weights.values()))[0]

    def _where(self, identity: str) -> dict[str, str]:
        if not self._scene.workspaces:
            return {}
        if self._turn is not None:
            return {"X-MLFLOW-WORKSPACE": self._place.workspace}
        # Now and then a call is about one workspace and sent to another.
        place = self._place if self._chance.random() < 0.92 else self._chance.choice(self._scene.world.places)
        spelled = self._chance.choices(
            [place.workspace, f" {place.workspace} ", place.workspace.upper(), ""], [94, 2, 2, 2]
        )
        return {"X-MLFLOW-WORKSPACE": spelled[0]} if spelled[0] else {}

    def _content(self, route: Route) -> tuple[Intent, str, dict[str, str], bytes]:
        """Fields, path, arguments of the query string, and bytes."""
        # A route of FastAPI's own does what Flask's does that has the same path.
        endpoint = "_upload_artifact" if route.native and route.family == "artifacts" else route.endpoint
        wanted = intents(endpoint, self._place)
        intent = dict(self._wanted(wanted)) if wanted else self._own_fields(route)
        in_path = {name: intent.pop(name) for name in list(intent) if name.startswith("{")}
        arguments = {name[1:]: intent.pop(name) for name in list(intent) if name.startswith("?")}
        body = str(intent.pop("body", "")).encode()
        return intent, self._path(route, in_path), arguments, body

    def _wanted(self, wanted: Sequence[Intent]) -> Intent:
        return wanted[self._turn % len(wanted)] if self._turn is not None else self._chance.choice(wanted)

    def _path(self, route: Route, in_path: dict[str, str]) -> str:
        def filled(found: re.Match[str]) -> str:
            name = found.group(1)
            value = in_path.get(f"{{{name}}}", self._text(name))
            anyhow = name == "artifact_path" and self._turn is None
            return (
                path_spelled(self._chance, value)
                if anyhow
                else quote(value, safe="/" if name == "artifact_path" else "")
            )

        return re.sub(r"[<{](?:path:)?(\w+)(?::path)?[>}]", filled, route.rule)

    # --- routes without intents ------------------------------------------------------------------------------

    def _own_fields(self, route: Route) -> Intent:
        if route.message is not None:
            return self._message(route.message, 0)
        names = _PLAIN_FIELDS.get(route.endpoint, _ANY_FIELDS)
        return {name: self._text(name) for name in names}

    def _message(self, descriptor: Any, depth: int) -> Intent:
        fields = {}
        for field in descriptor.fields:
            if depth and self._chance.random() < 0.3:
                continue
            value = self._field(field, depth)
            fields[field.name] = [value] if field.is_repeated else value
        return fields

    def _field(self, field: Any, depth: int) -> Any:
        if field.message_type is not None:
            return self._message(field.message_type, depth + 1) if depth < 2 else {}
        if field.enum_type is not None:
            return self._chance.choice([value.name for value in field.enum_type.values])
        if field.cpp_type == field.CPPTYPE_STRING:
            return self._text(field.name)
        if field.cpp_type == field.CPPTYPE_BOOL:
            return self._chance.random() < 0.5
        return self._chance.choice([0, 1, 2, 1_700_000_000_000])

    def _text(self, name: str) -> str:
        made = _TEXTS.get(name)
        if made is not None:
            return self._chance.choice(made(self._place))
        ending = next((made for part, made in _TEXTS.items() if name.endswith(part)), None)
        return self._chance.choice(ending(self._place)) if ending else self._chance.choice(["x", "fraud", "2", "1"])


def _models(place: Place) -> list[str]:
    return [name + place.suffix for name in ("fraud", "score", "tagged", "greeting", "free")]


_TEXTS: dict[str, Callable[[Place], list[str]]] = {
    "name": _models,
    "version": lambda place: ["1", "2", "3"],
    "stage": lambda place: ["Production", "Archived"],
    "alias": lambda place: ["champion"],
    "run_id": lambda place: [place.run, place.other_run],
    "run_uuid": lambda place: [place.run],
    "experiment_id": lambda place: [place.experiment],
    "experiment_ids": lambda place: [place.experiment],
    "model_id": lambda place: [place.logged_model],
    "key": lambda place: ["transition_request.stage.Production", "tier", "note", "mlflow.prompt.is_prompt"],
    "tag_key": lambda place: ["note", "tier", "transition_request.stage.Production"],
    "value": lambda place: ["x", '{"id": "forged"}'],
    "path": lambda place: ["model/MLmodel", place.run_path],
    "artifact_path": lambda place: [f"{place.run_path}/MLmodel", place.run_path],
    "workspace_name": lambda place: ["team-a", "team-b"],
    "workspace": lambda place: ["default", "team-a", "team-b"],
    "username": lambda place: list(USERS),
    "password": lambda place: ["another-long-password"],
    "is_admin": lambda place: ["true"],
    "permission": lambda place: ["MANAGE", "EDIT"],
    "resource_type": lambda place: ["registered_model", "experiment", "prompt", "workspace"],
    "resource_id": _models,
    "resource_pattern": lambda place: ["*", *_models(place)],
    "role_id": lambda place: ["1", "2", "3"],
    "url": lambda place: ["https://127.0.0.1:9/hook"],
    "source": lambda place: [f"mlflow-artifacts:/{place.run_path}", "s3://bucket/x"],
    "uri": lambda place: [f"mlflow-artifacts:/{place.run_path}", "s3://bucket/x"],
}
_ANY_FIELDS = ("name", "version", "stage", "alias", "key", "value", "run_id", "experiment_id", "model_id", "tags")
_PERMISSION = ("username", "resource_type", "resource_id", "resource_pattern", "permission", "workspace", "role_id")
_USER = ("username", "password", "is_admin")
_PLAIN_FIELDS: dict[str, Sequence[str]] = {
    **dict.fromkeys(["create_user", "<lambda>", "delete_user", "update_user_admin", "update_user_password"], _USER),
    **dict.fromkeys(
        [
            "assign_role", "create_role", "delete_role", "add_role_permission", "remove_role_permission",
            "update_role_permission", "unassign_role", "update_role", "grant_user_permission", "revoke_user_permission",
        ],
        ("name", *_PERMISSION),
    ),
    "serve_gateway_proxy": ("gateway_path", "json_data"),
    "serve_create_promptlab_run": ("experiment_id", "run_name", "tags", "prompt_template", "model_route"),
}  # fmt: skip
