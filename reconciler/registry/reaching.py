"""Messages that say why a server could not be reached, and what to do."""

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
# The certificate lacks the host name, the e-mail address or the IP address.
_OTHER_HOST = frozenset({62, 63, 64})
USE_HTTPS = "use https:// (registry.uri)"
# OpenSSL's reasons for an answer that is not TLS.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"})

_REMEDIES = {
    "connection refused": "nothing listens there: is the server running, and is registry.uri correct?",
    "name or service not known": "no name server knows this host: is registry.uri correct, and does DNS work here?",
    "temporary failure in name resolution": "no name server answers: does DNS work on this host?",
    "no address associated with hostname": "the host has no address: is registry.uri correct?",
    "network is unreachable": "no route leads there: is a proxy or a firewall rule missing?",
    "no route to host": "no route leads there: is a proxy or a firewall rule missing?",
    "operation not permitted": "the unit blocks traffic to it: does IPAddressAllow in its drop-in include the address?",
    "connection reset by peer": "the server or something on the way closed the connection: see the server's log",
    "remote end closed connection without response": "the server closed the connection: see the server's log",
}


class Unreached(Unavailable):
    """The server gave no answer at all; any other call to it now fails in the same way."""


def cause(error: BaseException) -> str:
    """The innermost reason in a few words; the outer ones contain addresses and object names."""
    innermost = _innermost(error)
    text = getattr(innermost, "strerror", None) or str(innermost) or type(innermost).__name__
    return visible(str(text), 200).lower()


def unreachable(error: BaseException, url: str) -> str:
    """What happened at which server, and the remedy if it is known."""
    reason = cause(error)
    if isinstance(error, ProxyError):
        return f"{reason} by the proxy on the way to {url}: are HTTPS_PROXY, HTTP_PROXY and NO_PROXY correct?"
    if _hung_up(error) and speaks_tls(url):
        return f"{url} speaks TLS but was called in plain text: {USE_HTTPS}"
    remedy = next((remedy for words, remedy in _REMEDIES.items() if words in reason), "")
    return f"{reason} ({url})" + (f": {remedy}" if remedy else "")


def distrust(error: BaseException, url: str, verify: bool | str) -> str:
    """Why TLS failed, from what OpenSSL says about the certificate."""
    innermost = _innermost(error)
    host = urlsplit(url).hostname or url
    if not isinstance(innermost, ssl.SSLCertVerificationError):
        if getattr(innermost, "reason", None) in _NOT_TLS or speaks_http(url):
            condition = "if it is this host, or registry.allow_plaintext is set"
            return f"{url} was called by TLS but answers in plain text: use http:// (registry.uri) {condition}"
        return f"{cause(error)}: is this address served over https, and does it require a client certificate?"
    code, reason = innermost.verify_code, visible(innermost.verify_message or str(innermost), 200)
    if code == _EXPIRED:
        return expired(url, host, verify)
    if code == _NOT_YET_VALID:
        return f"the certificate of {host} is not valid yet: is this host's clock correct?"
    if code in _OTHER_HOST:
        return f"the certificate is not for {host} ({reason}): is registry.uri the name that it was issued for?"
    return f"the certificate is not trusted ({reason}, {host}): set {CA_VARIABLE} to its CA"


def _hung_up(error: BaseException) -> bool:
    """Whether the server closed or answered with an alert, as a TLS port does when called by HTTP."""
    return isinstance(_innermost(error), BadStatusLine | ConnectionError)


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return error
