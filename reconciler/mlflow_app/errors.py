"""Errors with the status and code that Databricks answers with, as MLflow serialises them."""

from __future__ import annotations

from http import HTTPStatus

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    INVALID_STATE,
    PERMISSION_DENIED,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
    UNAUTHENTICATED,
)


class Answered(MlflowException):
    """`{"error_code", "message"}` with a status of its own: MLflow answers 400 to what Databricks calls a conflict."""

    def __init__(self, status: HTTPStatus, error_code: int, message: str) -> None:
        super().__init__(message, error_code)
        self._status = status

    def get_http_status_code(self) -> int:
        return int(self._status)


def invalid(message: str) -> Answered:
    return Answered(HTTPStatus.BAD_REQUEST, INVALID_PARAMETER_VALUE, message)


def denied(message: str) -> Answered:
    return Answered(HTTPStatus.FORBIDDEN, PERMISSION_DENIED, message)


def unauthenticated() -> Answered:
    return Answered(HTTPStatus.UNAUTHORIZED, UNAUTHENTICATED, "Unauthenticated: log in first.")


def missing(message: str) -> Answered:
    return Answered(HTTPStatus.NOT_FOUND, RESOURCE_DOES_NOT_EXIST, message)


def conflict(message: str) -> Answered:
    return Answered(HTTPStatus.CONFLICT, INVALID_STATE, message)


def unrecorded() -> Answered:
    message = "The change was not made: a change like this must be recorded, which failed. See the server's log."
    return Answered(HTTPStatus.SERVICE_UNAVAILABLE, TEMPORARILY_UNAVAILABLE, message)


def exists(message: str) -> Answered:
    return Answered(HTTPStatus.CONFLICT, RESOURCE_ALREADY_EXISTS, message)
