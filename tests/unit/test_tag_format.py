from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.request import Assurance
from reconciler.domain.tag_format import decision_tag, read_request, request_tag, request_value
from reconciler.domain.target import Target
from reconciler.ports import Listed

PRODUCTION = Target.parse("Production")
WRITTEN = {"id": "r-1", "requester": "ada", "requested_at": "2026-01-02T03:04:05.678Z", "comment": "please"}


def read(value: str) -> Listed:
    request, stamped = read_request("http://r", "", "fraud", "7", PRODUCTION, value)
    return Listed(request, None, stamped)


def test_the_tags_are_named_by_kind_and_target() -> None:
    assert request_tag(PRODUCTION) == "transition_request.stage.Production"
    assert request_tag(Target.parse("@champion")) == "transition_request.alias.champion"
    assert decision_tag(PRODUCTION) == "transition_decision.stage.Production"


def test_our_json_says_who_asked_and_when_and_is_only_asserted() -> None:
    request = read(json.dumps(WRITTEN)).request
    assert (request.id, request.requester.name, request.comment) == ("r-1", "ada", "please")
    assert request.requester.assurance is Assurance.ASSERTED
    assert request.requested_at == datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)


def test_a_typed_value_is_a_comment_of_somebody_unknown() -> None:
    listed = read("please, the numbers are great")
    assert not listed.stamped
    assert listed.request.comment == "please, the numbers are great"
    assert listed.request.requester.assurance is Assurance.UNKNOWN


@pytest.mark.parametrize(
    "value",
    ["", "[]", "{}", "1e999", '{"id": 7}', json.dumps(WRITTEN | {"requested_at": "yesterday"}),
     json.dumps(WRITTEN | {"id": ""}), json.dumps(WRITTEN | {"comment": ["x"]}), "[" * 50_000],
)  # fmt: skip
def test_whatever_is_not_wholly_our_json_counts_as_typed(value: str) -> None:
    assert not read(value).stamped


def test_a_stamped_value_is_the_same_request_when_it_is_read_again() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    seen = read("please").request.seen_first("given-id", at)
    again = read(request_value(seen))
    assert again.stamped
    assert again.request.key == seen.key
    assert again.request.comment == "please"


@given(st.text())
def test_any_value_is_a_request_and_a_stamp_keeps_its_comment(value: str) -> None:
    request = read(value).request
    stamped = read(request_value(replace(request, id=request.id or "x")))
    assert stamped.request.comment == request.comment
