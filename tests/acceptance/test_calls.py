"""How many calls a cycle costs, counted on a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, CycleSummary, PolicyInForce
from reconciler.demo.server import mlflow_server
from reconciler.domain.decision import Mode
from reconciler.domain.holding.looks import Look
from reconciler.domain.target import Target
from reconciler.policy.file import parse_policy
from reconciler.registry.app import AppRegistry
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Transport
from tests.acceptance.conftest import Server, served
from tests.acceptance.people import People
from tests.acceptance.wide import wide_version
from tests.builders import accuracy_policy, comparing_policy

POLICY = accuracy_policy(targets='Production, "@champion"')


@pytest.fixture(scope="module")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server to itself: what other tests changed in the last ten minutes is read too, and stray tags are told."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as uri:
        yield uri


class Counted:
    def __init__(
        self,
        uri: str,
        place: Path,
        kind: type[TagsRegistry] | type[AppRegistry] = TagsRegistry,
        policy: str = POLICY,
    ) -> None:
        self.transport = Transport(Endpoint(uri))
        self.registry = kind(uri, "", self.transport, self.transport)
        url = f"sqlite:///{place}/audit.db"
        schema.upgrade(url)
        loaded = parse_policy(policy, "policy.yaml")
        self.policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
        self.cycle = Cycle(self.registry, SqlAuditLog(make_engine(url), "test:1", uri))
        # Of the last cycle: the calls that a look at what holds a target took.
        self.looking = 0
        for name in ("look", "look_at"):
            setattr(self.registry, name, self._counting(getattr(self.registry, name)))

    def _counting(self, look: Callable[[Any], Look]) -> Callable[[Any], Look]:
        def counted(asked: Any) -> Look:
            before = self.transport.calls
            seen = look(asked)
            self.looking += self.transport.calls - before
            return seen

        return counted

    def run(self, mode: Mode = Mode.ENFORCE) -> CycleSummary:
        self.looking = 0
        return self.cycle.run(self.policy, mode)

    @property
    def calls(self) -> int:
        """Of the last cycle, but for its look."""
        return self.transport.calls - self.looking


def reads_of_outputs(server: Server, runs: int) -> int:
    """Newer servers show in a search which models a run logged. Others are asked once, and have nothing to show, or
    show it where a run is read by itself."""
    if server.shows_outputs_in_searches:
        return 0
    return runs if server.has_logged_models else 1


@pytest.mark.parametrize("versions", [10, 150])
def test_an_idle_cycle_is_one_call_for_each_governed_target_whatever_the_registrys_size(
    server: Server, tmp_path: Path, name: Callable[[str], str], versions: int
) -> None:
    server.call("POST", "registered-models/create", json={"name": name("many")})
    for _ in range(versions):
        server.call("POST", "model-versions/create", json={"name": name("many"), "source": "s3://bucket/model"})
    counted = Counted(server.uri, tmp_path)
    for _ in range(3):
        counted.run()
    assert counted.calls == 2
    # What changed in the last ten minutes, and the models' aliases. A page has 100 changes, the next ones 1,000.
    assert counted.looking == (2 if versions < 100 else 3)


def test_a_decision_costs_at_most_three_writes_and_its_share_of_the_batchs_reads(
    server: Server, tmp_path: Path, name: Callable[[str], str]
) -> None:
    counted = Counted(server.uri, tmp_path)
    for number in range(20):
        server.version(name(f"m{number}"), metric=0.94 if number % 2 else 0.5)
        server.tag(name(f"m{number}"), "please")
    summary = counted.run()
    assert summary.verdicts == {"approved": 10, "rejected": 10}
    writes = 10 * 3 + 10 * 2
    # Three for each batch of ten, or two for each request, after it was found out that lists are refused; and the
    # version right before it is told.
    readings = 20 + (2 * 3 if server.takes_lists_of_names else 2 + 20 * 2)
    # Two lists, experiments and runs for the evidence, and what the search for runs leaves out.
    assert counted.calls <= writes + 2 + 2 + reads_of_outputs(server, 20) + readings
    assert summary.outcomes == {"applied": 20}


def test_what_a_server_can_do_is_tried_once_and_remembered(
    server: Server, tmp_path: Path, name: Callable[[str], str]
) -> None:
    counted, calls = Counted(server.uri, tmp_path), []
    for number in range(2):
        server.version(name(f"m{number}"), metric=0.94)
        server.tag(name(f"m{number}"), "please")
        assert counted.run().outcomes == {"applied": 1}
        calls.append(counted.calls)
    # Two lists, the run, the readings, three writes.
    assert calls[1] == 2 + 1 + (3 if server.takes_lists_of_names else 2) + 1 + 3
    assert calls[0] - calls[1] == (0 if server.takes_lists_of_names else 2)


def test_what_is_asked_of_a_run_does_not_depend_on_how_many_runs_there_are(
    server: Server, tmp_path: Path, name: Callable[[str], str]
) -> None:
    counted = Counted(server.uri, tmp_path)
    for number in range(2, 4):
        server.version(name(f"m{number}"), metric=0.94)
        server.tag(name(f"m{number}"), "please", key=f"transition_request.alias.{Target.parse('@champion').name}")
    counted.run()
    # Each version is read before it is told, and again after it: a search shows no aliases.
    readings = 2 * 2 + (3 if server.takes_lists_of_names else 2 + 2 * 2)
    assert counted.calls <= 2 * 3 + 2 + 2 + reads_of_outputs(server, 2) + readings


@pytest.fixture
def app_server(app_uri: str) -> Iterator[Server]:
    yield from served(app_uri, "transition-requests")


@pytest.mark.parametrize("open_requests", [0, 60])
def test_with_the_app_an_idle_cycle_is_one_call_whatever_is_open(
    app_server: Server, tmp_path: Path, name: Callable[[str], str], open_requests: int
) -> None:
    counted = Counted(app_server.uri, tmp_path, AppRegistry)
    for number in range(open_requests):
        app_server.version(name(f"m{number}"), metric=0.5)
        app_server.ask(name(f"m{number}"))
    counted.run(Mode.OBSERVE)
    counted.run(Mode.OBSERVE)
    assert (counted.calls, counted.looking) == (1, 0)


def test_with_the_app_a_decision_is_one_write_and_a_share_of_one_re_read(
    app_server: Server, tmp_path: Path, name: Callable[[str], str]
) -> None:
    counted = Counted(app_server.uri, tmp_path, AppRegistry)
    for number in range(20):
        app_server.version(name(f"m{number}"), metric=0.94 if number % 2 else 0.5)
        app_server.ask(name(f"m{number}"))
    summary = counted.run()
    assert summary.outcomes == {"applied": 20}
    # One list; experiments and runs for the evidence; a re-read for each batch of ten; an act for each request.
    assert counted.calls == 1 + 2 + 2 + 20


def test_with_the_app_one_request_of_the_official_client_is_listed_once_and_approved_once(
    app_server: Server, tmp_path: Path, name: Callable[[str], str]
) -> None:
    app_server.version(name("fraud"), metric=0.94)
    client = WorkspaceClient(host=app_server.uri, token="none", auth_type="pat").model_registry
    client.create_transition_request(name("fraud"), "1", "Production", comment="by the SDK")
    counted = Counted(app_server.uri, tmp_path, AppRegistry)
    assert counted.run().outcomes == {"applied": 1}
    # List, the run, re-read, approve.
    assert counted.calls == 4
    assert list(client.list_transition_requests(name("fraud"), "1")) == []


def cost_of(counted: Counted, server: Server, models: list[str]) -> int:
    for model in models:
        server.ask(model)
    assert counted.run().outcomes == {"applied": len(models)}
    return counted.calls


@pytest.mark.either_protocol
def test_all_that_is_recorded_of_a_version_costs_no_call_more(
    server: Server, tmp_path: Path, name: Callable[[str], str]
) -> None:
    counted = Counted(server.uri, tmp_path, TagsRegistry if server.protocol == "tags" else AppRegistry)
    bare, wide = ([name(f"{kind}{number}") for number in range(12)] for kind in ("bare", "wide"))
    for number in range(12):
        # The evidence of one batch is read together, before and after it was found out what the server can do.
        server.version(bare[number], metric=0.94)
        wide_version(server, wide[number], logged_model=False)
    cost_of(counted, server, bare[:4])
    assert cost_of(counted, server, wide[4:]) == cost_of(counted, server, bare[4:])


@pytest.mark.parametrize(("target", "reads_of_a_holder"), [("Production", 1), ("@champion", 2)])
def test_a_comparison_reads_each_model_once_and_all_runs_together_and_both_again_before_the_act(
    app_server: Server, tmp_path: Path, name: Callable[[str], str], target: str, reads_of_a_holder: int
) -> None:
    counted = Counted(app_server.uri, tmp_path, AppRegistry, comparing_policy(targets='Production, "@champion"'))
    models = [People(app_server, name(f"m{number}")) for number in range(4)]
    for accuracy in (0.80, 0.90):
        for model in models:
            model.ask(model.version(accuracy), target)
        assert counted.run().outcomes == {"applied": 4}
    # The list, the holders, one search for the runs of all; a re-read; the same again and each candidate; the acts. An
    # alias's version is read by itself, where the model does not show it as the newest of its stage.
    assert counted.calls == 1 + 4 * 1 + 1 + 1 + 4 * 1 + 4 + 1 + 4 + 4 * 2 * (reads_of_a_holder - 1)
