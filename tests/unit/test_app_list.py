"""What the daemon tells the MLflow app with its list call."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

from reconciler.domain.policy import Policy
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.policy.file import parse_policy
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
