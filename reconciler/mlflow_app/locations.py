"""Where artifacts lie, in one spelling, so that two URIs of the same place compare equal.

A check that compares two spellings lets a third pass. So what could be the same place is treated as the same.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

# The path of MLflow's artifact proxy, whatever prefix or host stands before it.
_PROXY = re.compile(r"/(?:api|ajax-api)/2\.0/mlflow-artifacts/artifacts(?:/|$)")
_SAME_STORE = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "viewfs": "hdfs", "wasb": "wasbs", "abfs": "abfss"}
# Schemes that MLflow resolves when a model is loaded. They name no place.
_NAMES = frozenset({"runs", "models"})
# MLflow writes these percent-encoded, so that a file may be named `a%00b`.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Linux follows no more: links that lead to themselves end here.
_MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class Located:
    """Where a path leads, in canonical places.

    `place` is behind every link. `links` are those that were followed, each under the name at which it lies. `name` is
    what the path's last part names itself: a link that is written or removed at this path is replaced, not followed.
    """

    place: str
    links: frozenset[str] = frozenset()
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.place)


class Places:
    """Reads URIs as one server reads them.

    Args:
        destination: the server's `--artifacts-destination`, behind `mlflow-artifacts:`; None without a proxy.
        default_workspace: the workspace whose artifacts lie at the root; None on a server without workspaces.
    """

    def __init__(self, destination: str | None, default_workspace: str | None = None) -> None:
        self._root = self.canonical(destination) if destination else "mlflow-artifacts:///"
        self._default_workspace = default_workspace

    def canonical(self, uri: str, workspace: str | None = None) -> str | None:
        """`scheme://host/path` without a slash at its end; None if the URI names no place.

        Args:
            uri: a URI or a path of the server's machine.
            workspace: the URI's workspace; a proxied path may leave the workspace out.
        """
        found = self.located(uri, workspace)
        return None if found is None else found.place

    def located(self, uri: str, workspace: str | None = None) -> Located | None:
        """As `canonical`, with the links on the way."""
        parts = urlsplit(uri)
        scheme = parts.scheme.lower()
        if scheme in _NAMES:
            return None
        local = _local(uri)
        if local is not None:
            return _followed(local)
        proxied = parts.path if scheme == "mlflow-artifacts" else _behind_proxy(scheme, parts.path)
        if proxied is not None:
            return self._proxied(proxied, workspace)
        return Located(f"{_SAME_STORE.get(scheme, scheme)}://{parts.netloc.lower()}{_normal(parts.path)}".rstrip("/"))

    def below(self, root: str, *path: str | None, workspace: str | None = None) -> Located | None:
        """Where a path under a repository's root leads; None if the root names no place."""
        local = _local(root)
        if local is not None:
            return _followed(posixpath.join(local, *(_decoded(part).lstrip("/") for part in path if part)))
        start = self.canonical(root, workspace)
        return None if start is None else _below(start, *path)

    def _proxied(self, path: str, workspace: str | None) -> Located | None:
        plain = _normal(path).lstrip("/")
        scoped = self._default_workspace is not None and workspace not in {None, self._default_workspace}
        if scoped and not plain.startswith("workspaces/"):
            plain = f"workspaces/{workspace}/{plain}"
        return None if self._root is None else _below(self._root, plain)


def _below(place: str, *path: str | None) -> Located:
    named = [part for part in path if part]
    scheme, _, rest = place.partition("://")
    host, slash, start = rest.partition("/")
    whole = _normal(posixpath.join(slash + start, *(part.lstrip("/") for part in named))) if named else slash + start
    return _followed(whole) if scheme == "file" else Located(f"{scheme}://{host}{whole}".rstrip("/"))


def and_above(place: str) -> Iterator[str]:
    """A canonical place and every folder above it, up to the bucket, the container or the disk."""
    scheme, _, rest = place.partition("://")
    host, _, path = rest.partition("/")
    while path:
        yield f"{scheme}://{host}/{path}"
        path = path.rpartition("/")[0]
    yield f"{scheme}://{host}"


def _local(uri: str) -> str | None:
    """The path that a URI names on the server's machine; None if it names none."""
    parts = urlsplit(uri)
    if not parts.scheme:
        return _decoded(uri) or "."
    return (_decoded(parts.path) or ".") if parts.scheme.lower() == "file" else None


def _followed(path: str) -> Located:
    """Follows symbolic links one by one, as the system does. What does not exist is taken as it is written."""
    ahead = _parts(path if path.startswith("/") else posixpath.join(os.getcwd(), path))
    here, name = "", ""
    links: list[str] = []
    while ahead:
        part = ahead.pop()
        if part == "..":
            here = here.rpartition("/")[0]
            continue
        here = f"{here}/{part}"
        to = _link_at(here) if len(links) < _MOST_LINKS else None
        if to is not None:
            links.append(f"file://{here}")
            # The last name of the path itself, and not of what it leads to.
            name = name or ("" if ahead else links[-1])
            here = "" if to.startswith("/") else here.rpartition("/")[0]
            ahead += _parts(to)
    place = f"file://{here}"
    return Located(place, frozenset(links), name or place)


def _parts(path: str) -> list[str]:
    """The last one first."""
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]


def _link_at(path: str) -> str | None:
    try:
        return os.readlink(path) if stat.S_ISLNK(os.lstat(path).st_mode) else None
    except OSError:
        return None


def _behind_proxy(scheme: str, path: str) -> str | None:
    found = _PROXY.search(_normal(path)) if scheme in {"http", "https"} else None
    return _normal(path)[found.end() :] if found else None


def _normal(path: str) -> str:
    return posixpath.normpath("/" + _decoded(path).lstrip("/"))


def _decoded(path: str) -> str:
    """Percent-decoded, however often it was encoded, as MLflow does; control characters are then literal `%0a`."""
    while (decoded := unquote(path)) != path:
        path = decoded
    return _CONTROL.sub(lambda found: f"%{ord(found.group()):02x}", path)
