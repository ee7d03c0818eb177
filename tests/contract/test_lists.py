"""Every list that an adapter reads is whole, or there is none: what each does with pages that never end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.ports import Refused, Unavailable
from reconciler.registry.app import AppRegistry
from reconciler.registry.budget import Budget
from reconciler.registry.databricks import DatabricksRegistry, SweepTiming
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.evidence import EvidenceReader
from reconciler.registry.reaching import Unreached
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Timing, Transport
from tests.unit.test_transport import Server, replying, serving

PRODUCTION = Target.parse("Production")
SCOPE = Scope.of_all_models([PRODUCTION])
Reader = Callable[[Server], list[str]]
# The token that leads to a page, and the one that the page comes with; "" is none.
Tokens = Mapping[str, str]


def listed_by_tags(server: Server) -> list[str]:
    transport = Transport(Endpoint(server.uri))
    listing = TagsRegistry(server.uri, "", transport, transport).open_requests(SCOPE)
    for unread in listing.unread:
        assert not listing.requests
        raise Unavailable(unread.said)
    return [listed.request.version for listed in listing.requests]


def listed_by_the_app(server: Server) -> list[str]:
    transport = Transport(Endpoint(server.uri))
    listed = AppRegistry(server.uri, "", transport, transport).open_requests(SCOPE).requests
    return [one.request.version for one in listed]


def models_of_a_workspace(server: Server) -> list[str]:
    return [str(row["version"]) for row in swept(server).models()]


def versions_of_a_workspace(server: Server) -> list[str]:
    return sorted(str(row["version"]) for row in swept(server)._rows_of_versions("m"))


def swept(server: Server) -> DatabricksRegistry:
    transport = Transport(Endpoint(server.uri))
    return DatabricksRegistry(
        server.uri, [transport], transport, Budget(500),
        SweepTiming(timedelta(minutes=15), sweep_for=timedelta(seconds=5)),
    )  # fmt: skip


def experiments(server: Server) -> list[str]:
    transport = Transport(Endpoint(server.uri))
    return EvidenceReader(transport, transport).read_experiments()


def refusing(filter: str, status: int) -> Callable[[Any], None]:
    """A server that refuses the searches with this in their filter; the others find version 1."""
    row = {"name": "m", "version": "1", "tags": []}

    def answer(handler: Any) -> None:
        if filter in unquote(handler.path):
            replying(status, '{"error_code": "NO", "message": "not that"}')(handler)
        else:
            replying(200, json.dumps({"model_versions": [row]}))(handler)

    return answer


def test_a_search_by_tag_that_is_refused_stops_no_other_and_is_named() -> None:
    both = Scope.of_all_models([PRODUCTION, Target.parse("@champion")])
    with serving(refusing("stage.Production", 403)) as server:
        transport = Transport(Endpoint(server.uri))
        registry = TagsRegistry(server.uri, "", transport, transport)
        listing = registry.open_requests(both)
        assert [str(listed.request.target) for listed in listing.requests] == ["@champion"]
        [unread] = listing.unread
        assert (unread.target, "403 NO" in unread.said, "not that" in unread.said) == (PRODUCTION, True, True)
        # A person is shown every open request, or an error.
        with pytest.raises(Refused):
            registry.all_open(both)


def test_a_server_that_gives_no_answer_at_all_is_asked_once() -> None:
    transport = Transport(Endpoint("http://127.0.0.1:1"), timing=Timing(sleep=lambda seconds: None))
    registry = TagsRegistry("http://127.0.0.1:1", "", transport, transport)
    with pytest.raises(Unreached):
        registry.open_requests(Scope.of_all_models([PRODUCTION, Target.parse("@champion")]))
    assert transport.calls == 3


LISTS = [
    pytest.param(listed_by_tags, "model_versions", id="versions with a tag"),
    pytest.param(listed_by_the_app, "requests", id="requests of the app"),
    pytest.param(models_of_a_workspace, "registered_models", id="models of Databricks"),
    pytest.param(versions_of_a_workspace, "model_versions", id="versions of a model of Databricks"),
    pytest.param(experiments, "experiments", id="experiments"),
]


def paged(field: str, tokens: Tokens, *, empty: bool = False) -> Callable[[Any], None]:
    """A server whose pages follow each other by `tokens`, with one row on each, or none where they are `empty`."""

    def answer(handler: Any) -> None:
        body = json.loads(handler.body) if handler.body else {}
        asked = body.get("page_token") or parse_qs(urlsplit(handler.path).query).get("page_token", [""])[0]
        number = str([*tokens].index(asked) + 1)
        row = {"name": "m", "version": number, "experiment_id": number, "to_stage": "Production", "id": number}
        page = {field: [] if empty else [row]} | ({"next_page_token": tokens[asked]} if tokens[asked] else {})
        replying(200, json.dumps(page))(handler)

    return answer


@pytest.mark.parametrize(("read", "field"), LISTS)
def test_a_list_of_several_pages_is_read_to_its_end(read: Reader, field: str) -> None:
    with serving(paged(field, {"": "a", "a": "b", "b": ""})) as server:
        assert read(server) == ["1", "2", "3"]
        assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("tokens", "empty"),
    [
        pytest.param({"": "a", "a": "a"}, False, id="a token that repeats"),
        pytest.param({"": "a", "a": "a"}, True, id="an empty page that repeats its token"),
        pytest.param({"": "a", "a": "b", "b": "a"}, False, id="two tokens that take turns"),
    ],
)
@pytest.mark.parametrize(("read", "field"), LISTS)
def test_a_list_that_never_ends_is_no_list(read: Reader, field: str, tokens: Tokens, empty: bool) -> None:
    with serving(paged(field, tokens, empty=empty)) as server:
        with pytest.raises(Unavailable, match=f"the list of {field} cannot be read to its end"):
            read(server)
        assert len(server.seen) == len(tokens)
