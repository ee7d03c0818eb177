"""An object store for the fuzz test: files below a directory, with the multipart and presigned calls of clouds."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from mlflow.entities.multipart_upload import CreateMultipartUploadResponse
from mlflow.entities.presigned_download import PresignedDownloadUrlResponse
from mlflow.entities.presigned_upload import CreatePresignedUploadResponse
from mlflow.store.artifact.artifact_repo import MultipartDownloadMixin, MultipartUploadMixin, PresignedUploadMixin
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

SCHEME = "object"


class ObjectStore(LocalArtifactRepository, MultipartUploadMixin, MultipartDownloadMixin, PresignedUploadMixin):
    """`object:///a/directory`. A presigned address counts as used as soon as it is handed out."""

    def __init__(self, artifact_uri: str, *arguments: Any, **named: Any) -> None:
        super().__init__(Path(urlparse(artifact_uri).path).as_uri(), *arguments, **named)
        self.artifact_uri = artifact_uri

    def create_multipart_upload(
        self, local_file: str, num_parts: int, artifact_path: str | None = None
    ) -> CreateMultipartUploadResponse:
        return CreateMultipartUploadResponse("u", [])

    def complete_multipart_upload(
        self, local_file: str, upload_id: str, parts: list[Any], artifact_path: str | None = None
    ) -> None:
        self._write(f"{artifact_path or '.'}/{Path(local_file).name}")

    def abort_multipart_upload(self, local_file: str, upload_id: str, artifact_path: str | None = None) -> None:
        return None

    def get_download_presigned_url(self, artifact_path: str, expiration: int = 300) -> PresignedDownloadUrlResponse:
        return PresignedDownloadUrlResponse("https://127.0.0.1:9/", {})

    def create_presigned_upload_url(self, artifact_path: str, expiration: int = 900) -> CreatePresignedUploadResponse:
        self._write(artifact_path)
        return CreatePresignedUploadResponse("https://127.0.0.1:9/")

    def _write(self, artifact_path: str) -> None:
        place = Path(self.artifact_dir) / artifact_path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("bytes of an upload by its own address\n")


def register() -> None:
    from mlflow.store.artifact import artifact_repository_registry as registry

    registry._artifact_repository_registry.register(SCHEME, ObjectStore)
