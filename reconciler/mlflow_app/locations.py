"""Where artifacts lie, in one spelling, so that two URIs of the same place compare equal.

A check that compares two spellings lets a third pass. So what could be the same place is treated as the same.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import unquote, urlsplit

# The path of MLflow's artifact proxy, whatever prefix or host stands before it.
_PROXY = re.compile(r"/(?:api|ajax-api)/2\.0/mlflow-artifacts/artifacts(?:/|$)")
_SAME_STORE = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "viewfs": "hdfs", "wasb": "wasbs", "abfs": "abfss"}
# Schemes that MLflow resolves when a model is loaded. They name no place.
_NAMES = frozenset({"runs", "models"})


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
        """`scheme://host/path` without a trailing slash; None if the URI names no place.

        Args:
            uri: a URI, or a path on the server's machine.
            workspace: the one that the URI belongs to; a proxied path may omit it.
        """
        parts = urlsplit(uri)
        scheme = parts.scheme.lower()
        if scheme in _NAMES:
            return None
        local = _local(uri)
        if local is not None:
            return "file://" + _real(local)
        proxied = parts.path if scheme == "mlflow-artifacts" else _behind_proxy(scheme, parts.path)
        if proxied is not None:
            return self._proxied(proxied, workspace)
        return f"{_SAME_STORE.get(scheme, scheme)}://{parts.netloc.lower()}{_normal(parts.path)}".rstrip("/")

    def below(self, root: str, *path: str | None, workspace: str | None = None) -> str | None:
        """The canonical place of a path under a repository's root; None if the root names no place."""
        local = _local(root)
        if local is not None:
            # Links are followed once, for the whole path: that is most of what this costs an upload.
            named = (_decoded(part).lstrip("/") for part in path if part)
            return "file://" + _real(posixpath.join(local, *named))
        start = self.canonical(root, workspace)
        return None if start is None else below(start, *path)

    def _proxied(self, path: str, workspace: str | None) -> str | None:
        plain = _normal(path).lstrip("/")
        scoped = self._default_workspace is not None and workspace not in {None, self._default_workspace}
        if scoped and not plain.startswith("workspaces/"):
            plain = f"workspaces/{workspace}/{plain}"
        return None if self._root is None else below(self._root, plain)


def below(place: str, *path: str | None) -> str:
    """A path under a canonical place, canonical again."""
    named = [part for part in path if part]
    if not named:
        return place
    scheme, _, rest = place.partition("://")
    host, slash, start = rest.partition("/")
    full = _normal(posixpath.join(slash + start, *(part.lstrip("/") for part in named)))
    if scheme == "file":
        full = _real(full)
    return f"{scheme}://{host}{full}".rstrip("/")


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


def _real(path: str) -> str:
    """Without symbolic links. A name that no file can have (one with a NUL) stays as it is, for MLflow to refuse."""
    if "\0" in path:
        return path
    folder, name = posixpath.split(path)
    try:
        status = os.stat(folder)
    except OSError:
        return os.path.realpath(path)
    if name in {"", ".", ".."}:
        return os.path.realpath(path)
    full = posixpath.join(_real_folder(folder, status.st_dev, status.st_ino), name)
    return os.path.realpath(full) if os.path.islink(full) else full


# Many uploads go to one folder, and resolving it asks the system about every part of its path. A folder that a link has
# replaced is another inode.
@lru_cache(maxsize=256)
def _real_folder(path: str, device: int, inode: int) -> str:
    return os.path.realpath(path)


def _behind_proxy(scheme: str, path: str) -> str | None:
    found = _PROXY.search(_normal(path)) if scheme in {"http", "https"} else None
    return _normal(path)[found.end() :] if found else None


def _normal(path: str) -> str:
    return posixpath.normpath("/" + _decoded(path).lstrip("/"))


def _decoded(path: str) -> str:
    """Percent-decoded, however often it was encoded: MLflow decodes until nothing changes."""
    while (decoded := unquote(path)) != path:
        path = decoded
    return path
