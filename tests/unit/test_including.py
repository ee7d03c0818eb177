"""A policy of several files: bound to their models, one text and one digest, and every mistake at once."""

from __future__ import annotations

import hashlib
import json
import os
import string
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.scope import Names
from reconciler.domain.target import Target
from reconciler.policy.bundle import Damaged, Part, bundled, parts_of
from reconciler.policy.file import LoadedPolicy, PolicyError, parse_policy, read_policy
from reconciler.policy.overlap import Budget, common_name
from tests.builders import a_request

NOW = datetime(2026, 6, 1, tzinfo=UTC)
RULE = "  - name: {name}\n    targets: [Production]\n    require: [{{run: {{}}}}]\n"


def policy(*names: str, include: str = "", head: str = "") -> str:
    rules = "rules:\n" + "".join(RULE.format(name=name) for name in names) if names else ""
    return f"version: 1\n{head}" + (f"include: [{include}]\n" if include else "") + rules


def written(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "policy.yaml"


def problems(folder: Path, files: Mapping[str, str]) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        read_policy(written(folder, files))
    return [line.replace(f"{folder}/", "") for line in str(caught.value).splitlines()]


CREDIT = '{file: teams/credit.yaml, models: ["credit-*"]}'
TEAMS = {
    "policy.yaml": policy("base", include=f"{CREDIT}, {{file: ads.yaml, models: [ads]}}"),
    "teams/credit.yaml": policy("credit", include='{file: cards.yaml, models: ["*-cards"]}'),
    "teams/cards.yaml": policy("cards"),
    "ads.yaml": policy("ads"),
}


MODELS = ("x", "ads", "ads-2", "credit-1", "credit-cards", "x-cards")


def rules_for(loaded: LoadedPolicy, model: str) -> list[str]:
    return sorted(rule.name for rule in loaded.policy.rules_for(a_request(model, NOW)))


def test_a_file_touches_only_the_models_that_each_file_above_names_for_it(tmp_path: Path) -> None:
    loaded = read_policy(written(tmp_path, TEAMS))
    assert {model: rules_for(loaded, model) for model in MODELS} == {
        "x": ["base"], "ads": ["ads", "base"], "ads-2": ["base"], "credit-1": ["base", "credit"],
        "credit-cards": ["base", "cards", "credit"], "x-cards": ["base"],
    }  # fmt: skip


def test_what_is_looked_for_is_bound_too(tmp_path: Path) -> None:
    files = {"policy.yaml": policy(include=CREDIT), "teams/credit.yaml": policy("credit")}
    scope = read_policy(written(tmp_path, files)).policy.scope()
    assert (scope.targets_of("credit-1"), scope.targets_of("ads")) == ({Target.parse("Production")}, frozenset())


def test_one_text_holds_all_files_and_is_the_same_policy(tmp_path: Path) -> None:
    loaded = read_policy(written(tmp_path, TEAMS))
    digest = subprocess.run(["sha256sum"], input=loaded.text.encode(), capture_output=True, check=True).stdout
    assert loaded.digest == digest.decode().split()[0]
    for text in TEAMS.values():
        assert f" bytes\n{text}\n" in loaded.text
    again = parse_policy(loaded.text, "stored")
    assert (again.policy, again.digest, again.text) == (loaded.policy, loaded.digest, loaded.text)
    (tmp_path / "kept.yaml").write_text(loaded.text)
    assert read_policy(tmp_path / "kept.yaml").digest == loaded.digest


def test_a_policy_of_one_file_is_its_own_text(tmp_path: Path) -> None:
    text = policy("base")
    loaded = read_policy(written(tmp_path, {"policy.yaml": text}))
    assert (loaded.text, loaded.digest) == (text, hashlib.sha256(text.encode()).hexdigest())


@pytest.mark.parametrize("file", sorted(TEAMS))
def test_the_digest_changes_with_each_file_and_not_with_the_name_of_the_policy(tmp_path: Path, file: str) -> None:
    before = read_policy(written(tmp_path, TEAMS))
    (tmp_path / "policy.yaml").rename(tmp_path / "renamed.yaml")
    assert read_policy(tmp_path / "renamed.yaml").digest == before.digest
    changed = written(tmp_path, TEAMS | {file: TEAMS[file] + "# changed\n"})
    assert read_policy(changed).digest != before.digest


def test_every_mistake_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    more = "{file: gone.yaml, models: [x]}, {fil: a, models: [y]}"
    credit = policy("base", "credit", include="{file: cards.yaml, models: ['*']}").replace(
        "{run: {}}", "{metric: a, mn: 1}"
    )
    files = {
        "policy.yaml": policy("base", include=f"{CREDIT}, {more}").replace("[Production]", "[Prod]"),
        "teams/credit.yaml": credit,
        "teams/cards.yaml": "",
    }
    assert [line.split(": did you")[0] for line in problems(tmp_path, files)] == [
        "policy.yaml:2:67: include[1].file: 'gone.yaml': cannot read the file: No such file or directory",
        "policy.yaml:2:92: include[2].file: required key is missing",
        "policy.yaml:2:93: include[2].fil: unknown key",
        "policy.yaml:5:15: rules[0].targets[0]: 'Prod' is not a target: use a stage (None, Staging, Production, "
        "Archived) or an alias such as @champion",
        "teams/credit.yaml:4:11: rules[0].name: duplicate rule name: another rule is named 'base'",
        "teams/credit.yaml:6:27: rules[0].require[0].mn: unknown key",
        "teams/credit.yaml:9:27: rules[1].require[0].mn: unknown key",
        "teams/cards.yaml:1:1: the file is empty: start with `version: 1` and `rules:`",
    ]


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("../outside.yaml", "outside the policy's folder: use a path below the file that includes it, without .."),
        ("teams/../../outside.yaml", "outside the policy's folder"),
        ("/etc/passwd", "outside the policy's folder"),
        ("teams\\credit.yaml", "outside the policy's folder"),
        ("./teams/credit.yaml", "not a path such as teams/credit.yaml"),
        ("teams//credit.yaml", "not a path such as teams/credit.yaml"),
        ("link.yaml", "a link, or no folder, is on its way"),
        ("linked/credit.yaml", "a link, or no folder, is on its way"),
        ("policy.yaml", "the policy includes itself"),
        ("loop.yaml", "includes itself, through loop.yaml"),
        ("teams", "not a file"),
        ("pipe", "not a file"),
        ("binary.yaml", "the file is not UTF-8: invalid byte at offset 0"),
        ("large.yaml", "the file is larger than 4 MiB"),
        ("the policy", "not a path such as teams/credit.yaml"),
    ],
)  # fmt: skip
def test_what_is_outside_behind_a_link_in_a_loop_or_no_text_is_not_included(
    tmp_path: Path, file: str, says: str
) -> None:
    folder = tmp_path / "policies"
    main = written(folder, {"policy.yaml": policy("base", include=f"{{file: '{file}', models: [x]}}")})
    written(tmp_path, {"outside.yaml": policy("outside")})
    written(
        folder,
        {"teams/credit.yaml": policy("credit"), "loop.yaml": policy("l", include="{file: loop.yaml, models: [x]}")},
    )
    (folder / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    (folder / "linked").symlink_to(folder / "teams")
    os.mkfifo(folder / "pipe")
    (folder / "binary.yaml").write_bytes(b"\xff\x00")
    (folder / "large.yaml").write_text("#" * (4 * 1024 * 1024 + 1))
    with pytest.raises(PolicyError) as caught:
        read_policy(main)
    assert says in str(caught.value)
    assert ":2:" in str(caught.value)


def test_the_folder_is_where_the_policy_itself_lies_also_behind_a_link(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: each name is a link into a folder that is replaced as a whole."""
    written(tmp_path / "..data_1", TEAMS)
    (tmp_path / "..data").symlink_to("..data_1")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    assert read_policy(tmp_path / "policy.yaml").digest == read_policy(tmp_path / "..data_1/policy.yaml").digest


def test_a_file_is_included_once(tmp_path: Path) -> None:
    twice = policy(include="{file: a.yaml, models: [x]}, {file: a.yaml, models: [y]}")
    assert problems(tmp_path, {"policy.yaml": twice, "a.yaml": policy("a")}) == [
        "policy.yaml:2:47: include[1].file: 'a.yaml': included already: name all its models in one place"
    ]


def test_files_that_include_others_for_ever_end(tmp_path: Path) -> None:
    files = {f"{'a/' * depth}policy.yaml": policy(f"r{depth}", include="{file: a/policy.yaml, models: ['*']}")
             for depth in range(12)}  # fmt: skip
    assert "too many files: the maximum is 1000, 10 deep" in problems(tmp_path, files)[0]


def test_a_policy_without_any_rule_is_refused(tmp_path: Path) -> None:
    files = {
        "policy.yaml": policy(include="{file: a.yaml, models: [x]}"),
        "a.yaml": policy(include="{file: b.yaml, models: [x]}"),
        "b.yaml": policy(),
    }
    assert "b.yaml:1:1: rules: required key is missing" in problems(tmp_path, files)


def test_defaults_and_names_are_of_the_whole_policy(tmp_path: Path) -> None:
    team = policy("base", head="defaults: {archive_existing: true}\n")
    assert problems(tmp_path, {"policy.yaml": policy("base", include=CREDIT), "teams/credit.yaml": team}) == [
        "teams/credit.yaml:2:11: defaults: defaults belongs into the policy itself, not into an included file",
        "teams/credit.yaml:4:11: rules[0].name: duplicate rule name: another rule is named 'base'",
    ]


# --- between rules -------------------------------------------------------------------------------------------


def of_rules(*rules: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        parse_policy("version: 1\nrules:\n" + "".join(f"  - {{{one}}}\n" for one in rules), "p")
    return [problem.in_file("p") for problem in caught.value.problems]


HEAD = "name: r, targets: [Production]"


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ([f"{HEAD}, require: [{{tag: t}}, {{tag: t, matches: x}}]"],
         "p:3:58: rules[0].require[1]: another check of this rule is named 'tag t' too: give each an id of its own"),
        ([f"{HEAD}, require: [{{tag: t, id: a}}, {{tag: u, id: a}}]"],
         "p:3:78: rules[0].require[1].id: another check of this rule is named 'a' too: give each an id of its own"),
        ([f"{HEAD}, require: [{{tag: t, id: 'a b'}}]"], "'a b' is not an id: use up to 100 letters"),
        ([f"{HEAD}, require: [{{tag: t, overridable: true}}]"], "needs an id, by which it is overridden"),
        ([f"{HEAD}, require: [{{tag: t, id: a, overridable: true, overrides: [r/a]}}]"],
         "a check that overrides another cannot be overridden"),
        ([f"{HEAD}, require: [{{tag: t, id: a, overrides: [x/y]}}]"],
         "rules[0].require[0].overrides[0]: 'x/y' is not a check: name it as rule/id: no check is overridable"),
        ([f"{HEAD}, require: [{{tag: t, id: a, overridable: true}}, {{tag: u, overrides: [r/b]}}, {{tag: v, id: b}}]"],
         "'r/b' is not overridable: overridable are 'r/a'"),
        ([f"{HEAD}, require: [{{tag: t, id: a, overridable: true}}, {{tag: u, overrides: [r/a], level: advisory}}]"],
         "an advisory check overrides nothing: it never decides"),
        ([f"{HEAD}, models: ['!credit-*'], require: [{{run: {{}}}}]"],
         "rules[0].models[0]: '!credit-*' would match names that begin with !: to leave models out, name them"),
        ([f"{HEAD}, kind: prompt, require: [{{run: {{}}}}]"], "run is for a model, not for a prompt"),
        ([f"{HEAD}, kind: prompt, require: [{{tag: t}}]"], "rules[0].targets[0]: a prompt has no stages"),
        ([f"{HEAD}, require: [{{commit_message: {{}}}}]"], "commit_message is for a prompt: add `kind: prompt`"),
        ([f"{HEAD}, require: [{{any_of: [[{{any_of: [[{{tag: t}}]]}}]]}}]"], "not a check: use exactly one of metric"),
        ([f"{HEAD}, require: [{{any_of: [[]]}}]"], "any_of[0]: an alternative without checks would always pass"),
        ([f"{HEAD}, require: [{{any_of: []}}]"], "rules[0].require[0].any_of: length must be at least 1"),
        ([f"{HEAD}, require: [{{any_of: [[{{tag: t, level: advisory}}]]}}]"],
         "id, level, overridable and overrides belong beside any_of, not to a check within"),
        ([f"{HEAD}, require: [{{any_of: [[{{tag: t, mtches: x}}]]}}]"],
         "rules[0].require[0].any_of[0][0].mtches: unknown key: did you mean matches?"),
        ([f"{HEAD}, require: [{{tag: t, present: false, equals: x}}]"], "a tag that must not be there has no value"),
        ([f"{HEAD}, form: 2027-01-01, require: [{{run: {{}}}}]"], "rules[0].form: unknown key: did you mean from?"),
        ([f"{HEAD}, from: soon, require: [{{run: {{}}}}]"], "'soon' is not a date: use for example 2027-01-01"),
        ([f"{HEAD}, when: {{model_tg: {{a: b}}}}, require: [{{run: {{}}}}]"], "rules[0].when.model_tg: unknown key"),
        ([f"{HEAD}, when: {{model_tag: {{a: 1}}}}, require: [{{run: {{}}}}]"], "1 is not a string: put it in quotes"),
        ([f"{HEAD}, mode: enforce, require: [{{run: {{}}}}]"], "rules[0].mode: 'enforce': must be 'decide'"),
    ],
)  # fmt: skip
def test_a_mistake_says_where_it_stands_and_what_is_allowed(rules: list[str], says: str) -> None:
    assert any(says in line for line in of_rules(*rules)), of_rules(*rules)


def test_rules_that_disagree_on_archiving_are_refused_where_it_can_be_seen() -> None:
    rest = "targets: [Production], require: [{run: {}}]"
    lax = f"name: lax, models: ['credit-*'], archive_existing: true, {rest}"
    strict = f"name: strict, models: ['*-eu'], archive_existing: false, {rest}"
    told = "and both match 'credit--eu': leave one of them unset"
    assert of_rules(lax, strict) == [
        f"p:3:57: rules[0].archive_existing: rule 'strict' says false, {told}",
        f"p:4:56: rules[1].archive_existing: rule 'lax' says true, {told}",
    ]
    for apart in (
        strict.replace("'*-eu'", "'ads-*'"),
        strict.replace("require", "exclude: ['credit-*'], require"),
        strict.replace("Production", "Staging"),
        strict.replace("Production", "'@champion'"),
        strict.replace("require", "mode: observe, require"),
        strict.replace("require", "when: {model_tag: {tier: '1'}}, require"),
    ):
        parse_policy("version: 1\nrules:\n" + "".join(f"  - {{{one}}}\n" for one in (lax, apart)), "p")


GLOBS = st.lists(st.sampled_from(["a", "b", "-", "*", "?", "[ab]", "[!a]"]), max_size=6).map("".join)


@given(GLOBS, GLOBS)
def test_a_name_that_two_globs_share_is_one_that_both_match(one: str, other: str) -> None:
    first, second = Names((one,)), Names((other,))
    found = common_name(first, second, Budget())
    if found is not None:
        assert first.match(found)
        assert second.match(found)


PLAIN_GLOBS = st.text("ab-*?", max_size=5)


@given(PLAIN_GLOBS, PLAIN_GLOBS, st.text("ab-", min_size=1, max_size=5))
def test_where_a_name_matches_both_globs_such_a_name_is_found(one: str, other: str, name: str) -> None:
    if Names((one,)).match(name) and Names((other,)).match(name):
        assert common_name(Names((one,)), Names((other,)), Budget()) is not None


def test_a_policy_that_was_made_to_take_long_is_read_all_the_same() -> None:
    hostile = ["*a" * 24 + f"{number}*" for number in range(2_000)]
    rest = {"targets": ["Production"], "require": [{"run": {"linked": True}}]}
    rules = [rest | {"name": f"r{at}", "models": hostile, "archive_existing": at % 2 == 0} for at in range(20)]
    rules += [rest | {"name": f"s{at}"} for at in range(3_000)]
    begun = process_time()
    with suppress(PolicyError):
        parse_policy(json.dumps({"version": 1, "rules": rules}), "p")
    assert process_time() - begun < 60


# --- the one text --------------------------------------------------------------------------------------------

TEXTS = st.text(string.printable + "é\u2028", max_size=40) | st.sampled_from(["# file 2: x, 3 bytes\n", "\n", ""])


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_the_files_come_out_of_the_text_as_they_went_in(texts: list[str]) -> None:
    parts = [Part(f"f{number}.yaml" if number else "", text) for number, text in enumerate(texts)]
    if len(parts) == 1 and parts[0].text.startswith("# mlflow-reconciler policy of"):
        return
    assert parts_of(bundled(parts)) == parts


@pytest.mark.parametrize(
    "change",
    [lambda text: text + "x", lambda text: text[:-1], lambda text: text.replace("of 2 files", "of 3 files"),
     lambda text: text.replace("# file 2", "# file 3"), lambda text: text.replace("4 bytes", "5 bytes"),
     lambda text: text.replace("4 bytes", "04 bytes"), lambda text: text.replace("a.yaml", "the policy")],
)  # fmt: skip
def test_a_text_of_several_files_that_is_not_exactly_one_is_refused(change: object) -> None:
    text = bundled([Part("", "x: 1"), Part("a.yaml", "y: 2")])
    with pytest.raises(Damaged):
        parts_of(change(text))  # type: ignore[operator]


def test_a_text_that_hides_a_file_which_nothing_includes_is_refused() -> None:
    hidden = bundled([Part("", policy("base")), Part("a.yaml", policy("a"))])
    with pytest.raises(PolicyError, match=r"holds 'a.yaml', which nothing includes"):
        parse_policy(hidden, "p")


def test_a_key_that_is_there_twice_and_globs_that_are_wrong_hide_no_other_mistake(tmp_path: Path) -> None:
    files = {
        "policy.yaml": "version: 1\ninclude: [{file: ads.yaml, models: ['!x']}]\nrules:\n" + RULE.format(name="base"),
        "ads.yaml": "version: 1\nversion: 1\nrules: [{name: r, targets: [Prod], require: [{run: {}}]}]\n",
    }
    told = [problem.split(": ", 2)[:2] for problem in problems(tmp_path, files)]
    assert told == [
        ["policy.yaml:2:37", "include[0].models[0]"],
        ["ads.yaml:2:1", "version"],
        ["ads.yaml:3:29", "rules[0].targets[0]"],
    ]
