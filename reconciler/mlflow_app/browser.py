"""Whether a call may come from a page that is not ours.

MLflow grants every page on localhost credentialed cross-origin calls, whatever its port: a page that an approver has
open could approve in the approver's name. So the app checks the origin of its own calls itself.
"""

from __future__ import annotations

from flask import Request

from reconciler.mlflow_app.errors import denied


def is_daemon(request: Request) -> bool:
    """Whether a call identifies itself as the daemon's. A page cannot: it does not choose its browser's User-Agent."""
    browser = "Sec-Fetch-Site" in request.headers or "Origin" in request.headers
    return not browser and request.headers.get("User-Agent", "").startswith("mlflow-reconciler")


def require_own_page(request: Request, public_origin: str) -> None:
    """Accept calls that no browser sent, and calls of the server's own page.

    Args:
        public_origin: scheme, host and port by which browsers reach the server behind a proxy; "" without one.

    Raises:
        MlflowException: another page sent the call (403).
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        is_own = site == "same-origin"
    else:
        origin = request.headers.get("Origin")
        is_own = origin is None or origin.lower() in {request.host_url.rstrip("/").lower(), public_origin} - {""}
    if not is_own:
        raise denied(
            "This call came from another site's page and is refused: use the server's own page or an API client. "
            "Behind a proxy, set TRANSITION_REQUESTS_PUBLIC_URL to the address that browsers use."
        )
