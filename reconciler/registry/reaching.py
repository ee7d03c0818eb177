"""Why a server could not be reached, in words that name the remedy."""

from __future__ import annotations

import ssl
from http.client import BadStatusLine
from urllib.parse import urlsplit

from requests.exceptions import ProxyError

from reconciler.domain.text import visible
from reconciler.ports import Unavailable
from reconciler.registry.certificates import CA_VARIABLE, expired
from reconciler.registry.port_speech import speaks_http, speaks_tls

# OpenSSL's numbers for what is wrong with a certificate.
_NOT_YET_VALID, _EXPIRED = 9, 10
# A name, an e-mail address, an IP address that the certificate does not have.
_OTHER_HOST = frozenset({62, 63, 64})
USE_HTTPS = "use https:// (registry.uri)"
# What OpenSSL calls an answer that is no TLS.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"})

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


class Unreached(Unavailable):
    """No answer at all came from the server: whatever else is asked of it now fails in the same way."""


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
    if _hung_up(error) and speaks_tls(url):
        return f"{url} is asked in plain text and speaks TLS: {USE_HTTPS}"
    remedy = next((remedy for words, remedy in _REMEDIES.items() if words in said), "")
    return f"{said} ({url})" + (f": {remedy}" if remedy else "")


def distrust(error: BaseException, url: str, verify: bool | str) -> str:
    """Why TLS failed, by what OpenSSL says of the certificate."""
    innermost = _innermost(error)
    host = urlsplit(url).hostname or url
    if not isinstance(innermost, ssl.SSLCertVerificationError):
        if getattr(innermost, "reason", None) in _NO_TLS or speaks_http(url):
            allowed = "if it is this host, or registry.allow_plaintext is set"
            return f"{url} is asked by TLS and answers in plain text: use http:// (registry.uri) {allowed}"
        return f"{cause(error)}: is this address served over https, and does it ask for a client certificate?"
    code, said = innermost.verify_code, visible(innermost.verify_message or str(innermost), 200)
    if code == _EXPIRED:
        return expired(url, host, verify)
    if code == _NOT_YET_VALID:
        return f"the certificate of {host} is not valid yet: is this host's clock right?"
    if code in _OTHER_HOST:
        return f"the certificate is not for {host} ({said}): is registry.uri the name that it was issued for?"
    return f"the certificate is not trusted ({said}, {host}): name its CA in {CA_VARIABLE}"


def _hung_up(error: BaseException) -> bool:
    """As a port that speaks TLS does with whoever speaks HTTP to it: it closes, or answers with an alert."""
    return isinstance(_innermost(error), BadStatusLine | ConnectionError)


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return error
