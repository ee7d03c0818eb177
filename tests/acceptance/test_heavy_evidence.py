"""A run that its server cannot show, such as one with a million metrics, keeps nobody else waiting; on a real server.

A proxy answers as a gateway does whose server takes too long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from reconciler.domain.evidence.evidence import Unreadable
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.many import Many
from reconciler.registry.runs import Runs
from reconciler.registry.transport import Transport
from tests.acceptance.conftest import Product, Server, served
from tests.unit.test_transport import replying, serving

Name = Callable[[str], str]


@pytest.fixture
def server(mlflow_uri: str) -> Iterator[Server]:
    yield from served(mlflow_uri, "tags")


class Gateway:
    """Gives up on each call that names one of these runs. `asked`: about runs, by the end of the path."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self.heavy: set[str] = set()
        self.asked: list[tuple[str, bytes]] = []

    def answer(self, handler: Any) -> None:
        body = handler.body or b""
        if "/runs/" in handler.path:
            self.asked.append((handler.path.partition("?")[0].rpartition("/")[2], body))
        if any(run in handler.path or run.encode() in body for run in self.heavy):
            replying(504, b"<html>gateway timeout</html>", Content_Type="text/html")(handler)
            return
        headers = {"Content-Type": "application/json"} if body else {}
        reply = requests.request(handler.command, self._uri + handler.path, data=body, headers=headers, timeout=60)
        replying(reply.status_code, reply.content, Content_Type=reply.headers["Content-Type"])(handler)


def test_a_run_that_cannot_be_shown_keeps_no_other_request_waiting(
    server: Server, product: Product, name: Name
) -> None:
    gateway = Gateway(server.uri)
    for model in ("a", "heavy", "z"):
        run = server.version(name(model), metric=0.95)
        server.ask(name(model))
        gateway.heavy |= {run} if model == "heavy" else set()
    with serving(gateway.answer) as front:
        product.variables |= {"RECONCILER_REGISTRY__URI": front.uri, "RECONCILER_REGISTRY__PROTOCOL": "tags"}
        product.run("once")
    assert {row["model"]: row["outcome"] for row in product.decisions()} == {name("a"): "applied", name("z"): "applied"}
    stages = [server.shown(name(model))["current_stage"] for model in ("a", "heavy", "z")]
    assert stages == ["Production", "None", "Production"]


def test_what_did_not_come_is_left_out_of_searches_and_few_of_many_are_waited_for(server: Server, name: Name) -> None:
    runs = [server.version(name(str(number)), metric=0.95) for number in range(8)]
    gateway = Gateway(server.uri)
    gateway.heavy = {runs[0], runs[1]}
    with serving(gateway.answer) as front:
        transport = Transport(Endpoint(front.uri))
        reading = Runs(transport, Many(transport))
        for asked_before in (False, True):
            gateway.asked.clear()
            found = reading.all(runs, has_logged_models=False)
            assert {run for run in runs if isinstance(found[run], Unreadable)} == gateway.heavy
            searched = [body for path, body in gateway.asked if path == "search"]
            assert all((run.encode() not in body) is asked_before for body in searched for run in gateway.heavy)
            gets = [path for path, _ in gateway.asked if path == "get"]
            assert len(gets) >= len(gateway.heavy if asked_before else runs)
        gateway.heavy.clear()
        assert not any(isinstance(one, Unreadable) for one in reading.all(runs, has_logged_models=False).values())
        # Where nothing is answered, three are tried.
        gateway.heavy = set(runs)
        gateway.asked.clear()
        found = reading.all(runs, has_logged_models=False)
        assert all(isinstance(one, Unreadable) for one in found.values())
        searches, gets = (sum(path == kind for path, _ in gateway.asked) for kind in ("search", "get"))
        assert (gets, searches > 0) == (3 * searches, True)
        transport.close()
