"""`fleet` on a Databricks workspace (a double), on names of strangers, and where something cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import Product
from tests.databricks_double import Workspace


def fleet(product: Product, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = product.run("fleet", "--format", "json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def hold(held: Workspace, model: str, *accuracies: str) -> None:
    """As many versions in Production at once."""
    for accuracy in accuracies:
        held.models[model][held.version(model, accuracy)].stage = "Production"


def test_every_holder_of_a_stage_is_found_on_databricks_and_the_cost_is_told(held: Workspace, product: Product) -> None:
    held.models["several"] = {}
    held.models["other"] = {}
    hold(held, "several", "0.95", "0.5", "0.99")
    hold(held, "other", "0.97")
    for number in range(5):
        held.version(f"idle-{number}", "0.1")
    calls = len(held.calls)
    code, whole = fleet(product)
    assert (code, whole["passes"], whole["fails"]) == (1, 3, 1)
    assert {(row["model"], row["version"]) for row in whole["rows"] if row["result"] == "fails"} == {("several", "2")}
    assert held.heard == []
    # The first finds out what the server speaks. Requests are not listed, nor versions of models that hold nothing.
    _, *asked = [path.rpartition("mlflow/")[2] for _, path, _ in held.calls[calls:]]
    assert whole["calls"] == len(asked)
    assert not any("transition-requests" in path for path in asked)
    assert asked.count("model-versions/search") == 2


def test_nothing_holds_anything(held: Workspace, product: Product) -> None:
    held.version("idle", "0.1")
    done = product.run("fleet")
    assert (done.returncode, done.stdout) == (0, "0 holders: 0 pass, 0 fail, 0 cannot be judged\n")


def test_what_cannot_be_read_is_unknown_and_only_that_ends_with_3(held: Workspace, product: Product) -> None:
    held.models["m"] = {}
    hold(held, "m", "0.95")
    held.before = lambda method, path: (500, {}) if "runs" in path else None
    product.variables["RECONCILER_REGISTRY__TIMEOUT"] = "1s"
    code, whole = fleet(product)
    assert (code, whole["unknown"], whole["rows"][0]["result"]) == (3, 1, "unknown")


def test_a_version_that_is_deleted_meanwhile_is_no_failure(held: Workspace, product: Product) -> None:
    held.models["m"] = {}
    hold(held, "m", "0.95", "0.96")
    gone = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "gone"})
    asked = []

    def before(method: str, path: str) -> tuple[int, dict[str, Any]] | None:
        if path.endswith("model-versions/get"):
            asked.append(path)
            return gone if len(asked) == 1 else None
        return None

    held.before = before
    code, whole = fleet(product)
    assert (code, whole["passes"], whole["unknown"]) == (3, 1, 1)
    assert "it is gone since it was listed" in {row["why"] for row in whole["rows"]}


def test_a_list_that_breaks_off_is_no_list(held: Workspace, product: Product) -> None:
    held.models["m"] = {}
    hold(held, "m", "0.95")
    held.before = lambda method, path: (500, {}) if "registered-models" in path else None
    done = product.run("fleet")
    assert (done.returncode, done.stdout) == (69, "")


def test_names_of_strangers_do_nothing_in_a_terminal(held: Workspace, product: Product) -> None:
    name = "=cmd\x1b[31m"
    held.models[name] = {}
    hold(held, name, "0.95")
    for format in ("table", "csv", "json"):
        done = product.run("fleet", "--format", format)
        assert "\x1b" not in done.stdout + done.stderr
        assert "\\u001b" in done.stdout


def test_a_mistake_is_told_with_its_place(held: Workspace, product: Product, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("version: 1\nrules: [{name: r}]\n")
    assert product.run("fleet", "--policy", str(broken)).returncode == 78
    assert product.run("fleet", "--at", "yesterday").returncode == 2
