"""The policies of docs/policies: each is one, each has its cases, and each rule is matched by one of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from reconciler.policy.file import read_policy
from reconciler.policy.grammar import policy_model
from reconciler.policy.testing import outcomes_of, read_cases, untouched

FOLDER = Path(__file__).resolve().parents[2] / "docs/policies"
POLICIES = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.endswith(".test.yaml"))


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_policy_that_is_shown_does_what_its_cases_say(path: Path) -> None:
    policy = read_policy(path).policy
    results = outcomes_of(policy, *read_cases(path.with_suffix(".test.yaml")))
    assert [(one.name, one.failures) for one in results if one.failures] == []
    assert untouched(policy, results) == []


def test_the_case_on_the_page_is_judged_as_it_expects_by_the_policy_on_the_page(tmp_path: Path) -> None:
    page = (FOLDER.parent / "policy.md").read_text()
    [policy] = [text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "name: tier-1-from-2027" in text]
    [cases] = re.findall(r"```text\n(decisions: .*?)```", page, re.DOTALL)
    (tmp_path / "policy.yaml").write_text(policy)
    given, decided = cases.split("  - name: what was decided in spring")
    (tmp_path / "policy.test.yaml").write_text(given.split("\n", 1)[1])
    [one] = outcomes_of(read_policy(tmp_path / "policy.yaml").policy, *read_cases(tmp_path / "policy.test.yaml"))
    assert (one.failures, "decision: " in decided) == ((), True)


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_an_editor_takes_each_policy_by_the_schema(path: Path) -> None:
    """By another reader of JSON Schema than the one that wrote it."""
    data = json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str))
    validator = jsonschema.Draft202012Validator(policy_model().model_json_schema())
    assert list(validator.iter_errors(data)) == []
    assert list(validator.iter_errors(data | {"rulez": []})) != []


def test_there_are_five_and_the_page_shows_each() -> None:
    page = (FOLDER.parent / "policy.md").read_text()
    assert len(POLICIES) == 5
    for path in POLICIES:
        assert f"```yaml\n{path.read_text()}```" in page
        assert f"(policies/{path.stem}.test.yaml)" in page
