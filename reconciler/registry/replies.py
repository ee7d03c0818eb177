"""What a reply says beside its content: MLflow's error, the server's clock, when to come again."""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime

import requests

from reconciler.domain.text import visible

# nginx, Apache and Go answer in plain text who speaks plain text to their TLS port.
_TO_A_TLS_PORT = (
    b"request was sent to HTTPS port",
    b"speaking plain HTTP to an SSL",
    b"HTTP request to an HTTPS server",
)


def wants_tls(body: bytes) -> bool:
    """Whether a server says that its port is one for TLS."""
    return any(said in body for said in _TO_A_TLS_PORT)


def mlflow_error(body: bytes) -> tuple[str, str]:
    """MLflow's `error_code` and `message`; empty where the body is something else."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(data, dict):
        return "", ""
    return visible(str(data.get("error_code") or ""), 60), visible(str(data.get("message") or ""), 300)


def skew(reply: requests.Response) -> float | None:
    """By its Date header, which has whole seconds."""
    try:
        return parsedate_to_datetime(reply.headers["Date"]).timestamp() - time.time()
    except (KeyError, ValueError, TypeError):
        return None


def retry_after(reply: requests.Response) -> float | None:
    """Seconds, where the server says a number; a date or nonsense counts as not said."""
    try:
        return max(float(reply.headers.get("Retry-After", "")), 0.0)
    except ValueError:
        return None
