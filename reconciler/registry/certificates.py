"""Which certificate of a chain expired, and when."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies

from reconciler.domain.text import visible
from reconciler.domain.times import duration_text

CA_VARIABLE = "MLFLOW_TRACKING_SERVER_CERT_PATH"
_TIMEOUT = 5.0
# X509_V_FLAG_NO_CHECK_TIME
_NO_CHECK_TIME = 0x200000
_RENEW = "renew it"
_REPLACE_CA = f"renew the CA certificate, and set {CA_VARIABLE} to the new one"

Certificate = Mapping[str, Any]


def expired(url: str, host: str, verify: bool | str) -> str:
    """The message for OpenSSL's "expired", which does not say which certificate of the chain it means."""
    leaf, trusted = _fetch(url, verify)
    if leaf is None:
        return f"a certificate of {host}, or of the CA that signed it, expired: {_RENEW}"
    if _has_expired(leaf):
        return f"the certificate of {host} expired{_on(leaf)}: {_RENEW}"
    signer = next((ca for ca in trusted if ca.get("subject") == leaf.get("issuer") and _has_expired(ca)), None)
    if signer is not None:
        return (
            f"the CA certificate {_issuer_name(leaf)}, which signed that of {host}, expired{_on(signer)}: {_REPLACE_CA}"
        )
    above = f"the certificate of {host} is valid, but one above it in its chain ({_issuer_name(leaf)}) expired"
    return f"{above}: renew the chain of the server, or the CA in {CA_VARIABLE}"


def _fetch(url: str, verify: bool | str) -> tuple[Certificate | None, Iterable[Certificate]]:
    """The server's certificate and the trusted CAs, from a new connection that ignores only the time."""
    parts = urlsplit(url)
    if not parts.hostname or get_environ_proxies(url, no_proxy=None):
        return None, ()
    try:
        context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
        context.verify_flags |= _NO_CHECK_TIME
        with (
            socket.create_connection((parts.hostname, parts.port or 443), timeout=_TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secure,
        ):
            return secure.getpeercert() or None, context.get_ca_certs()
    except OSError:
        return None, ()


def _end(certificate: Certificate) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)


def _has_expired(certificate: Certificate) -> bool:
    return _end(certificate) <= datetime.now(UTC)


def _on(certificate: Certificate) -> str:
    moment = _end(certificate)
    return f" on {moment:%Y-%m-%d} ({duration_text(datetime.now(UTC) - moment)} ago)"


def _issuer_name(certificate: Certificate) -> str:
    """The issuer's common name, else its organization."""
    names = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    return visible(str(names.get("commonName") or names.get("organizationName") or "without a name"), 100)
