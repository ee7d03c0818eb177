"""Where the file `MLmodel` of a version is read: by routes of the run or logged model that it provably lies in."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.evidence.evidence import (
    Absent,
    LoggedModelFacts,
    OriginFacts,
    RunFacts,
    SignatureFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.evidence.lineage import path_in_run
from reconciler.domain.evidence.signature_facts import Column
from reconciler.domain.text import Text
from reconciler.registry.model_files import MOST_BYTES, ModelFiles
from reconciler.registry.transport import Limits
from tests.builders import NO_LOGGED_MODEL, evidence_of
from tests.unit.test_mlmodel import COLUMN, text_of
from tests.unit.test_transport import Answer, dripping, replying, serving, transport

NOW = datetime(2026, 6, 1, tzinfo=UTC)
VERSION = VersionFacts("r1", "runs:/r1/model", "READY", "None", Text.of(""), left_out={})
RUN = RunFacts("r1", "FINISHED", "active", 1, "mlflow-artifacts:/0/r1/artifacts", {}, "0", (), left_out={})
OF_RUN = "/get-artifact?run_id=r1&path="
ONCE = Limits(retries=0)
LOGGED = LoggedModelFacts("m-1", "r1", "READY", {}, left_out={})


def read(
    answer: Answer,
    source: str = "runs:/r1/model",
    *,
    limits: Limits = ONCE,
    times: int = 1,
    **answers: Any,
) -> tuple[Any, Sequence[str]]:
    """What is told of a version, and which paths the server was asked for."""
    answers = {"run": RUN, "logged_model": NO_LOGGED_MODEL} | answers
    shown = evidence_of(NOW, replace(VERSION, source=source), answers["run"], answers["logged_model"])
    if "origin" in answers:
        shown = shown.answering(OriginFacts, answers["origin"])
    with serving(answer) as server:
        files = ModelFiles(transport(server.uri, limits))
        for _ in range(times):
            told = files.signature(shown, "m-1" if isinstance(answers["logged_model"], LoggedModelFacts) else None)
        return told, [call["path"] for call in server.seen]


FILE = text_of({"inputs": COLUMN, "outputs": COLUMN})
# Two bytes in the file, six as it is kept.
LONG = f"flavors: {{}}\nsignature: {{inputs: '{COLUMN.replace('age', 'é' * 30_000)}'}}".encode()


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("runs:/r1/model", "model%2FMLmodel"),
        ("runs:/r1", "MLmodel"),
        ("mlflow-artifacts:/0/r1/artifacts/a/my model", "a%2Fmy+model%2FMLmodel"),
        ("mlflow-artifacts:/0/r1/artifacts/", "MLmodel"),
        ("runs:/r1/a&run_id=r2", "a%26run_id%3Dr2%2FMLmodel"),
    ],
)
def test_a_file_among_the_runs_is_read_once_by_the_runs_own_route(source: str, path: str) -> None:
    told, asked = read(replying(200, FILE), source, times=2)
    assert isinstance(told, SignatureFacts)
    assert (told.inputs, told.size, told.unclear) == ((Column("age", "long"),), len(FILE), "")
    assert asked == [OF_RUN + path]


def test_a_logged_models_file_is_read_by_its_own_route() -> None:
    told, asked = read(replying(200, FILE), "models:/m-1", logged_model=LOGGED)
    assert told.place == "logged model m-1, MLmodel"
    assert asked == ["/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files?artifact_file_path=MLmodel"]


def test_a_copys_file_is_read_where_the_files_lie() -> None:
    here, there = (OriginFacts("models:/a/1", f"mlflow-artifacts:/0/{run}/artifacts/x") for run in ("r1", "r2"))
    assert read(replying(200, FILE), "models:/a/1", origin=here)[1] == [f"{OF_RUN}x%2FMLmodel"]
    told, asked = read(replying(200, FILE), "models:/a/1", origin=there)
    assert (told.unclear != "", asked) == (True, [])


ELSEWHERE = [
    "s3://bucket/model", "http://169.254.169.254/latest", "file:///etc/passwd", "/etc/passwd", "", "dbfs:/x/model",
    "runs:/r2/model", "runs:/r1/../r2/model", "runs:/r1/%2e%2e/r2", "runs:/r1/..%2fr2/model", "runs:/r1//etc",
    "runs:/r1/a\\..\\b", "runs:/r1/a?path=b", "runs:/r1/a#b", "runs:/r1/my%20model", "runs:/r1/a\0b", "runs:/r1/.",
    "mlflow-artifacts:/0/r1/artifacts2/model", "mlflow-artifacts:/0/r1/artifacts/../../r2/artifacts/model",
    "mlflow-artifacts://elsewhere.test/0/r1/artifacts/model", f"runs:/r1/{'0' * 32}/artifacts/model",
]  # fmt: skip


@pytest.mark.parametrize("source", ELSEWHERE)
def test_no_call_is_made_for_files_that_are_not_provably_the_runs(source: str) -> None:
    told, asked = read(replying(200, FILE), source)
    assert isinstance(told, SignatureFacts)
    assert told.unclear.startswith("the version's files do not provably lie among those of its run")
    assert told.unclear.isprintable()
    assert asked == []


@given(st.text(max_size=40))
def test_a_path_in_a_run_never_leaves_it(below: str) -> None:
    path = path_in_run(RUN, replace(VERSION, source=f"runs:/r1{below}"), NO_LOGGED_MODEL)
    if path:
        assert not {"", ".", ".."} & set(path.split("/"))
        assert not set("%\\?#\0") & set(path)


@pytest.mark.parametrize(
    ("version", "model", "run"),
    [
        (Absent("version_missing", "gone"), NO_LOGGED_MODEL, RUN),  # type: ignore[arg-type]
        (VERSION, Absent("logged_model_gone", "gone"), RUN),  # type: ignore[arg-type]
        (VERSION, Absent("origin_replaced", "gone"), RUN),  # type: ignore[arg-type]
        (VERSION, Unreadable("500"), RUN),
        (VERSION, NO_LOGGED_MODEL, Unreadable("500")),
    ],
)
def test_what_the_version_was_made_from_is_told_first(version: Any, model: Any, run: Any) -> None:
    told = ModelFiles(transport("http://127.0.0.1:9")).signature(evidence_of(NOW, version, run, model), None)
    assert told in (version, model, run)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (replying(302, "", Location="http://elsewhere.test/MLmodel"), "redirected to elsewhere.test"),
        (replying(403, "Permission denied"), "403"),
        (replying(401, "{}"), "401"),
        (replying(500, "<html>"), "500"),
        (replying(400, '{"error_code": "INVALID_PARAMETER_VALUE", "message": "a directory"}'), "a directory"),
        (dripping, "within 0.5 s"),
    ],
)
def test_what_the_server_does_not_hand_out_is_unreadable(answer: Answer, told: str) -> None:
    found, _ = read(answer, limits=Limits(timeout=0.5, retries=0))
    assert isinstance(found, Unreadable)
    assert told in found.detail


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (replying(200, b"x" * (MOST_BYTES + 1)), "MLmodel is larger than 64 kB"),
        (replying(200, "<html><form>sign in</form></html>"), "the file is not a mapping"),
        (replying(200, "<html>sign in: please</html>"), "has no flavors"),
        (replying(404, "<html>"), "has no such endpoint"),
        (replying(200, LONG), "as it would be kept"),
    ],
)
def test_what_is_handed_out_and_tells_nothing_is_unclear(answer: Answer, told: str) -> None:
    found, asked = read(answer)
    assert isinstance(found, SignatureFacts)
    assert told in found.unclear
    assert len(asked) == 1


def test_a_small_reply_that_unpacks_to_a_large_one_is_stopped() -> None:
    packed = gzip.compress(b"x" * 50_000_000)
    found, _ = read(replying(200, packed, Content_Encoding="gzip"))
    assert found.unclear == "MLmodel is larger than 64 kB"


GONE = '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "No such artifact"}'


def test_files_without_mlmodel_have_none_unless_it_may_be_in_a_logged_model_of_the_run() -> None:
    found, _ = read(replying(404, GONE))
    assert isinstance(found, Absent)
    assert str(found.code) == "no_model_file"
    found, _ = read(replying(404, GONE), run=replace(RUN, outputs=("m-1",)))
    assert "if it is a logged model's, register that one as models:/ID" in found.unclear


def test_on_databricks_it_is_told_that_there_is_no_route() -> None:
    found = ModelFiles(None).signature(evidence_of(NOW, VERSION, RUN), None)
    assert isinstance(found, SignatureFacts)
    assert "Databricks documents no route" in found.unclear
