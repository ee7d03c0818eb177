"""The wall at the artifact repositories that the server hands out: it refuses changes to the files of a holder.

MLflow's one registry of repositories creates every repository of this process, whether Flask, FastAPI or MLflow's own
code asks for it. There each repository gets the wall's own write methods. Reads are untouched.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import os
import posixpath
from collections.abc import Callable, Iterable
from typing import Any

from mlflow.store.artifact import artifact_repository_registry
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.utils.workspace_context import get_request_workspace

from reconciler.domain.text import quoted
from reconciler.mlflow_app.changes import Change, Kind
from reconciler.mlflow_app.identity import Identity
from reconciler.mlflow_app.origins import Held, Origins, digests_of_removal, digests_of_write
from reconciler.mlflow_app.refusals import Refusals

_REGISTRY: Any = artifact_repository_registry._artifact_repository_registry


class ArtifactWall:
    """Gives each repository write methods that check first."""

    def __init__(self, identity: Identity, refusals: Refusals, origins: Origins) -> None:
        self._identity = identity
        self._refusals = refusals
        self._origins = origins
        self._get_unwalled: Callable[..., Any] = _REGISTRY.get_artifact_repository

    def install(self) -> None:
        """Call once, before the server creates its first repository."""
        _REGISTRY.get_artifact_repository = self._get

    def remove(self) -> None:
        _REGISTRY.get_artifact_repository = self._get_unwalled

    def _get(self, *arguments: Any, **named: Any) -> Any:
        repository = self._get_unwalled(*arguments, **named)
        unwalled = copy.copy(repository)
        for name, places in _WRITING.items():
            if hasattr(repository, name):
                setattr(repository, name, self._checked(repository, getattr(repository, name), places))
        if type(repository) is LocalArtifactRepository:
            repository.log_artifact_from_async_stream = self._checked_staging(unwalled).log_artifact_from_async_stream
        return repository

    def _checked_staging(self, repository: Any) -> Any:
        """Check where a streamed file is started. MLflow starts it in a thread of its own: another thread switch would
        cost as much as the check.
        """
        repository._create_staging_artifact = self._checked(repository, repository._create_staging_artifact, _file)
        return repository

    def _checked(self, repository: Any, write: Callable[..., Any], places: Places) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(write):
            return self._checked_async(repository, write, places)

        def check_then_write(*arguments: Any, **named: Any) -> Any:
            self._check(repository, places(*arguments, **named))
            return write(*arguments, **named)

        return check_then_write

    def _checked_async(self, repository: Any, write: Callable[..., Any], places: Places) -> Callable[..., Any]:
        async def check_then_write(*arguments: Any, **named: Any) -> Any:
            await asyncio.to_thread(self._check, repository, places(*arguments, **named))
            return await write(*arguments, **named)

        return check_then_write

    def _check(self, repository: Any, paths: Paths) -> None:
        removes, relative = paths
        root, workspace = repository.artifact_uri, get_request_workspace()
        places = {self._origins.place_below(root, path, workspace) for path in relative}
        digests_of = digests_of_removal if removes else digests_of_write
        # None: `runs:/` and `models:/`. The repository that they resolve to has a wall of its own.
        held = self._origins.touched({digest for place in places if place is not None for digest in digests_of(place)})
        if held is not None:
            self._refusals.refuse(_change(held, removes), self._identity.caller())


def _change(held: Held, removes: bool) -> Change:
    (model, version), target = held.holder, held.target
    verb = "Removing" if removes else "Writing"
    what = f"{verb} files of version {version} of {quoted(model.name)}, which holds {target},"
    instead = "register a new version, or first request a transition that moves this one out"
    return Change(Kind.BYTES, what, model.workspace, model.name, version, target, instead)


# --- where each method writes, below the repository's root: (does it remove?, paths) ----------------------------

Paths = tuple[bool, Iterable[str]]
Places = Callable[..., Paths]


def _file(local_file: str, artifact_path: str | None = None, **_: Any) -> Paths:
    return False, [posixpath.join(artifact_path or "", os.path.basename(local_file))]


def _streamed(stream: Any = None, artifact_file_name: str = "", artifact_path: str | None = None, **_: Any) -> Paths:
    return _file(artifact_file_name, artifact_path)


def _begun(local_file: str, num_parts: int = 1, artifact_path: str | None = None, **_: Any) -> Paths:
    return _file(local_file, artifact_path)


def _completed(
    local_file: str, upload_id: str = "", parts: Any = (), artifact_path: str | None = None, **_: Any
) -> Paths:
    return _file(local_file, artifact_path)


def _folder(local_dir: str, artifact_path: str | None = None, **_: Any) -> Paths:
    files = [os.path.join(folder, name) for folder, _, names in os.walk(local_dir) for name in names]
    return False, [posixpath.join(artifact_path or "", os.path.relpath(file, local_dir)) for file in files]


def _signed(artifact_path: str, *_: Any, **__: Any) -> Paths:
    return False, [artifact_path]


def _removed(artifact_path: str | None = None, **_: Any) -> Paths:
    return True, [artifact_path or ""]


_WRITING: dict[str, Places] = {
    "log_artifact": _file,
    "log_artifacts": _folder,
    "log_artifact_from_stream": _streamed,
    "log_artifact_from_async_stream": _streamed,
    "create_multipart_upload": _begun,
    "complete_multipart_upload": _completed,
    "create_presigned_upload_url": _signed,
    "delete_artifacts": _removed,
}
