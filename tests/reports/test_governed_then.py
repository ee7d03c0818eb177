"""What was governed is what the policy of that time said, whatever today's says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from reconciler.audit.database import make_engine, one_state
from reconciler.audit.reporting import Asked, Reading
from reconciler.audit.reports import reports
from reconciler.cycle import PolicyInForce
from reconciler.policy.file import parse_policy
from tests.store.conftest import engine
from tests.store.test_abstentions import POLICY as OF_FRAUD
from tests.store.test_observations import CHAMPION, Looking

__all__ = ["engine"]


@pytest.fixture
def looking(engine: Engine) -> Iterator[Looking]:
    looking = Looking(engine)
    looking.clock.passes(-timedelta(hours=1))
    yield looking
    looking.engine.dispose()


def answer(
    looking: Looking, name: str, since: datetime | None = None, until: datetime | None = None, **asked: Any
) -> dict[str, Any]:
    """The rows of a report by section, and its counts."""
    engine = make_engine(looking.engine.url.render_as_string(hide_password=False))
    with one_state(engine) as connection:
        found = reports()[name].answer(Reading(connection, Asked(since, until, **asked)))
        return {section.name: list(section.rows) for section in found.sections} | {"counts": found.counts}


def test_a_tenure_at_a_target_that_is_not_governed_any_more_stays_in_the_period_in_which_it_was(
    looking: Looking,
) -> None:
    looking.govern('Production, "@champion"')
    looking.cycle()
    looking.move("1", CHAMPION)
    looking.cycles(2)
    then = looking.clock.now()
    looking.govern("Production")
    looking.cycles(2)
    later = looking.clock.now()
    # Nobody looks at it now, so nothing can be said of it.
    looking.move("2", CHAMPION)
    looking.cycles(2)
    for since, until, expected in ((None, then, ["1"]), (None, None, ["1"]), (later, None, [])):
        rows = answer(looking, "completeness", since, until)["tenures"]
        assert [row.version for row in rows] == expected
    [first, second] = answer(looking, "completeness")["watched"]
    assert ("@champion" in first.scope, "@champion" in second.scope) == (True, False)
    assert len(answer(looking, "completeness", until=then)["watched"]) == 1


def test_what_was_there_when_it_became_governed_is_a_baseline_of_that_period_and_not_an_exception(
    looking: Looking,
) -> None:
    looking.move("1", CHAMPION)
    looking.cycles(2)
    before = looking.clock.now()
    looking.govern('Production, "@champion"')
    looking.cycles(2)
    assert answer(looking, "completeness", until=before)["counts"]["tenures"] == 0
    found = answer(looking, "completeness")
    assert [row.counted_as for row in found["tenures"]] == ["baseline"]
    [change] = answer(looking, "policies")["changes"]
    assert change.difference.endswith("targets was Production, is @champion, Production")


def test_a_request_that_no_rule_covers_is_told_with_its_model(looking: Looking) -> None:
    loaded = parse_policy(OF_FRAUD, "policy.yaml")
    looking.in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
    looking.registry.file("fraud", "1")
    looking.registry.file("churn", "1")
    looking.cycles(2)
    found = answer(looking, "coverage")
    assert [(row.model, row.refused_requests) for row in found["models"]] == [("churn", 1)]
    assert [(row.rule, row.models, row.decisions) for row in found["rules"]] == [("accuracy", 1, 1)]
    assert [(row.model, row.waiting_code) for row in found["open"]] == [("churn", "no_policy")]
    assert found["counts"]["by_age"]["under an hour"] == 1


RULES = """\
version: 1
rules:
  - {name: of-fraud, models: [fraud], targets: [Production], require: [{run: {}}]}
  - {name: of-churn, models: [churn], targets: ["@champion"], require: [{run: {}}]}
  - {name: of-none, models: ["nothing-*"], targets: [Production, "@champion"], require: [{run: {}}]}
"""


def test_a_filter_makes_no_rule_one_for_no_model(looking: Looking) -> None:
    loaded = parse_policy(RULES, "policy.yaml")
    looking.in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
    looking.registry.file("fraud", "1")
    looking.registry.file("churn", "1", target="@champion")
    looking.cycles(2)
    idle = ("of-none", 0)
    for asked, expected in (
        ({}, [idle, ("of-churn", 1), ("of-fraud", 1)]),
        ({"model": "fraud*"}, [idle, ("of-fraud", 1)]),
        ({"model": "elsewhere"}, [idle]),
        ({"target": CHAMPION}, [idle, ("of-churn", 1)]),
    ):
        found = answer(looking, "coverage", **asked)
        assert [(row.rule, row.models) for row in found["rules"]] == expected, asked
        assert found["counts"]["rules_without_a_model"] == 1
        assert found["models"] == []


def test_a_model_whose_rule_is_for_another_target_has_none_for_the_target_that_is_asked_for(looking: Looking) -> None:
    loaded = parse_policy(RULES, "policy.yaml")
    looking.in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
    looking.registry.file("fraud", "1", target="@champion")
    looking.cycles(2)
    assert answer(looking, "coverage")["models"] == []
    assert [row.model for row in answer(looking, "coverage", target=CHAMPION)["models"]] == ["fraud"]
