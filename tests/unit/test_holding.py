"""What is known of open tenures beside what is on record: which of them are of prompts."""

from __future__ import annotations

from datetime import UTC, datetime

from reconciler.domain.holding.looks import SeenModel, Tenure
from reconciler.domain.holding.tenures import Ended, Holders, Sign, ungoverned
from reconciler.domain.place import Place
from reconciler.domain.scope import Names, Part, Scope
from reconciler.domain.target import Target

NOW = datetime(2026, 7, 1, tzinfo=UTC)
PRODUCTION = Target.parse("@production")
PLACE = Place("greeting", "1", PRODUCTION)
HELD = Tenure(1, PLACE, None, NOW)
EVERY = Names(("*",))
OF_MODELS = Scope((Part(EVERY, frozenset({PRODUCTION})),))
OF_PROMPTS = Scope((Part(EVERY, frozenset({PRODUCTION}), of_prompts=True),))


def seen(*, is_prompt: bool, with_files: frozenset[str] = frozenset()) -> SeenModel:
    return SeenModel("greeting", {"production": "1"}, None, is_prompt, with_files)


def test_what_turns_out_to_be_a_prompt_is_held_against_the_rules_again() -> None:
    holders = Holders.of([HELD])
    holders.learn([SeenModel("nothing-held", {}, None, True)])
    assert not holders.relearned
    assert list(ungoverned(holders, OF_MODELS).ended) == []
    holders.learn([seen(is_prompt=True)])
    assert holders.relearned
    assert list(ungoverned(holders, OF_MODELS).ended) == [Ended(HELD, Sign.UNGOVERNED)]
    assert list(ungoverned(holders, OF_PROMPTS).ended) == []


def test_an_alias_of_a_marked_model_that_names_a_version_with_files_is_a_models() -> None:
    holders = Holders.of([HELD])
    holders.learn([seen(is_prompt=True, with_files=frozenset({"production"}))])
    assert list(ungoverned(holders, OF_MODELS).ended) == []
    holders.learn([seen(is_prompt=False)])
    assert not holders.is_prompts(PLACE)
