"""Attacks on the question whether a run really made a version, on real servers.

What is expected is the rule, not the code: a run made a version if its own outputs name the version's logged model and
both are of one experiment, or if the version's files lie under the run's artifacts. A run that logged several models
proves none of them. What cannot be followed fails, each in a way of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from tests.acceptance.conftest import Product, Server
from tests.acceptance.laboratory import LINKED, METRIC, OWN_METRIC, Laboratory
from tests.servers import python_of

Name = Callable[[str], str]


# --- what is honest ------------------------------------------------------------------------------------------


def test_files_under_the_runs_artifacts_are_the_runs(lab: Laboratory) -> None:
    run = lab.run(0.95)
    for number, source in enumerate((f"runs:/{run}/model", f"{lab.artifacts(run)}/model")):
        assert lab.codes(lab.version(f"m{number}", source, run), METRIC, LINKED) == ["ok", "ok"]


def test_a_logged_model_that_its_run_names_is_the_runs(lab3: Laboratory) -> None:
    run = lab3.run(0.95)
    model = lab3.trained(run)
    assert lab3.codes(lab3.of_logged_model("m", model, run), METRIC, LINKED) == ["ok", "ok"]


def test_a_logged_model_that_its_run_names_needs_no_claim_of_its_own(lab3: Laboratory) -> None:
    run = lab3.run(0.95)
    model = lab3.logged_model()
    lab3.output(run, model)
    assert lab3.codes(lab3.of_logged_model("m", model, run), METRIC, LINKED) == ["ok", "ok"]


def test_whatever_mlflows_own_client_registers_is_the_runs(lab: Laboratory) -> None:
    release = lab.server.release
    python = sys.executable if release == mlflow.__version__ else str(python_of(release))
    trained = Path(__file__).with_name("trained.py")
    subprocess.run([python, trained, lab.server.uri, lab.name("")], capture_output=True, check=True)
    found = {
        model: lab.codes(lab.name(model), METRIC, LINKED)
        for model in ("logged", "registered", "created", "copied", "copied-again")
    }
    assert found == {model: ["ok", "ok"] for model in found}


# --- a good run's id -----------------------------------------------------------------------------------------


def test_a_foreign_runs_id_at_files_elsewhere_proves_nothing(lab: Laboratory) -> None:
    good = lab.run(0.99)
    assert lab.codes(lab.version("evil", "s3://bucket/evil", good), LINKED) == ["link_unproven"]


def test_a_foreign_runs_id_at_a_logged_model_proves_nothing(lab3: Laboratory) -> None:
    good, bad = lab3.run(0.99), lab3.run(0.1)
    lab3.trained(good)
    evil = lab3.trained(bad)
    version = lab3.of_logged_model("evil", evil, good)
    assert lab3.codes(version, METRIC, LINKED) == ["measured_on_other_run", "link_unproven"]


def test_a_logged_model_that_claims_a_good_run_proves_nothing(lab3: Laboratory) -> None:
    good = lab3.run(0.99)
    version = lab3.of_logged_model("evil", lab3.logged_model(claimed_run=good), good)
    assert lab3.codes(version, LINKED) == ["link_unproven"]


def test_a_logged_model_that_claims_a_run_which_logged_another_one_is_not_its_model(lab3: Laboratory) -> None:
    good = lab3.run(0.99)
    lab3.trained(good)
    version = lab3.of_logged_model("evil", lab3.logged_model(claimed_run=good), good)
    assert lab3.codes(version, METRIC, LINKED) == ["measured_on_other_run", "link_unproven"]


def test_a_run_that_names_a_logged_model_of_another_experiment_does_not_prove_it(lab3: Laboratory) -> None:
    mine = lab3.run(0.99, lab3.experiment())
    theirs = lab3.logged_model()
    lab3.output(mine, theirs)
    assert lab3.codes(lab3.of_logged_model("m", theirs, mine), LINKED) == ["link_unproven"]


def test_three_slashes_hide_no_logged_model(lab3: Laboratory) -> None:
    good, evil = lab3.run(0.99), lab3.trained(lab3.run(0.1))
    if lab3.tried("evil", f"models:///{evil}", good, evil):
        assert lab3.codes(lab3.name("evil"), METRIC, LINKED) == ["measured_on_other_run", "link_unproven"]


# --- several models of one run -------------------------------------------------------------------------------


def test_the_better_models_metric_is_not_the_worse_ones(lab3: Laboratory) -> None:
    run = lab3.run(0.97)
    better, worse, unmeasured = (lab3.trained(run, metric) for metric in (0.97, 0.4, None))
    versions = [lab3.of_logged_model(f"m{at}", model, run) for at, model in enumerate((better, worse, unmeasured))]
    codes = [lab3.codes(version, METRIC, OWN_METRIC, LINKED) for version in versions]
    assert codes == [
        ["ok", "ok", "link_unproven"],
        ["below_min", "below_min", "link_unproven"],
        ["metric_missing", "metric_missing", "link_unproven"],
    ]


def test_a_run_of_several_models_proves_nothing_about_a_path_in_it(lab3: Laboratory) -> None:
    run = lab3.run(0.97)
    lab3.trained(run), lab3.trained(run)
    assert lab3.codes(lab3.version("m", f"runs:/{run}/model", run), METRIC, LINKED) == [
        "several_models",
        "link_unproven",
    ]


# --- sources that lead elsewhere -----------------------------------------------------------------------------

ASTRAY = [
    "runs:/{run}/../{other}/artifacts/model",
    "runs:/{run}/%2e%2e/{other}/artifacts/model",
    "runs:/{run}/%252e%252e/{other}/artifacts/model",
    "runs:/{run}/..%2f{other}/artifacts/model",
    "runs:/{run}//../{other}/model",
    "runs:/{run}//etc/model",
    "runs:/{run}2/model",
    "runs:/{upper}/model",
    "runs://{run}/{other}/model",
    "runs:/{other}/model",
    "{root}/../../{other}/artifacts/model",
    "{root}/%2e%2e/%2E%2E/{other}/artifacts/model",
    "{root}//model",
    "{root}2/model",
    "{root}-of-others/model",
    "{other_root}/model",
    "s3://bucket/{root}/model",
]


@pytest.mark.parametrize("pattern", ASTRAY)
def test_a_source_that_leads_elsewhere_is_refused_or_proves_nothing(lab: Laboratory, pattern: str) -> None:
    run, other = lab.run(0.99), lab.run(0.1)
    root, other_root = lab.artifacts(run), lab.artifacts(other)
    source = pattern.format(run=run, other=other, root=root, other_root=other_root, upper=run.upper())
    if lab.tried("evil", source, run):
        assert lab.codes(lab.name("evil"), LINKED) == ["link_unproven"]


# --- what cannot be followed ---------------------------------------------------------------------------------


def test_who_deletes_the_logged_model_does_not_hide_who_made_it(lab3: Laboratory) -> None:
    good, evil = lab3.run(0.99), lab3.trained(lab3.run(0.1))
    version = lab3.of_logged_model("evil", evil, good)
    lab3.server.call("DELETE", f"logged-models/{evil}")
    assert lab3.codes(version, METRIC, OWN_METRIC, LINKED) == ["logged_model_gone"] * 3


def test_copies_are_followed_five_deep_and_fail_below(lab3: Laboratory) -> None:
    run = lab3.run(0.95)
    model = lab3.trained(run)
    last = lab3.of_logged_model("copy0", model, run)
    codes = {}
    for depth in range(1, 7):
        last = lab3.copy(f"copy{depth}", last, run)
        codes[depth] = lab3.codes(last, METRIC, LINKED)
    assert codes == {**{depth: ["ok", "ok"] for depth in range(1, 6)}, 6: ["copies_too_deep"] * 2}


def test_copies_of_a_bad_model_under_a_good_runs_id_are_found_out_at_every_depth(lab3: Laboratory) -> None:
    good, evil = lab3.run(0.99), lab3.trained(lab3.run(0.1))
    last = lab3.of_logged_model("copy0", evil, good)
    for depth in range(1, 7):
        last = lab3.copy(f"copy{depth}", last, good)
        expected = ["measured_on_other_run", "link_unproven"] if depth < 6 else ["copies_too_deep"] * 2
        assert lab3.codes(last, METRIC, LINKED) == expected, depth


def test_copies_of_files_are_proven_by_where_the_files_lie(lab: Laboratory) -> None:
    run, other = lab.run(0.95), lab.run(0.1)
    honest = lab.version("honest", f"{lab.artifacts(run)}/model", run)
    assert lab.codes(lab.copy("copy", honest, run), METRIC, LINKED) == ["ok", "ok"]
    bad = lab.version("bad", f"{lab.artifacts(other)}/model", other)
    if lab.tried("swindle", f"models:/{bad}/1", run):
        assert lab.codes(lab.name("swindle"), LINKED) == ["link_unproven"]


def test_a_copy_whose_origin_is_deleted_fails(lab: Laboratory) -> None:
    run = lab.run(0.95)
    origin = lab.version("origin", f"runs:/{run}/model", run)
    copy = lab.copy("copy", origin, run)
    lab.server.call("DELETE", "model-versions/delete", json={"name": origin, "version": "1"})
    assert lab.codes(copy, METRIC, LINKED) == ["origin_gone"] * 2


@pytest.mark.parametrize("by", ["renaming", "deleting"])
def test_another_version_under_the_origins_name_does_not_stand_in_for_it(lab3: Laboratory, by: str) -> None:
    good = lab3.run(0.99)
    model = lab3.trained(good)
    stand_in = lab3.of_logged_model("stand-in", model, good)
    evil = lab3.version("evil", "s3://bucket/evil", good)
    copy = lab3.copy("copy", evil, good)
    if by == "renaming":
        for old, new in ((evil, lab3.name("aside")), (stand_in, evil)):
            lab3.server.call("POST", "registered-models/rename", json={"name": old, "new_name": new})
    else:
        lab3.server.call("DELETE", "registered-models/delete", json={"name": evil})
        lab3.of_logged_model("evil", model, good)
    assert lab3.codes(copy, METRIC, LINKED) == ["origin_replaced"] * 2


# --- by the command ------------------------------------------------------------------------------------------


def test_a_version_under_a_good_runs_id_does_not_reach_production(
    server: Server, product: Product, lab: Laboratory, name: Name
) -> None:
    product.policy(
        "version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require:\n"
        f"      - {{{METRIC}}}\n      - {{{LINKED}}}\n"
    )
    lab.version("evil", "s3://bucket/evil", lab.run(0.99))
    server.ask(name("evil"))
    product.ok("once")
    assert server.shown(name("evil"))["current_stage"] == "None"
    [row] = product.decisions()
    assert (row["verdict"], row["outcome"]) == ("reject", "applied")
    assert "not proven" in row["reason"] or "nothing proves" in row["reason"]
