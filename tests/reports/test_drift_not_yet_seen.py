"""What was approved a moment ago has not been read again: that nothing is known of it is said."""

from __future__ import annotations

import pytest

from reconciler.audit.database import make_engine
from tests.reports.conftest import answered, new_database
from tests.reports.past import MINUTE, Past


def test_what_was_approved_since_the_last_look_at_everything_is_not_taken_for_unchanged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    engine = make_engine(new_database(request, tmp_path_factory, "sqlite"))
    past = Past(engine, seed=7, kept=True, steps=0)
    past.clock.passes(MINUTE)
    past.ask(("churn", "@champion"))
    doubts = []
    # Decided; seen first; read again.
    for _ in range(3):
        past.clock.passes(MINUTE)
        past.cycle()
        with answered(past, "drift") as answer:
            doubts.append((answer.counts["approved_holders"], *answer.qualifications))
    engine.dispose()
    assert [(many, len(said)) for many, *said in doubts[1:]] == [(1, 1), (1, 0)]
    assert doubts[1][1].startswith("1 approved holder was first seen when everything was last looked at (")
