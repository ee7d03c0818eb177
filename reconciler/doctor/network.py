"""The connection to the registry: proxy and TLS."""

from __future__ import annotations

import os
import socket
import ssl
import time
from urllib.parse import SplitResult, urlsplit

from reconciler.doctor.findings import Finding, fail, ok, skip, warn
from reconciler.registry.credentials import databricks, tls
from reconciler.registry.proxies import proxy_of, proxy_problem, variable_of
from reconciler.registry.reaching import distrust
from reconciler.settings.model import Settings

_RENEWAL_DAYS = 21
_TIMEOUT = 10.0


def registry_address(settings: Settings) -> str:
    """The registry's address; for Databricks, the workspace that the profile names."""
    uri = settings.registry_uri()
    return databricks(uri)[0] if settings.on_databricks else uri


def proxy(address: str) -> Finding:
    used = proxy_of(address)
    if used is None:
        return ok("proxy", "none for the registry")
    if (problem := proxy_problem(address)) is not None:
        return fail("proxy", problem)
    parts = urlsplit(used if "//" in used else f"//{used}")
    return ok("proxy", f"{parts.hostname}:{parts.port or 80} (from {variable_of(address)})")


def transport_security(address: str) -> Finding:
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname:
        return ok("tls", "not used: the registry is on this host, or plain text is allowed")
    verify, cert = tls(os.environ)
    if verify is False:
        return warn("tls", "certificates are not verified (MLFLOW_TRACKING_INSECURE_TLS): unset it, and name the CA")
    if proxy_of(address) is not None:
        return skip("tls", "not checked separately behind a proxy; every call verifies the certificate (see registry)")
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if cert:
        context.load_cert_chain(cert)
    return _handshake(context, parts, verify)


def _handshake(context: ssl.SSLContext, parts: SplitResult, verify: bool | str) -> Finding:
    host, port = str(parts.hostname), parts.port or 443
    try:
        with (
            socket.create_connection((host, port), timeout=_TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            ends = str((secure.getpeercert() or {}).get("notAfter"))
    except ssl.SSLError as error:
        return fail("tls", distrust(error, f"https://{parts.netloc}", verify))
    except OSError:
        # The registry's finding says why.
        return skip("tls", f"not tried: {host}:{port} cannot be reached (see registry)")
    days = int((ssl.cert_time_to_seconds(ends) - time.time()) // 86400)
    state = f"the chain is trusted; the certificate expires in {days} days"
    return ok("tls", state) if days > _RENEWAL_DAYS else warn("tls", f"{state}: renew it")
