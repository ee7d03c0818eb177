"""Thousands of hostile calls to every route that changes something: a holder changes only by an approval, or by a
recorded act of an administrator, and a protected tag only by a recorded act of an approver or an administrator.
The witness is outside the product (witness.py); fuzz_calls.py makes the calls.

The same calls are sent with parts of the product taken away, to show that they are hostile and that the witness sees.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.mlflow_app.fuzz_driver import MODES, PREFIX, Mode, Outcome, RunOptions, start
from tests.mlflow_app.fuzz_routes import NoGenerator, routes_of
from tests.mlflow_app.fuzz_world import build

SEED = int(os.environ.get("FUZZ_SEED", "20"))
EVERYTHING = ("guard", "store", "files")
pytestmark = pytest.mark.timeout(1800)

# Handlers that reach a holder, one of our tags, a protected tag, or what a holder is made of, on an undefended server.
REACHING = """
    _transition_stage transition_requests_transition_stage _set_registered_model_alias _delete_registered_model_alias
    _delete_model_version _delete_registered_model _rename_registered_model _set_model_version_tag
    _delete_model_version_tag _create_model_version _set_registered_model_tag _delete_registered_model_tag
    _create_registered_model
    _upload_artifact _delete_artifact_mlflow_artifacts _complete_multipart_upload_artifact
    _create_presigned_upload_url serve_upload_artifact _delete_workspace_handler _delete_run _delete_experiment
    _delete_logged_model transition_requests_create transition_requests_approve transition_requests_reject
    transition_requests_delete
"""
# The share of calls that each mode gets: together more than 5,000.
SHARES = dict(zip(MODES, (0.85, 0.75, 0.75, 0.75), strict=True))


class Runs:
    """Every run that the tests read, two at a time, started together."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._workers = ThreadPoolExecutor(2)
        worlds = {mode.template: mode for mode in MODES.values()}
        list(self._workers.map(self._world, worlds.values()))
        self._started: dict[tuple[str, tuple[str, ...]], Future[Outcome]] = {}
        for mode in MODES.values():
            for without in ((), EVERYTHING):
                self._start(mode, without, SHARES[mode.name])
        for mode in MODES.values():
            self._start(mode, ("guard",), 0.3, dangerous_only=True)
            self._start(mode, ("store",), 0.1, dangerous_only=True)

    def of(self, *without: str) -> list[Outcome]:
        return [self._started[name, without].result() for name in MODES]

    def stop(self) -> None:
        self._workers.shutdown(cancel_futures=True)

    def _world(self, mode: Mode) -> None:
        place = self._directory / mode.template
        scheme = "object" if mode.object_store else "file"
        build(f"sqlite:///{place}/mlflow.db", place, workspaces=mode.workspaces, auth=True, direct=scheme)

    def _start(self, mode: Mode, without: tuple[str, ...], share: float, *, dangerous_only: bool = False) -> None:
        name = f"{len(self._started)}"
        options = RunOptions(
            mode, self._directory / mode.template, self._directory / name, SEED, without, share, dangerous_only
        )
        out = self._directory / f"{name}.json"
        self._started[mode.name, without] = self._workers.submit(start, options, out)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    runs = Runs(tmp_path_factory.mktemp("fuzz"))
    yield runs
    runs.stop()


def test_at_least_five_thousand_calls_make_no_unauthorized_change(runs: Runs) -> None:
    outcomes = runs.of()
    assert sum(len(outcome.statuses) for outcome in outcomes) >= 5_000
    assert not any(outcome.wrong for outcome in outcomes), findings(outcomes, "wrong")


def test_among_them_are_approvals_and_acts_of_administrators_that_change_holders(runs: Runs) -> None:
    by = Counter(cause for outcome in runs.of() for cause in outcome.accounted.values())
    assert by["approval"] >= 20
    assert by["administrator"] >= 40
    assert by["request resolved"] >= 15


def test_protected_tags_change_by_approvers_and_administrators_and_undefended_by_anybody(runs: Runs) -> None:
    assert sum("protected tag" in text for outcome in runs.of(*EVERYTHING) for text in outcome.changed.values()) >= 60
    by = Counter(cause for outcome in runs.of() for cause in outcome.accounted.values())
    assert by["approver of a tag"] >= 3


def test_the_same_calls_to_an_undefended_server_change_holders_by_every_route_that_can(runs: Runs) -> None:
    defended, undefended = runs.of(), runs.of(*EVERYTHING)
    for walled, bare in zip(defended, undefended, strict=True):
        assert (walled.routes, walled.identities) == (bare.routes, bare.identities)
    assert sum(len(outcome.wrong) for outcome in undefended) >= 300
    can = {plain(route) for outcome in undefended for route in reaching(outcome)}
    did = {plain(outcome.routes[number]) for outcome in undefended for number in outcome.changed}
    # Fails too if a route outside the set changes a holder.
    assert sorted(did ^ can) == []


def test_without_the_stores_wall_holders_change(runs: Runs) -> None:
    outcomes = runs.of("store")
    assert sum(len(outcome.wrong) for outcome in outcomes) >= 20
    families = {outcome.families[number] for outcome in outcomes for number in outcome.wrong}
    assert families >= {"registry", "workspaces", "origins"}


def test_without_the_guard_at_the_routes_no_holder_changes(runs: Runs) -> None:
    outcomes = runs.of("guard")
    assert not any(outcome.wrong for outcome in outcomes), findings(outcomes, "wrong")


def test_nothing_answers_500_because_of_the_app(runs: Runs) -> None:
    """MLflow answers 500 to some calls by itself: those that do so undefended are its own."""
    found = []
    for walled, bare in zip(runs.of(), runs.of(*EVERYTHING), strict=True):
        for number, answer in walled.errors.items():
            own = walled.families[number] == "requests" or "transition_requests" in walled.endpoints[number]
            if own or bare.statuses[number] < 500:
                found.append(
                    f"{walled.mode}: {walled.shown[number]} answered {walled.statuses[number]}: {answer[:300]}"
                )
    assert not found, "\n".join([f"seed {SEED}", *found])


def test_a_new_route_of_mlflow_fails_until_it_is_reviewed() -> None:
    rule = SimpleNamespace(rule="/api/4.0/mlflow/registered-models/swap", methods={"POST"}, endpoint="_swap_models")
    flask_app = SimpleNamespace(url_map=SimpleNamespace(iter_rules=lambda: [rule]))
    native = SimpleNamespace(path="/api/4.0/mlflow/aliases", methods={"PUT"})
    with pytest.raises(NoGenerator, match="POST /api/4.0/mlflow/registered-models/swap, PUT /api/4.0/mlflow/aliases"):
        routes_of(flask_app, SimpleNamespace(routes=[native]))


# --- what a failure shows ------------------------------------------------------------------------------------


def findings(outcomes: Iterable[Outcome], what: str) -> str:
    lines = [f"seed {SEED} (FUZZ_SEED)"]
    for outcome in outcomes:
        found: Mapping[int, str] = getattr(outcome, what)
        lines += [
            f"{outcome.mode}: {outcome.shown[number]} answered {outcome.statuses[number]}\n    {finding}"
            for number, finding in found.items()
        ]
    return "\n".join(lines)


def reaching(outcome: Outcome) -> set[str]:
    """Labels of the routes of this mode that can change something that is protected."""
    can = set(REACHING.split())
    return {
        outcome.routes[number]
        for number, endpoint in enumerate(outcome.endpoints)
        # Routes that FastAPI serves itself have no endpoint name.
        if endpoint in can or (endpoint.startswith("native PUT") and outcome.families[number] == "artifacts")
    }


def plain(route: str) -> str:
    """A label as on a server without a prefix."""
    return route.replace(f" {PREFIX}/", " /")
