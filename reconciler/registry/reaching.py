"""Why a server could not be reached, in words that name the remedy."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from urllib.parse import urlsplit

from requests.exceptions import ProxyError
from requests.utils import get_environ_proxies

from reconciler.domain.text import visible
from reconciler.domain.times import duration_text

_MOST = 5.0
# OpenSSL's numbers for what is wrong with a certificate, and X509_V_FLAG_NO_CHECK_TIME.
_NOT_YET_VALID, _EXPIRED = 9, 10
# A name, an e-mail address, an IP address that the certificate does not have.
_OTHER_HOST = frozenset({62, 63, 64})
_WHATEVER_THE_TIME = 0x200000
_CA_VARIABLE = "MLFLOW_TRACKING_SERVER_CERT_PATH"

_REMEDIES = {
    "connection refused": "nothing listens there: is the server running, and is registry.uri right?",
    "name or service not known": "no name server knows this host: is registry.uri right, and does DNS work here?",
    "temporary failure in name resolution": "no name server answers: does DNS work on this host?",
    "no address associated with hostname": "the host has no address: is registry.uri right?",
    "network is unreachable": "no route leads there: is a proxy or a firewall rule missing?",
    "no route to host": "no route leads there: is a proxy or a firewall rule missing?",
    "operation not permitted": "the unit lets nothing out to it: does IPAddressAllow of its drop-in name the address?",
    "connection reset by peer": "the server or something on the way closed the connection: see the server's log",
    "remote end closed connection without response": "the server gave up the connection: see the server's log",
}


def cause(error: BaseException) -> str:
    """The innermost reason in a few words: the outer ones carry addresses and object names."""
    innermost = _innermost(error)
    text = getattr(innermost, "strerror", None) or str(innermost) or type(innermost).__name__
    return visible(str(text), 200).lower()


def unreachable(error: BaseException, url: str) -> str:
    """What happened at which server, and what to do about it where that is known."""
    said = cause(error)
    if isinstance(error, ProxyError):
        return f"{said} by the proxy on the way to {url}: are HTTPS_PROXY, HTTP_PROXY and NO_PROXY right?"
    remedy = next((remedy for words, remedy in _REMEDIES.items() if words in said), "")
    return f"{said} ({url})" + (f": {remedy}" if remedy else "")


def distrust(error: BaseException, url: str, verify: bool | str) -> str:
    """Why TLS failed, by what OpenSSL says of the certificate."""
    innermost = _innermost(error)
    host = urlsplit(url).hostname or url
    if not isinstance(innermost, ssl.SSLCertVerificationError):
        return f"{cause(error)}: is this address served over https, and does it ask for a client certificate?"
    code, said = innermost.verify_code, visible(innermost.verify_message or str(innermost), 200)
    if code == _EXPIRED:
        return f"the certificate of {host} expired{_on(_expiry(url, verify))}: have it renewed"
    if code == _NOT_YET_VALID:
        return f"the certificate of {host} is not valid yet: is this host's clock right?"
    if code in _OTHER_HOST:
        return f"the certificate is not for {host} ({said}): is registry.uri the name that it was issued for?"
    return f"the certificate is not trusted ({said}, {host}): name its CA in {_CA_VARIABLE}"


def _on(moment: datetime | None) -> str:
    if moment is None:
        return ""
    ago = duration_text(datetime.now(UTC) - moment)
    return f" on {moment:%Y-%m-%d} ({ago} ago)"


def _expiry(url: str, verify: bool | str) -> datetime | None:
    """When the server's certificate ended: asked of the server once more, with everything verified but the time."""
    parts = urlsplit(url)
    if not parts.hostname or get_environ_proxies(url, no_proxy=None):
        return None
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    context.verify_flags |= _WHATEVER_THE_TIME
    try:
        with (
            socket.create_connection((parts.hostname, parts.port or 443), timeout=_MOST) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secure,
        ):
            ends = str((secure.getpeercert() or {}).get("notAfter"))
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)
    except (OSError, ValueError):
        return None


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return error
