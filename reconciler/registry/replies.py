"""What a reply says besides its content: MLflow's error, the server's clock, when to retry."""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime

import requests

from reconciler.domain.text import visible

# nginx, Apache and Go answer plain text on their TLS port in plain text.
_NEEDS_TLS = (
    b"request was sent to HTTPS port",
    b"speaking plain HTTP to an SSL",
    b"HTTP request to an HTTPS server",
)


_LONGEST, _END = 300, 120


def wants_tls(body: bytes) -> bool:
    """Whether a server says that its port requires TLS."""
    return any(phrase in body for phrase in _NEEDS_TLS)


def mlflow_error(body: bytes) -> tuple[str, str]:
    """MLflow's `error_code` and `message`; empty if the body is something else."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(data, dict):
        return "", ""
    return visible(str(data.get("error_code") or ""), 60), _shortened(str(data.get("message") or ""))


def _shortened(message: str) -> str:
    """Its beginning and its end: MLflow repeats a wrong value first, and says last what is wrong with it."""
    if len(message) <= _LONGEST:
        return visible(message, _LONGEST)
    return f"{visible(message[: _LONGEST - _END], _LONGEST)} […] {visible(message[-_END:], _LONGEST)}"


def skew(reply: requests.Response) -> float | None:
    """How many seconds the server's clock is ahead, by its Date header in whole seconds; None if unknown."""
    try:
        return parsedate_to_datetime(reply.headers["Date"]).timestamp() - time.time()
    except (KeyError, ValueError, TypeError):
        return None


def retry_after(reply: requests.Response) -> float | None:
    """Seconds to wait, if the server gives a number; None for a date or nonsense."""
    try:
        return max(float(reply.headers.get("Retry-After", "")), 0.0)
    except ValueError:
        return None
