"""The policies of docs/policies: each is one, each has its cases, and each rule is matched by one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.policy.file import read_policy
from reconciler.policy.testing import outcomes_of, read_cases, untouched

FOLDER = Path(__file__).resolve().parents[2] / "docs/policies"
POLICIES = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.endswith(".test.yaml"))


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_policy_that_is_shown_does_what_its_cases_say(path: Path) -> None:
    policy = read_policy(path).policy
    results = outcomes_of(policy, *read_cases(path.with_suffix(".test.yaml")))
    assert [(one.name, one.failures) for one in results if one.failures] == []
    assert untouched(policy, results) == []


def test_there_are_five_and_the_page_shows_each() -> None:
    page = (FOLDER.parent / "policy.md").read_text()
    assert len(POLICIES) == 5
    for path in POLICIES:
        assert f"```yaml\n{path.read_text()}```" in page
        assert f"(policies/{path.stem}.test.yaml)" in page
