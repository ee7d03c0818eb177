"""The forward proxy on the way to a server, from the usual variables."""

from __future__ import annotations

import importlib.util
import os
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

_SOCKS = frozenset({"socks4", "socks4a", "socks5", "socks5h"})
_SCHEMES = _SOCKS | {"http", "https"}


def proxy_of(address: str) -> str | None:
    """The proxy that calls to this address go through; None: none."""
    proxies = get_environ_proxies(address, no_proxy=None)
    return proxies.get(urlsplit(address).scheme) or proxies.get("all")


def proxy_problem(address: str) -> str | None:
    """What is wrong with the variable that names the proxy, and what to do; None: nothing is.

    The value is not repeated, since it may hold a password.
    """
    named = proxy_of(address)
    if named is None:
        return None
    variable, proxy = variable_of(address), _parsed(named)
    if proxy is None:
        return f"{variable}: is not the address of a proxy: use http://HOST:PORT, or unset it"
    if proxy.scheme in _SOCKS and importlib.util.find_spec("socks") is None:
        return f"{variable}: names a SOCKS proxy: `pip install pysocks` beside this command, or name an HTTP proxy"
    return None


def variable_of(address: str) -> str:
    """The variable that names the proxy for this address, as it is written in the environment."""
    names = (f"{urlsplit(address).scheme}_proxy", "all_proxy")
    written = (spelling for name in names for spelling in (name, name.upper()))
    return next((spelling for spelling in written if os.environ.get(spelling)), names[0])


def _parsed(proxy: str) -> Url | None:
    try:
        url = parse_url(proxy if "://" in proxy else f"http://{proxy}")
    except LocationParseError:
        return None
    return url if url.host and url.scheme in _SCHEMES else None
