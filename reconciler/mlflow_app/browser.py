"""Whether a call may come from a page that is not ours.

MLflow grants every page on localhost credentialed cross-origin calls, whatever its port; a page that an approver has
open could then approve in his name. So the app's own calls look for themselves.
"""

from __future__ import annotations

from flask import Request

from reconciler.mlflow_app.errors import denied


def is_daemon(request: Request) -> bool:
    """Whether a call says that it is the daemon's. A page cannot: it does not choose its browser's User-Agent."""
    browser = "Sec-Fetch-Site" in request.headers or "Origin" in request.headers
    return not browser and request.headers.get("User-Agent", "").startswith("mlflow-reconciler")


def require_own_page(request: Request, public_origin: str) -> None:
    """Lets pass what no browser sent, and what the server's own page sent.

    Args:
        public_origin: scheme, host and port by which browsers reach the server behind a proxy; "" without one.

    Raises:
        MlflowException: another page sent it (403).
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        own = site == "same-origin"
    else:
        origin = request.headers.get("Origin")
        own = origin is None or origin.lower() in {request.host_url.rstrip("/").lower(), public_origin} - {""}
    if not own:
        raise denied(
            "A page of another site sent this call, so it is not answered: use the server's own page or a client, and "
            "behind a proxy set TRANSITION_REQUESTS_PUBLIC_URL to the address that browsers use."
        )
