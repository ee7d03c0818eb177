"""A real process is killed at every failpoint, and at every pair of them; the next ones end as if nothing had been."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.conftest import LONG, Case, Double, Zygote, failpoints, make_case
from tests.crash.record import says_nothing_false

ALL = failpoints()
WORLDS = [
    ("databricks double", "sqlite"),
    ("databricks double", "postgresql"),
    ("hiding double", "sqlite"),
    ("tags", "sqlite"),
    ("app", "postgresql"),
]
# No other cycle comes by here.
ONLY_JUDGED_AGAIN = {"judged again", "lapse to be committed", "lapsed", "looked for a late effect"}
PAIRS = [*itertools.product(ALL, ALL)]
# Each failpoint in one of the worlds, in turn; the long run has all of them.
SINGLES = [
    (name, world)
    for number, name in enumerate(ALL)
    for world in (WORLDS if LONG else WORLDS[number % len(WORLDS) :][:1])
]


def _said(one: str | tuple[str, str]) -> str:
    return one if isinstance(one, str) else "-".join(one)


@pytest.fixture
def case(request: pytest.FixtureRequest, zygote: Zygote, tmp_path: Path) -> Iterator[Case]:
    yield from make_case(request, zygote, tmp_path, *request.param)


@pytest.mark.parametrize(("name", "case"), SINGLES, indirect=["case"], ids=_said)
def test_killed_at_a_failpoint(case: Case, name: str) -> None:
    case.cycle(die_at=(name, 1))
    case.settle()
    case.verify()


@pytest.mark.parametrize("case", WORLDS if LONG else WORLDS[:1], indirect=True, ids="-".join)
@pytest.mark.parametrize(("first", "second"), PAIRS if LONG else PAIRS[::41])
def test_killed_at_a_pair_of_failpoints(case: Case, first: str, second: str) -> None:
    case.cycle(die_at=(first, 1))
    case.cycle(die_at=(second, 1))
    case.settle()
    case.verify()


@pytest.mark.parametrize("case", WORLDS[:1], indirect=True, ids="-".join)
@pytest.mark.parametrize("name", ["decision committed", "about to act", "acted", "concluded"])
def test_killed_when_a_failpoint_is_reached_again(case: Case, name: str) -> None:
    case.cycle(die_at=(name, 2))
    case.settle()
    case.verify()


@pytest.mark.parametrize("case", WORLDS[:2] if LONG else WORLDS[1:2], indirect=True, ids="-".join)
@pytest.mark.parametrize("name", [None, *(ALL if LONG else sorted({*ALL[::2], *ONLY_JUDGED_AGAIN}))])
def test_killed_at_a_failpoint_while_requests_are_judged_again(case: Case, name: str | None) -> None:
    reached = case.judged_again(None if name is None else (name, 1))
    case.settle()
    case.verify_judged_again()
    if name is None:
        assert reached >= ONLY_JUDGED_AGAIN


@pytest.mark.parametrize("case", WORLDS[:2], indirect=True, ids="-".join)
@pytest.mark.parametrize(
    "name", ["looked", "ends to be committed", "attributions to be committed", "lease to be committed"]
)
def test_killed_at_a_failpoint_when_a_version_has_been_taken_away(case: Case, name: str) -> None:
    case.settle()
    assert isinstance(case.registry, Double)
    case.registry.take_away()
    case.cycle((name, 1))
    for _ in range(3):
        case.cycle()
    query = "SELECT began_by, ended_by FROM tenures WHERE model = 'good'"
    assert [tuple(row) for row in case.query(query)] == [("decision", "undetermined")]
    says_nothing_false(case.url)


def test_every_failpoint_is_reached_and_kills(request: pytest.FixtureRequest, zygote: Zygote, tmp_path: Path) -> None:
    """A name that no cycle reaches proves nothing."""
    reached = set()
    for number, ((protocol, database), die_at) in enumerate(itertools.product(WORLDS, (None, ("confirmed", 1)))):
        place = tmp_path / str(number)
        place.mkdir()
        for case in make_case(request, zygote, place, protocol, database):
            reached |= set(case.cycle(die_at)["reached"]) | set(case.cycle()["reached"])
    place = tmp_path / "judged again"
    place.mkdir()
    for case in make_case(request, zygote, place, *WORLDS[0]):
        reached |= case.judged_again()
    place = tmp_path / "taken away"
    place.mkdir()
    for case in make_case(request, zygote, place, *WORLDS[0]):
        case.settle()
        assert isinstance(case.registry, Double)
        case.registry.take_away()
        reached |= set(case.cycle()["reached"])
    assert sorted(reached) == ALL
