"""Judged on what is true now, on a real server, by the installed command; a proxy holds calls back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import requests

from tests.acceptance.conftest import DECISION, Product, Server
from tests.unit.test_transport import replying, serving

Name = Callable[[str], str]
LONG_AGO = "2000-01-01T00:00:00.000Z"


def measure(server: Server, run: str, accuracy: float) -> None:
    body = {"run_id": run, "key": "validation_accuracy", "value": accuracy, "timestamp": 3, "step": 1}
    server.call("POST", "runs/log-metric", json=body)


def whole(product: Product) -> list[dict[str, Any]]:
    """Every decision in full, the oldest first."""
    rows = sorted(product.decisions(), key=lambda row: row["judgement"])
    return [json.loads(product.ok("audit", "show", row["decision_id"], "--format", "json")) for row in rows]


def said(product: Product) -> list[tuple[str, str | None, str | None]]:
    return [(row["verdict"], row["outcome"], row["effect"]) for row in whole(product)]


def time_passes(product: Product) -> None:
    """No act that was sent can take effect any more, as far as the daemon knows, and everything is due."""
    with closing(sqlite3.connect(product.place / "audit.db")) as working_state, working_state:
        working_state.execute("UPDATE pending_acts SET answer_by = ? WHERE answer_by IS NOT NULL", [LONG_AGO])


def test_a_request_that_observe_rejected_is_judged_again_once_its_metric_is_mended(
    server: Server, product: Product, name: Name
) -> None:
    product.mode = "observe"
    product.variables["COLUMNS"] = "400"
    run = server.version(name("fraud"), metric=0.5)
    server.ask(name("fraud"))
    product.ok("once")
    assert "would reject" in product.ok("status")
    measure(server, run, 0.95)
    assert product.run("explain", name("fraud"), "1", "Production").returncode == 0
    product.ok("once")
    product.ok("once")
    assert said(product) == [("reject", "observed", "nothing"), ("approve", "observed", "nothing")]
    assert "would approve" in product.ok("status")
    product.mode = "enforce"
    product.ok("once")
    assert said(product)[2:] == [("approve", "applied", "moved")]
    assert server.shown(name("fraud"))["current_stage"] == "Production"


class Holding:
    """A proxy that keeps the moves it is sent, answers 504, and lets them through when it is told to."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._held: list[tuple[str, str, bytes]] = []
        self.holds, self.refuses_to_tell = True, False

    def answer(self, handler: Any) -> None:
        if self.holds and "model-versions/transition-stage" in handler.path:
            self._held.append((handler.command, handler.path, handler.body))
            replying(504, b"<html>gateway timeout</html>", Content_Type="text/html")(handler)
        elif self.refuses_to_tell and b"transition_decision" in (handler.body or b""):
            replying(403, json.dumps({"error_code": "PERMISSION_DENIED", "message": "not now"}))(handler)
        else:
            reply = self._forward(handler.command, handler.path, handler.body)
            replying(reply.status_code, reply.content, Content_Type=reply.headers["Content-Type"])(handler)

    def let_through(self) -> None:
        assert self._held
        for call in self._held:
            assert self._forward(*call).status_code == 200

    def _forward(self, method: str, path: str, body: bytes) -> requests.Response:
        headers = {"Content-Type": "application/json"} if body else {}
        return requests.request(method, self._uri + path, data=body, headers=headers, timeout=60)


@contextmanager
def lapsed_behind_a_proxy(
    server: Server, product: Product, model: str, *, successor_is_refused: bool
) -> Iterator[Holding]:
    """An approval whose move the proxy holds is judged otherwise, and lapses once no answer can come any more."""
    run = server.version(model, metric=0.95)
    server.tag(model, "please")
    holding = Holding(server.uri)
    with serving(holding.answer) as front:
        product.variables |= {"RECONCILER_REGISTRY__URI": front.uri, "RECONCILER_REGISTRY__PROTOCOL": "tags"}
        assert product.run("once").returncode == 1
        measure(server, run, 0.1)
        assert product.run("once").returncode == 1
        assert said(product) == [("approve", None, None)], "it may still take effect"
        time_passes(product)
        holding.refuses_to_tell = successor_is_refused
        product.run("once")
        assert server.shown(model)["current_stage"] == "None"
        yield holding


def test_a_move_that_lands_after_its_decision_lapsed_is_on_record(server: Server, product: Product, name: Name) -> None:
    with lapsed_behind_a_proxy(server, product, name("fraud"), successor_is_refused=False) as proxy:
        assert said(product) == [("approve", "lapsed", "nothing"), ("reject", "applied", "refused")]
        proxy.let_through()
        assert server.shown(name("fraud"))["current_stage"] == "Production"
        product.ok("once")
        product.ok("once")
    assert said(product) == [("approve", "lapsed", "moved"), ("reject", "applied", "refused")]
    first, second = whole(product)
    assert len(first["late_effects"]) == 1
    assert (first["replaced_by"], second["replaces"]) == (second["decision_id"], first["decision_id"])
    shown = product.ok("audit", "show", first["decision_id"])
    assert "took effect after it had ended" in shown
    assert f"replaced by decision {second['decision_id']}" in " ".join(shown.split())
    product.ok("audit", "verify")


def test_a_successor_that_is_not_carried_out_yet_lapses_when_the_first_move_lands(
    server: Server, product: Product, name: Name
) -> None:
    with lapsed_behind_a_proxy(server, product, name("fraud"), successor_is_refused=True) as proxy:
        assert said(product) == [("approve", "lapsed", "nothing"), ("reject", None, None)]
        proxy.let_through()
        proxy.refuses_to_tell = False
        product.run("once")
        product.ok("once")
    # The request is still open, so it is judged once more, and what is told then is told last.
    assert said(product) == [
        ("approve", "lapsed", "moved"),
        ("reject", "lapsed", "nothing"),
        ("reject", "applied", "refused"),
    ]
    first, second, third = whole(product)
    assert [second["replaces"], third["replaces"]] == [first["decision_id"], second["decision_id"]]
    assert server.shown(name("fraud"))["tags"][DECISION].startswith("Rejected ")


@pytest.mark.parametrize("better", [True, False])
def test_an_act_that_was_refused_is_judged_again_before_it_is_tried_again(
    server: Server, product: Product, name: Name, better: bool
) -> None:
    run = server.version(name("fraud"), metric=0.95)
    server.tag(name("fraud"), "please")
    proxy = Holding(server.uri)
    proxy.holds, proxy.refuses_to_tell = False, True
    with serving(proxy.answer) as front:
        product.variables |= {"RECONCILER_REGISTRY__URI": front.uri, "RECONCILER_REGISTRY__PROTOCOL": "tags"}
        assert product.run("once").returncode == 1
        measure(server, run, 0.97 if better else 0.1)
        proxy.refuses_to_tell = False
        product.ok("once")
    rows = whole(product)
    if better:
        assert said(product) == [("approve", "applied", "moved")]
        [confirmation] = rows[0]["confirmations"]
        assert confirmation["evidence"]["run"]["metrics"]["validation_accuracy"]["text"] == "0.97"
        assert "0.97" in product.ok("audit", "show", rows[0]["decision_id"])
    else:
        assert said(product) == [("approve", "lapsed", "nothing"), ("reject", "applied", "refused")]
        assert rows[0]["confirmations"] == []
    assert server.shown(name("fraud"))["current_stage"] == ("Production" if better else "None")
