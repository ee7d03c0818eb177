"""Every mistake of a policy at once: of so many that are planted each is told, on its line, and nothing else is."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.policy.file import PolicyError, read_policy
from tests import command

NOT_A_DAY = "2027-13-01"
INVALID = "invalid value: month must be in 1..12"


class Line(tuple[Any, ...]):
    """A line of a policy, and a part of each message that must be about it."""

    def __new__(cls, text: str, *says: str) -> Line:
        return super().__new__(cls, (text, *says))

    @property
    def text(self) -> str:
        return str(self[0])

    @property
    def says(self) -> list[str]:
        return [str(one) for one in self[1:]]


# Checks with what is wrong in them. None has an `id` that another check has, `{}` is a number that none has.
CHECKS: Sequence[Sequence[Line]] = [
    [Line("- {{id: c{}, metric: auc, min: 0.8}}")],
    [Line("- id: c{}"), Line("  tag: reviewed"), Line("  equals: 'yes'")],
    [Line("- id: c{}", "min 0.9 is greater than max 0.5"), Line("  metric: auc"), Line("  min: 0.9"),
     Line("  max: 0.5"), Line("  mxa: 1", "unknown key: did you mean max?")],
    [Line("- id: c{}"), Line("  metric: auc"), Line(f"  min: {NOT_A_DAY}", INVALID)],
    [Line("- id: c{}", "set min, max or both"), Line("  metric: auc")],
    [Line("- id: c{}"), Line(f"  metric: {NOT_A_DAY}", INVALID), Line("  min: 0.9")],
    [Line("- id: c{}"), Line("  metric: auc"), Line("  min: 1e-3", "write 1.0e-3"),
     Line("  grace: never", "'never' is not a duration")],
    [Line("- id: c{}", "bounds [1.0, 0.0]: the lower bound is greater", "min 2 is greater than max 1"),
     Line("  metric: auc"), Line("  min: 2.0"), Line("  max: 1.0"), Line("  bounds: [1, 0]")],
    [Line("- nonsense: 1", "not a check: use exactly one of"), Line("  id: c{}"),
     Line("  level: hrd", "must be 'hard' or 'advisory'"),
     Line("  overrides: [no/where]", "'no/where' is not a check")],
    [Line("- metric: auc", "not a check: use exactly one of"), Line("  tag: auc")],
    [Line("- <<: {{tag: t}}", "merge keys are not read"), Line("  id: c{}"), Line("  level: x", "must be 'hard'")],
    [Line("- just words", "not a check")],
    [Line("- id: c{}"), Line("  any_of:"), Line("  - []", "an alternative without checks"),
     Line("  - [{{metric: auc, min: 0.9, mn: 1}}]", "unknown key"),
     Line("  - [{{tag: t, id: x}}]", "belong beside any_of")],
    [Line("- id: c{}"), Line("  any_of: [[{{tag: t}}], [{{nonsense: 1}}, {{metric: a, max: b}}]]",
                             "not a check", "'b': must be a number")],
    [Line("- id: c{}", "'x' in expect does not match", "'y' in expect does not match"),
     Line("  family: recall_*"), Line("  expect: [x, y]"), Line("  min: 0.5"),
     Line("  at_least: x", "must be an integer")],
    [Line("- id: c{}"), Line("  signature:"), Line("    inputs:"), Line("      age: lng", "'lng' is not a type"),
     Line("      income: double"), Line("      score: dbl", "'dbl' is not a type")],
    [Line("- id: c{}"), Line("  documentation:"), Line("    headings:"), Line("    - 3", "3 is not a string"),
     Line("    - '## Intended use'"), Line("    - ''", "'' is not a heading")],
    [Line("- id: c{}"), Line("  run:"), Line("    max_age: 3 parsecs", "is not a duration"),
     Line("    linkd: true", "did you mean linked?")],
    [Line("- id: c{}"), Line("  window:"), Line("    zone: Europe/Berlyn", "is not a time zone"),
     Line("    hours: nine to five", "are not hours"),
     Line("    freezes: [{{from: 2026-02-01, until: 2026-01-01}}]", "from must be before until")],
    [Line("- tag: t{}"), Line("  overridable: true", "needs an id, by which it is overridden")],
    [Line("- {{tag: t{}, level: advisory}}"), Line("- id: d{}"), Line("  tag: u"), Line("- id: d{}", "is named 'd"),
     Line("  metric: auc"), Line(f"  min: {NOT_A_DAY}", INVALID)],
    [Line("- id: c{}"), Line("  commit_message: {{}}", "")],
]  # fmt: skip
# `commit_message` is told at the check.
CHECKS = [*CHECKS[:-1], [Line("- id: c{}", "commit_message is for a prompt"), Line("  commit_message: {{}}")]]

RULES: Sequence[Sequence[Line]] = [
    [Line("- name: r{}"), Line("  targets: [Production]")],
    [Line("- name: r{}"), Line("  targets:"), Line("  - Prod", "'Prod' is not a target"), Line("  - '@a'"),
     Line("  - 3", "3 is not a string")],
    [Line("- name: {}", "is not a string"), Line("  targets: [Staging]"), Line("  mode: enforce", "must be 'decide'")],
    [Line("- name: same"), Line("  targets: ['@a']"), Line("  models:"), Line("  - '!x'", "would match names"),
     Line("  - a-*"), Line("  - '!y'", "would match names"), Line("  kid: prompt", "did you mean kind?")],
    [Line("- targets: ['@a']", "required key is missing"), Line(f"  from: {NOT_A_DAY}", INVALID)],
    [Line("- name: r{}", "targets: required key is missing"), Line("  when:"), Line("    model_tag:"),
     Line("      tier:"), Line("      - 1", "1 is not a string"), Line("      - '2'"),
     Line("      - 3", "3 is not a string")],
    [Line("- name: r{}"), Line("  targets: [Archived]"), Line("  archive_existing: yess", "must be true or false"),
     Line("  when: {{}}", "required key is missing")],
]  # fmt: skip

HEADS: Sequence[Sequence[Line]] = [
    [Line("version: 1")],
    [Line("version: 2", "must be 1")],
    [Line(f"version: {NOT_A_DAY}", INVALID)],
    [Line("version: 1"), Line("rulez: []", "unknown key: did you mean rules?")],
    [Line("version: 1"), Line("version: 1", "duplicate key")],
]
# Of the policy itself.
FIRST_HEADS: Sequence[Sequence[Line]] = [
    [],
    [Line("people:"), Line("  ada: [ada, shared]"), Line("  bob:"), Line("  - shared", "is 'ada' already"),
     Line("  - ''", "is not a login"), Line("  - 7", "7 is not a string")],
    [Line("defaults: {{archive_existing: maybe, archve: 1}}", "must be true or false", "unknown key")],
]  # fmt: skip
INCLUDES: Sequence[Sequence[Line]] = [
    [],
    [Line("- {{file: gone.yaml, models: ['*']}}", "cannot read the file")],
    [Line("- {{file: ../x.yaml, models: ['*']}}", "outside the policy's folder")],
    [Line("- file: team.yaml"), Line("  models:"), Line("  - '!a'", "would match names"),
     Line("  - 3", "3 is not a string")],
]  # fmt: skip


@dataclass
class Written:
    """A file, line by line, and what is wrong with it."""

    lines: list[Line]

    def __str__(self) -> str:
        return "".join(f"{line.text}\n" for line in self.lines)

    def says(self) -> list[tuple[int, str]]:
        return [(number, said) for number, line in enumerate(self.lines, 1) for said in line.says]


def test_of_a_policy_and_its_cases_the_mistakes_of_both_are_told(tmp_path: Path) -> None:
    policy, cases = tmp_path / "policy.yaml", tmp_path / "policy.test.yaml"
    policy.write_text(
        f"version: 1\nrules:\n- name: r\n  targets: [Prod]\n  from: {NOT_A_DAY}\n  require: [{{run: {{}}}}]\n"
    )
    cases.write_text(f"cases:\n- name: x\n  at: {NOT_A_DAY}\n  target: Prod\n  expct: approve\n")
    done = command.run("policy", "test", str(policy), environment=os.environ)
    told = [line.split(": ")[:2] for line in done.stderr.splitlines()]
    assert (done.returncode, told) == (78, [
        [f"{policy}:4:13", "rules[0].targets[0]"], [f"{policy}:5:9", "rules[0].from"],
        [f"{cases}:2:3", "cases[0].expect"], [f"{cases}:3:7", "cases[0].at"], [f"{cases}:4:11", "cases[0].target"],
        [f"{cases}:5:3", "cases[0].expct"],
    ])  # fmt: skip
    other = tmp_path / "other.yaml"
    other.write_text("version: 2\nrules: []\n")
    done = command.run("policy", "diff", str(policy), str(other), environment=os.environ)
    lines = [line.removeprefix(f"{tmp_path}/").partition(": ")[0] for line in done.stderr.splitlines()]
    assert lines == ["policy.yaml:4:13", "policy.yaml:5:9", "other.yaml:1:10", "other.yaml:2:8"]
    cases.unlink()
    policy.write_text(policy.read_text().replace("Prod]", "Production]").replace(NOT_A_DAY, "2027-01-01"))
    done = command.run("policy", "test", str(policy), environment=os.environ)
    said = f"{cases}: there are no cases: write them into this file, or name another one with --cases\n"
    assert (done.returncode, done.stderr) == (78, said)


def placed(lines: Sequence[Line], indent: str, number: int) -> list[Line]:
    return [Line(indent + line.text.format(number), *line.says) for line in lines]


@st.composite
def rules(draw: st.DrawFn, numbers: range, names: set[str]) -> list[Line]:
    lines: list[Line] = []
    for number in numbers:
        rule = placed(draw(st.sampled_from(RULES)), "  ", number)
        if rule[0].text.endswith("name: same"):
            rule[0] = Line(rule[0].text, *(["duplicate rule name"] if "same" in names else []))
            names.add("same")
        lines += rule
        checks = draw(st.lists(st.sampled_from(CHECKS), max_size=4))
        if checks:
            lines.append(Line("    require:"))
        else:
            lines[len(lines) - len(rule)] = Line(lines[-len(rule)].text, *lines[-len(rule)].says, "require: required")
        for at, check in enumerate(checks):
            lines += placed(check, "    ", 10 * number + at)
    return lines


@st.composite
def policies(draw: st.DrawFn) -> tuple[Written, Written]:
    """The policy, and the file that it includes."""
    names: set[str] = set()
    include = draw(st.sampled_from(INCLUDES))
    if not any("team.yaml" in line.text for line in include):
        include = [*include, Line("- {{file: team.yaml, models: [team-*]}}")]
    head = [*draw(st.sampled_from(HEADS)), *draw(st.sampled_from(FIRST_HEADS)), Line("include:")]
    own = placed(head, "", 0) + placed(include, "  ", 0) + [Line("rules:")] + draw(rules(range(1, 4), names))
    team = [*placed(draw(st.sampled_from(HEADS)), "", 0), Line("rules:"), *draw(rules(range(4, 6), names))]
    written = Written(own), Written(team)
    if not all(" is not a check" not in line for one in written for line in one.says()):
        return written
    return _unsure(written) if any("gone.yaml" in one.text or "../x" in one.text for one in own) else written


def _unsure(written: tuple[Written, Written]) -> tuple[Written, Written]:
    """Where a file could not be read, an override may be of a check in it."""
    return tuple(  # type: ignore[return-value]
        Written([Line(line.text, *(said for said in line.says if "is not a check" not in said)) for line in one.lines])
        for one in written
    )


@given(policies())
@settings(max_examples=200, deadline=None)
def test_each_mistake_that_is_planted_is_told_on_its_line_and_no_other(files: tuple[Written, Written]) -> None:
    policy, team = files
    with TemporaryDirectory() as folder:
        path = Path(folder, "policy.yaml")
        path.write_text(str(policy))
        Path(folder, "team.yaml").write_text(str(team))
        planted = [("", *said) for said in policy.says()] + [(f"{folder}/team.yaml", *said) for said in team.says()]
        if not planted:
            read_policy(path)
            return
        with pytest.raises(PolicyError) as caught:
            read_policy(path)
        told = [(one.file, one.line, f"{one.where}: {one.message}") for one in caught.value.problems]
    assert Counter((file, line) for file, line, _ in told) == Counter((file, line) for file, line, _ in planted), (
        f"{policy}\n---\n{team}\n{caught.value}"
    )
    for file, line, said in planted:
        assert any(said in message for one, at, message in told if (one, at) == (file, line)), (said, told)
