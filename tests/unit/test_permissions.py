"""Which permission levels are enough for what the policy governs."""

from __future__ import annotations

import pytest

from reconciler.domain.policy import Scope
from reconciler.domain.target import Target
from reconciler.registry.permissions import few, not_governable


def governing(*targets: str) -> Scope:
    return Scope.of_all_models([Target.parse(one) for one in targets])


@pytest.mark.parametrize(
    ("targets", "level", "lacking"),
    [
        (["Production"], "CAN_MANAGE", []),
        (["Production"], "CAN_MANAGE_PRODUCTION_VERSIONS", []),
        (["Production", "Staging"], "CAN_MANAGE_STAGING_VERSIONS", ["fraud (CAN_MANAGE_STAGING_VERSIONS)"]),
        (["Staging"], "CAN_MANAGE_STAGING_VERSIONS", []),
        (["Staging"], "CAN_READ", ["fraud (CAN_READ)"]),
    ],
)
def test_production_needs_more_than_staging(targets: list[str], level: str, lacking: list[str]) -> None:
    assert not_governable(governing(*targets), [("fraud", level)]) == lacking


def test_where_the_registry_does_not_say_nothing_is_lacking() -> None:
    assert not_governable(governing("Production"), [("fraud", "")]) == []


def test_of_many_names_ten_are_shown() -> None:
    assert few([f"m{number}" for number in range(12)]).endswith("m8, m9 and 2 more")
