"""The signature of a model, read from real servers as they hand out files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import requests

from reconciler.demo.server import mlflow_server
from tests.acceptance.conftest import Product, Server
from tests.acceptance.laboratory import LINKED, METRIC, Laboratory
from tests.servers import python_of
from tests.unit.test_transport import replying, serving

Name = Callable[[str], str]
SIGNATURE = "signature: {inputs: {age: long, income: double}, outputs: [score]}"
MLMODEL = """\
flavors: {python_function: {loader_module: x}}
signature:
  inputs: '[{"type": "long", "name": "age", "required": true}, {"type": "double", "name": "income"}]'
  outputs: '[{"type": "double", "name": "score"}]'
  params: null
"""
WITHOUT_ZIP = SIGNATURE.replace("income: double", "zip: string")


def put(uri: str, place: str, file: str, content: str | bytes = MLMODEL) -> None:
    """A file at an address of `mlflow-artifacts:/`, as MLflow's client sends it there."""
    path = place.removeprefix("mlflow-artifacts:/")
    raw = content.encode() if isinstance(content, str) else content
    requests.put(f"{uri}/api/2.0/mlflow-artifacts/artifacts/{path}/{file}", raw, timeout=60).raise_for_status()


def with_file(lab: Laboratory, model: str, content: str | bytes = MLMODEL) -> str:
    """A version whose files lie among its run's."""
    run = lab.run(0.95)
    put(lab.server.uri, lab.artifacts(run), f"{model}/MLmodel", content)
    return lab.version(model, f"{lab.artifacts(run)}/{model}", run)


def test_what_mlflows_own_client_logs_is_read_through_copies(lab: Laboratory) -> None:
    release = lab.server.release
    python = sys.executable if release == mlflow.__version__ else str(python_of(release))
    trained = Path(__file__).with_name("trained.py")
    models = ("logged", "registered", "created", "copied", "copied-again")
    subprocess.run([python, trained, lab.server.uri, lab.name("")], capture_output=True, check=True)
    found = {model: lab.codes(lab.name(model), SIGNATURE, WITHOUT_ZIP) for model in models}
    expected = {model: ["ok", "column_missing"] for model in models}
    # Made from `runs:/RUN/model`, where MLflow 3 has no file: which logged model is meant only its client looks up.
    expected["created"] = ["undetermined"] * 2 if lab.server.has_logged_models else expected["logged"]
    assert found == expected


def test_a_file_that_was_put_among_the_runs_is_read(lab: Laboratory) -> None:
    assert lab.codes(with_file(lab, "m"), SIGNATURE, WITHOUT_ZIP, "signature: {}") == ["ok", "column_missing", "ok"]


def test_a_logged_models_file_is_read(lab3: Laboratory) -> None:
    run = lab3.run(0.95)
    model = lab3.trained(run)
    place = lab3.server.call("GET", f"logged-models/{model}")["model"]["info"]["artifact_uri"]
    version = lab3.of_logged_model("m", model, run)
    assert lab3.codes(version, SIGNATURE) == ["no_model_file"]
    put(lab3.server.uri, place, "MLmodel")
    assert lab3.codes(version, SIGNATURE, WITHOUT_ZIP) == ["ok", "column_missing"]
    assert lab3.codes(lab3.copy("copy", version, run), SIGNATURE) == ["ok"]


def test_files_without_mlmodel_have_none_on_every_server(lab: Laboratory) -> None:
    run = lab.run(0.95)
    assert lab.codes(lab.version("m", f"runs:/{run}/model", run), SIGNATURE) == ["no_model_file"]
    put(lab.server.uri, lab.artifacts(run), "other/requirements.txt")
    assert lab.codes(lab.version("o", f"{lab.artifacts(run)}/other", run), SIGNATURE) == ["no_model_file"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("flavors: {}\n", "signature_missing"),
        ("x" * 65_537, "undetermined"),
        (MLMODEL + "#" * (65_536 - len(MLMODEL)), "ok"),
        (b"\xff\xfe", "undetermined"),
        (MLMODEL.replace("'[{", "'[{{"), "undetermined"),
    ],
    ids=["none", "too large", "just not too large", "no text", "no JSON"],
)
def test_a_file_that_tells_nothing_is_not_believed(lab: Laboratory, content: str | bytes, code: str) -> None:
    assert lab.codes(with_file(lab, "m", content), SIGNATURE) == [code]


@pytest.mark.parametrize("pattern", ["s3://bucket/model", "{root}/../../{other}/artifacts/m", "runs:/{other}/m"])
def test_files_elsewhere_are_not_read(lab: Laboratory, pattern: str) -> None:
    run, other = lab.run(0.95), lab.run(0.1)
    put(lab.server.uri, lab.artifacts(other), "m/MLmodel")
    if lab.tried("evil", pattern.format(root=lab.artifacts(run), other=other), run):
        assert lab.codes(lab.name("evil"), SIGNATURE) == ["undetermined"]


def test_no_call_goes_to_the_place_that_a_version_names(lab: Laboratory) -> None:
    """The registry may name any address; a server stands at this one, and tells who came."""
    with serving(replying(200, MLMODEL)) as elsewhere:
        if lab.tried("evil", f"{elsewhere.uri}/model", lab.run(0.95)):
            assert lab.codes(lab.name("evil"), SIGNATURE, METRIC) == ["undetermined", "ok"]
        assert elsewhere.seen == []


# --- what it costs -------------------------------------------------------------------------------------------


def test_a_file_is_read_only_where_a_rule_asks_and_once_for_both_targets(tmp_path: Path, name: Name) -> None:
    """Counted by the server itself, in the log of its calls."""
    with mlflow_server(tmp_path / "mlflow") as uri:
        server = Server(uri)
        with_file(Laboratory(server, name), "m")
        for target in ("stage.Production", "alias.champion"):
            server.tag(name("m"), "please", f"transition_request.{target}")
        product = Product(uri, tmp_path, mode="observe")
        product.ok("db", "upgrade")
        asked = []
        for check in (METRIC, SIGNATURE):
            rule = f'  - name: r\n    targets: [Production, "@champion"]\n    require: [{{{check}}}]\n'
            product.policy(f"version: 1\nrules:\n{rule}")
            product.ok("once")
            asked.append(len(re.findall("GET /get-artifact", (tmp_path / "mlflow/mlflow-server.log").read_text())))
    assert asked == [0, 1]


# --- by the command ------------------------------------------------------------------------------------------


def test_the_decision_keeps_what_was_read_and_is_judged_the_same_again(
    product: Product, lab: Laboratory, name: Name
) -> None:
    rule = "  - name: r\n    targets: [Production]\n    require:\n"
    product.policy(f"version: 1\nrules:\n{rule}      - {{{WITHOUT_ZIP}}}\n      - {{{LINKED}}}\n")
    with_file(lab, "m")
    lab.server.ask(name("m"))
    product.ok("once")
    [row] = product.decisions()
    assert "no input zip; it has inputs age: long, income: double; outputs score: double" in row["reason"]
    whole = json.loads(product.ok("audit", "show", row["decision_id"], "--format", "json"))
    kept = whole["evidence"]["signature"]
    assert [column["name"] for column in kept["inputs"]] == ["age", "income"]
    assert (kept["size"], len(kept["sha256"])) == (len(MLMODEL), 64)
    shown = product.ok("audit", "show", row["decision_id"])
    assert "signature" in shown
    assert "income" in shown
    assert "1 agree, 0 differ, 0 cannot be judged" in product.ok("audit", "reperform", row["decision_id"])
    assert "model files" in product.run("check").stdout


# --- servers that do not hand it out -------------------------------------------------------------------------


def test_a_server_without_artifact_proxy_reads_its_own_store_or_says_why_not(tmp_path: Path, name: Name) -> None:
    store = tmp_path / "store"
    arguments = ("--no-serve-artifacts", "--default-artifact-root", str(store))
    with mlflow_server(tmp_path / "mlflow", *arguments) as uri:
        lab = Laboratory(Server(uri), name)
        run = lab.run(0.95)
        folder = Path(lab.artifacts(run)) / "m"
        folder.mkdir(parents=True)
        (folder / "MLmodel").write_text(MLMODEL)
        assert lab.codes(lab.version("m", f"{lab.artifacts(run)}/m", run), SIGNATURE) == ["ok"]
        elsewhere = lab.server.call(
            "POST", "experiments/create", json={"name": "e", "artifact_location": "s3://no-such-bucket.invalid/e"}
        )["experiment_id"]
        run = lab.run(0.95, elsewhere)
        assert lab.codes(lab.version("s", f"runs:/{run}/m", run), SIGNATURE) == ["unreadable"]
