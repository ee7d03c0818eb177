"""A database of a release that looked at no holders is upgraded, and its daemon goes on over the same registry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.log.verifying import verify
from reconciler.domain.target import Target
from reconciler.ports import Unavailable
from tests.crash.record import says_nothing_false
from tests.store.test_observations import CHAMPION, Looking
from tests.store.test_upgrading import Earlier, assert_intact, copied, earlier

__all__ = ["earlier"]  # a fixture


@pytest.fixture
def before(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Looking]:
    """Its daemon decides and moves, and no look of it shows anything."""
    looking = Looking(engine)

    def fails(wanted: object) -> None:
        raise Unavailable("this release does not look")

    monkeypatch.setattr(looking.registry, "look", fails)
    yield looking
    monkeypatch.undo()


@pytest.mark.parametrize("audit_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("earlier", ["0016_resolutions"], indirect=True)
def test_what_an_earlier_release_approved_is_held_by_its_decision_and_what_else_is_there_is_a_baseline(
    before: Looking, earlier: Earlier, monkeypatch: pytest.MonkeyPatch
) -> None:
    before.govern('Production, "@champion"')
    registry = before.registry
    for model in ("replaced", "taken"):
        registry.file(model, "1")
    registry.file("approved", "1", "@champion")
    registry.file("refused", "1", accuracy="0.5")
    before.cycle()
    registry.accuracy["replaced", "2"] = registry.accuracy["never asked", "1"] = "0.95"
    registry.holders["replaced", Target.parse("Production")] = "2"
    registry.holders["never asked", CHAMPION] = "1"
    del registry.holders["taken", Target.parse("Production")]
    assert before.rows("SELECT count(*) FROM observations")[0][0] == 0
    copied(before.engine.url.render_as_string(hide_password=False), earlier.url, earlier.revision)
    schema.upgrade(earlier.url)
    monkeypatch.undo()
    after = Looking(make_engine(earlier.url))
    after.clock.passes(timedelta(hours=1))
    after.registry, after.in_force = registry, before.in_force
    after.daemon = after.another("test:1")
    after.cycles(3)
    registry.file("approved", "2", "@champion")
    after.cycles(2)
    found = after.rows("SELECT model, version, began_by, ended_by FROM tenures ORDER BY model, version")
    assert [tuple(row) for row in found] == [
        ("approved", "1", "decision", "decision"),
        ("approved", "2", "decision", None),
        ("never asked", "1", "baseline", None),
        ("replaced", "2", "baseline", None),
    ]
    assert after.of_bypass() == []
    assert verify(after.engine).differences == ()
    assert_intact(earlier.url)
    says_nothing_false(earlier.url)
    after.engine.dispose()
