"""Addresses of registries and audit databases: validation and normalization."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def address(uri: str) -> str:
    """Return a registry's address without a trailing slash.

    Raises:
        ValueError: not a usable address; the message repeats no credentials.
    """
    uri = uri.strip()
    if not uri.isprintable() or " " in uri:
        raise ValueError("contains a blank or a control character: use https://HOST[:PORT][/PATH]")
    if is_databricks(uri):
        return uri
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not an address: use https://HOST[:PORT][/PATH]") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("is not a server address: use https://HOST[:PORT][/PATH], or databricks")
    if parts.username is not None or parts.password is not None:
        raise ValueError("contains a user or password: remove it, and set registry.username and registry.password")
    if parts.query or parts.fragment:
        raise ValueError("has a query or fragment: use https://HOST[:PORT][/PATH]")
    return uri.rstrip("/")


def is_databricks(uri: str) -> bool:
    return uri == "databricks" or uri.startswith("databricks://")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def database_url(url: str) -> str:
    """Return the address of an audit database, including the driver.

    Raises:
        ValueError: not a usable database; the message repeats nothing of the address.
    """
    for short in ("postgresql://", "postgres://"):
        if url.startswith(short):
            return "postgresql+psycopg://" + url.removeprefix(short)
    if url.startswith("sqlite:///") and url != "sqlite:///":
        if ":memory:" in url:
            raise ValueError("keeps nothing: an in-memory audit is lost on exit; use sqlite:///PATH")
        if "?" in url:
            raise ValueError("has options behind a `?`, of which SQLite's audit takes none: use sqlite:///PATH")
        return url
    if url.startswith("postgresql+psycopg://"):
        return url
    raise ValueError(
        "is not a database address: use sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
    )
