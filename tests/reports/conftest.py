"""One past on each database, which the tests only read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reconciler.audit import schema
from reconciler.audit.database import Access, make_engine, one_state, opened
from reconciler.audit.reporting import Answer, Asked, Reading
from reconciler.audit.reports import reports
from reconciler.domain.target import Target
from tests.reports.past import Past


def new_database(request: pytest.FixtureRequest, folders: pytest.TempPathFactory, kind: str) -> str:
    """An empty database of this kind, of today's schema."""
    url = f"sqlite:///{folders.mktemp('audit')}/audit.db"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    schema.upgrade(url)
    return url


@pytest.fixture(scope="module", params=["sqlite, kept", "sqlite", "postgresql, kept", "postgresql"])
def past(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    database, _, kept = request.param.partition(", ")
    url = new_database(request, tmp_path_factory, database)
    engine = make_engine(url)
    yield Past(engine, seed=7, kept=bool(kept))
    engine.dispose()


@contextmanager
def answered(past: Past, name: str, **asked: Any) -> Iterator[Answer]:
    """The answer of a report, read as any auditor reads it; its rows can be read until the block ends."""
    for word in ("since", "until"):
        if isinstance(number := asked.get(word), int):
            asked[word] = past.truth.between(number)
    if isinstance(target := asked.get("target"), str):
        asked["target"] = Target.parse(target)
    with opened(past.url, Access.READ) as engine, one_state(engine) as connection:
        yield reports()[name].answer(Reading(connection, Asked(**asked)))


def rows_of(answer: Answer, section: str) -> list[Any]:
    [found] = [one for one in answer.sections if one.name == section]
    return list(found.rows)
