"""A server to call: its address, what is sent with each call, and how it is verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import requests
from requests.auth import AuthBase


class NoAuth(AuthBase):
    """Sends no credentials. Any auth callable, even this one, keeps requests from reading netrc."""

    origin = "no credentials were sent: set MLFLOW_TRACKING_USERNAME and _PASSWORD, or see docs/configuration.md"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`verify` and `cert` as requests takes them: a CA bundle or whether to verify, and a client certificate."""

    url: str
    auth: AuthBase = field(default_factory=NoAuth)
    verify: bool | str = True
    cert: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
