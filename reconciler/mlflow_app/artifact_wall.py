"""The wall at the artifact repositories that the server hands out: nobody changes the files of a holder.

Every repository of this process is made by MLflow's one registry of repositories, whether Flask, FastAPI or MLflow's
own code asks for it; there each is given the wall's own writing methods. Reading is untouched.
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
    """Gives each repository methods that look first."""

    def __init__(self, identity: Identity, refusals: Refusals, origins: Origins) -> None:
        self._identity = identity
        self._refusals = refusals
        self._origins = origins
        self._made: Callable[..., Any] = _REGISTRY.get_artifact_repository

    def install(self) -> None:
        """Once, before the server has made its first repository."""
        _REGISTRY.get_artifact_repository = self._get

    def remove(self) -> None:
        _REGISTRY.get_artifact_repository = self._made

    def _get(self, *arguments: Any, **named: Any) -> Any:
        repository = self._made(*arguments, **named)
        as_made = copy.copy(repository)
        for name, places in _WRITING.items():
            if hasattr(repository, name):
                setattr(repository, name, self._looking(repository, getattr(repository, name), places))
        if type(repository) is LocalArtifactRepository:
            repository.log_artifact_from_async_stream = self._staging(as_made).log_artifact_from_async_stream
        return repository

    def _staging(self, repository: Any) -> Any:
        """Looks where a streamed file is begun, which MLflow does in a thread of its own: another change of threads
        would cost as much as the look.
        """
        repository._create_staging_artifact = self._looking(repository, repository._create_staging_artifact, _one)
        return repository

    def _looking(self, repository: Any, write: Callable[..., Any], places: Places) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(write):
            return self._looking_async(repository, write, places)

        def look_then_write(*arguments: Any, **named: Any) -> Any:
            self._look(repository, places(*arguments, **named))
            return write(*arguments, **named)

        return look_then_write

    def _looking_async(self, repository: Any, write: Callable[..., Any], places: Places) -> Callable[..., Any]:
        async def look_then_write(*arguments: Any, **named: Any) -> Any:
            await asyncio.to_thread(self._look, repository, places(*arguments, **named))
            return await write(*arguments, **named)

        return look_then_write

    def _look(self, repository: Any, paths: Paths) -> None:
        removes, relative = paths
        root, workspace = repository.artifact_uri, get_request_workspace()
        places = {self._origins.place_below(root, path, workspace) for path in relative}
        digests_of = digests_of_removal if removes else digests_of_write
        # No place: `runs:/` and `models:/`. The repository that they stand for has a wall of its own.
        held = self._origins.touched({one for place in places if place is not None for one in digests_of(place)})
        if held is not None:
            self._refusals.refuse(_change(held, removes), self._identity.caller())


def _change(held: Held, removes: bool) -> Change:
    (model, version), target = held.holder, held.target
    verb = "Removing" if removes else "Writing"
    what = f"{verb} files of version {version} of {quoted(model.name)}, which holds {target},"
    instead = "register a new version, or have this one moved out by a transition request first"
    return Change(Kind.BYTES, what, model.workspace, model.name, version, target, instead)


# --- where each method writes, below the repository's root: (does it remove?, paths) ----------------------------

Paths = tuple[bool, Iterable[str]]
Places = Callable[..., Paths]


def _one(local_file: str, artifact_path: str | None = None, **_: Any) -> Paths:
    return False, [posixpath.join(artifact_path or "", os.path.basename(local_file))]


def _streamed(stream: Any = None, artifact_file_name: str = "", artifact_path: str | None = None, **_: Any) -> Paths:
    return _one(artifact_file_name, artifact_path)


def _begun(local_file: str, num_parts: int = 1, artifact_path: str | None = None, **_: Any) -> Paths:
    return _one(local_file, artifact_path)


def _completed(
    local_file: str, upload_id: str = "", parts: Any = (), artifact_path: str | None = None, **_: Any
) -> Paths:
    return _one(local_file, artifact_path)


def _every(local_dir: str, artifact_path: str | None = None, **_: Any) -> Paths:
    files = [os.path.join(folder, name) for folder, _, names in os.walk(local_dir) for name in names]
    return False, [posixpath.join(artifact_path or "", os.path.relpath(file, local_dir)) for file in files]


def _signed(artifact_path: str, *_: Any, **__: Any) -> Paths:
    return False, [artifact_path]


def _removed(artifact_path: str | None = None, **_: Any) -> Paths:
    return True, [artifact_path or ""]


_WRITING: dict[str, Places] = {
    "log_artifact": _one,
    "log_artifacts": _every,
    "log_artifact_from_stream": _streamed,
    "log_artifact_from_async_stream": _streamed,
    "create_multipart_upload": _begun,
    "complete_multipart_upload": _completed,
    "create_presigned_upload_url": _signed,
    "delete_artifacts": _removed,
}
