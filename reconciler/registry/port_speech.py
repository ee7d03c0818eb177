"""Whether a port speaks TLS or plain HTTP, asked once, where a call in the other of the two has failed."""

from __future__ import annotations

import contextlib
import socket
import ssl
from functools import cache
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies

_MOST = 2.0


@cache
def speaks_tls(url: str) -> bool:
    """Only asked of what is named http://; nothing is sent but the greeting."""
    place = _place(url, "http", 80)
    if place is None:
        return False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # Nothing is trusted to it: the greeting tells the protocol, and the connection is closed.
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(place, timeout=_MOST) as plain, context.wrap_socket(plain):
            return True
    except ssl.SSLError as error:
        # A server that asks for a client certificate refuses in TLS.
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


@cache
def speaks_http(url: str) -> bool:
    """Only asked of what is named https://."""
    place = _place(url, "https", 443)
    if place is None:
        return False
    asked = f"HEAD / HTTP/1.1\r\nHost: {place[0]}\r\nConnection: close\r\n\r\n"
    with contextlib.suppress(OSError), socket.create_connection(place, timeout=_MOST) as plain:
        plain.sendall(asked.encode("ascii", "replace"))
        return plain.recv(5) == b"HTTP/" and not speaks_tls(url.replace("https://", "http://", 1))
    return False


def _place(url: str, scheme: str, port: int) -> tuple[str, int] | None:
    """None where it is another scheme, or a proxy stands before it."""
    parts = urlsplit(url)
    if parts.scheme != scheme or not parts.hostname or get_environ_proxies(url, no_proxy=None):
        return None
    return parts.hostname, parts.port or port
