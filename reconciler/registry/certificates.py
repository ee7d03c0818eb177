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
_MOST = 5.0
# X509_V_FLAG_NO_CHECK_TIME
_WHATEVER_THE_TIME = 0x200000
_RENEW = "have it renewed"
_REPLACE_CA = f"have the CA renewed, and name the new one in {CA_VARIABLE}"

Certificate = Mapping[str, Any]


def expired(url: str, host: str, verify: bool | str) -> str:
    """What is said where OpenSSL says "expired": of any certificate in the chain, and it does not say of which."""
    leaf, trusted = _shown(url, verify)
    if leaf is None:
        return f"a certificate of {host}, or of the CA that signed it, expired: {_RENEW}"
    if _has_ended(leaf):
        return f"the certificate of {host} expired{_on(leaf)}: {_RENEW}"
    signer = next((one for one in trusted if one.get("subject") == leaf.get("issuer") and _has_ended(one)), None)
    if signer is not None:
        return f"the CA certificate {_name(leaf)} that signed that of {host} expired{_on(signer)}: {_REPLACE_CA}"
    above = f"the certificate of {host} is valid, but one above it in its chain ({_name(leaf)}) expired"
    return f"{above}: have the chain of the server renewed, or the CA in {CA_VARIABLE}"


def _shown(url: str, verify: bool | str) -> tuple[Certificate | None, Iterable[Certificate]]:
    """The server's certificate, and the CAs: asked once more, with everything verified but the time."""
    parts = urlsplit(url)
    if not parts.hostname or get_environ_proxies(url, no_proxy=None):
        return None, ()
    try:
        context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
        context.verify_flags |= _WHATEVER_THE_TIME
        with (
            socket.create_connection((parts.hostname, parts.port or 443), timeout=_MOST) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secure,
        ):
            return secure.getpeercert() or None, context.get_ca_certs()
    except OSError:
        return None, ()


def _end(certificate: Certificate) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)


def _has_ended(certificate: Certificate) -> bool:
    return _end(certificate) <= datetime.now(UTC)


def _on(certificate: Certificate) -> str:
    moment = _end(certificate)
    return f" on {moment:%Y-%m-%d} ({duration_text(datetime.now(UTC) - moment)} ago)"


def _name(certificate: Certificate) -> str:
    """Of the one that signed it: its common name, else whatever name it has."""
    names = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    return visible(str(names.get("commonName") or names.get("organizationName") or "without a name"), 100)
