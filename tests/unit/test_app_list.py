"""What the daemon tells the MLflow app with its list call."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from reconciler.domain.policy import Policy
from reconciler.domain.request import Assurance
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.policy.file import parse_policy
from reconciler.ports import Listing, Unavailable
from reconciler.registry.app import AppRegistry
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.transport import Transport
from tests.unit.test_transport import replying, serving

RULE = """
  - name: {name}
    models: ["{glob}"]
    targets: [Production, "@champion"]
    require: [{{metric: accuracy, min: 0.9}}]"""


def policy(count: int) -> Policy:
    rules = "".join(RULE.format(name=f"r{number}", glob=f"fraud-{number}-*") for number in range(count))
    return parse_policy(f"version: 1\nrules:{rules}\n", "policy.yaml").policy


def asked(scope: Scope) -> dict[str, list[str]]:
    with serving(replying(200, '{"requests": []}')) as server:
        client = Transport(Endpoint(server.uri))
        AppRegistry(server.uri, "", client, client).open_requests(scope)
        return parse_qs(urlsplit(server.seen[0]["path"]).query)


def test_the_daemon_tells_what_its_policy_governs() -> None:
    [told] = asked(policy(1).scope())["governed"]
    assert json.loads(told) == [{"models": ["fraud-0-*"], "targets": ["@champion", "Production"]}]


def test_a_person_who_lists_requests_tells_nothing_of_a_policy() -> None:
    assert "governed" not in asked(Scope.of_all_models([Target.parse("Production")]))


def test_more_than_a_query_holds_is_not_told() -> None:
    assert "governed" not in asked(policy(200).scope())


ENTRY = {
    "number": 7, "what": "approved", "name": "fraud", "version": "1", "to_stage": "Production", "id": "r",
    "user_id": "mia", "user_assurance": "authenticated", "comment": "", "creation_timestamp": 0, "decision_id": None,
}  # fmt: skip


def listing(entry: dict[str, object], read_to: object = 7) -> Listing:
    body = json.dumps({"requests": [], "history": [entry], "history_to": read_to})
    with serving(replying(200, body)) as server:
        client = Transport(Endpoint(server.uri))
        return AppRegistry(server.uri, "", client, client).open_requests(policy(1).scope())


def test_what_a_newer_app_says_of_a_person_is_not_known_and_stops_nothing() -> None:
    history = listing(ENTRY | {"user_assurance": "sworn"}).history
    assert history is not None
    assert [entry.decider.assurance for entry in history.entries] == [Assurance.UNKNOWN]


@pytest.mark.parametrize(
    ("entry", "read_to"),
    [(ENTRY, 10**30), (ENTRY, -1), (ENTRY | {"number": 10**30}, 7)],
    ids=["to", "negative", "number"],
)
def test_a_number_that_no_database_holds_is_an_answer_that_cannot_be_read(
    entry: dict[str, object], read_to: object
) -> None:
    with pytest.raises(Unavailable, match="no history in the answer"):
        listing(entry, read_to)


def test_a_decision_that_is_no_text_is_read_as_one() -> None:
    history = listing(ENTRY | {"decision_id": ["a"]}).history
    assert history is not None
    assert [entry.decision_id for entry in history.entries] == ["['a']"]
