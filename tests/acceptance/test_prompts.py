"""A prompt on its way to an alias, as people type it, on each MLflow server; MLflow says what the alias names."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Product, Server

Name = Callable[[str], str]
MARK = {"key": "mlflow.prompt.is_prompt", "value": "true"}
POLICY = """\
version: 1
rules:
  - name: words
    kind: prompt
    models: ["{name}"]
    targets: ["@production"]
    require: [{{commit_message: {{min_length: 10}}}}]
"""


def prompt(server: Server, name: str, *words: str) -> None:
    """A version for each description."""
    server.call("POST", "registered-models/create", json={"name": name, "tags": [MARK]})
    tags = [MARK, {"key": "mlflow.prompt.text", "value": "hello"}]
    for text in words:
        body = {"name": name, "source": "prompt-template", "description": text, "tags": tags}
        server.call("POST", "model-versions/create", json=body)


def named_by(server: Server, name: str) -> dict[str, str]:
    shown = server.call("GET", "registered-models/get", params={"name": name})["registered_model"]
    return {row["alias"]: row["version"] for row in shown.get("aliases", [])}


@pytest.mark.either_protocol
def test_a_prompt_is_asked_for_decided_and_watched(server: Server, product: Product, name: Name) -> None:
    it = name("greeting")
    prompt(server, it, "Greets a customer by name.", "", "Greets nobody at all.")
    product.policy(POLICY.format(name=it))
    assert "would approve" in product.ok("explain", it, "1", "@production")
    product.ok("once")
    for version in ("2", "1"):
        filed = product.run("request", "create", it, version, "@production")
        assert (filed.returncode, "no rule covers it" in filed.stderr) == (0, False)
        assert it in product.ok("request", "list")
        product.ok("once")
    assert named_by(server, it) == {"production": "1"}
    assert [row["verdict"] for row in product.decisions("--model", it)] == ["approve", "reject"]
    product.ok("once")
    server.call("POST", "registered-models/alias", json={"name": it, "alias": "production", "version": "3"})
    for _ in range(2):
        product.ok("once")
    assert f"{it} version 3 holds @production without a decision" in product.ok("status")
    assert f"{it} version 3 at @production" in product.ok("fleet")
    held = json.loads(product.ok("audit", "report", "completeness", "--format", "json"))
    causes = {row["version"]: row["counted_as"] for row in held["tenures"] if row["model"] == it}
    assert causes == {"1": "decision", "3": "exception"}
