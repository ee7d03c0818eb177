"""What only the tags protocol has: requests that were typed by hand, without an id and a time."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.acceptance.conftest import REQUEST, Product, Server

Name = Callable[[str], str]


def test_a_request_that_stays_open_is_stamped_with_an_id_and_a_time(
    server: Server, product: Product, name: Name
) -> None:
    product.policy(
        "version: 1\nrules:\n  - name: later\n    targets: [Production]\n"
        "    require: [{metric: validation_accuracy, min: 0.9, grace: 1d}]\n"
    )
    server.version(name("slow"))
    server.ask(name("slow"))
    product.ok("once")
    stamped = json.loads(server.shown(name("slow"))["tags"][REQUEST])
    assert (stamped["comment"], stamped["requester"]) == ("please", "")
    product.ok("once")
    assert json.loads(server.shown(name("slow"))["tags"][REQUEST]) == stamped
    assert product.decisions() == []
    [waiting] = json.loads(product.ok("status", "--json"))["open_requests"]
    assert waiting["waiting_code"] == "waiting"
