"""Find out whether a port speaks TLS or plain HTTP, after a call in the other of the two has failed."""

from __future__ import annotations

import contextlib
import socket
import ssl
from functools import cache
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies

_TIMEOUT = 2.0


@cache
def speaks_tls(url: str) -> bool:
    """Whether the port of an http:// URL speaks TLS; False for other URLs. Sends nothing but the greeting."""
    address = _address(url, "http", 80)
    if address is None:
        return False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # No data is sent: the greeting shows the protocol, and the connection is closed.
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(address, timeout=_TIMEOUT) as plain, context.wrap_socket(plain):
            return True
    except ssl.SSLError as error:
        # A server that requires a client certificate refuses with a TLS alert.
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


@cache
def speaks_http(url: str) -> bool:
    """Whether the port of an https:// URL speaks plain HTTP; False for other URLs."""
    address = _address(url, "https", 443)
    if address is None:
        return False
    request = f"HEAD / HTTP/1.1\r\nHost: {address[0]}\r\nConnection: close\r\n\r\n"
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=_TIMEOUT) as plain:
        plain.sendall(request.encode("ascii", "replace"))
        return plain.recv(5) == b"HTTP/" and not speaks_tls(url.replace("https://", "http://", 1))
    return False


def _address(url: str, scheme: str, port: int) -> tuple[str, int] | None:
    """Host and port; None for another scheme, or behind a proxy."""
    parts = urlsplit(url)
    if parts.scheme != scheme or not parts.hostname or get_environ_proxies(url, no_proxy=None):
        return None
    return parts.hostname, parts.port or port
