"""Answers clients of Databricks that ask what kind of server this is, before any login sees the call.

`databricks-sdk` takes an answer that is not JSON, such as a login page, for "a bug in the SDK", and says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

PATH: Final = "/.well-known/databricks-config"
_BODY: Final = json.dumps(
    {"error_code": "ENDPOINT_NOT_FOUND", "message": "This is an MLflow server, not a Databricks workspace."}
).encode()
_HEADERS: Final = (("content-type", "application/json"), ("content-length", str(len(_BODY))))


def answering_clients(served: Any, is_asgi: bool) -> Any:
    """The application, which says 404 there to everybody."""
    return _Asgi(served) if is_asgi else _Wsgi(served)


@dataclass(frozen=True, slots=True)
class _Asgi:
    served: Any

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self.served(scope, receive, send)
            return
        headers = [(name.encode(), value.encode()) for name, value in _HEADERS]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else _BODY})


@dataclass(frozen=True, slots=True)
class _Wsgi:
    served: Any

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ.get("PATH_INFO") != PATH:
            return self.served(environ, start_response)
        start_response("404 Not Found", list(_HEADERS))
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else _BODY]
