"""A policy's mistakes: all of them, each where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.domain.checks.kinds import KINDS
from reconciler.domain.checks.metric import MetricCheck
from reconciler.policy.file import PolicyError, parse_policy, read_policy
from reconciler.policy.grammar import policy_model
from reconciler.policy.marks import compose

KNOWN = ", ".join(kind.kind for kind in KINDS)
RULE = "version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require:\n"


def problems(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, "p.yaml")
    return str(caught.value).splitlines()


def test_every_mistake_is_told_at_once_with_line_and_column() -> None:
    text = RULE + (
        "      - metric: a\n        min: 0.9\n        max: 0.5\n"
        "      - tag: t\n        equals: 1\n        mathces: x\n"
        "      - foo: 1\n"
        "      - run: {max_age: 3 parsecs}\n"
    )
    assert problems(text) == [
        "p.yaml:6:9: rules[0].require[0]: min 0.9 is greater than max 0.5",
        "p.yaml:10:17: rules[0].require[1].equals: 1 is not a string: put it in quotes",
        "p.yaml:11:9: rules[0].require[1].mathces: unknown key: did you mean matches?",
        f"p.yaml:12:9: rules[0].require[2]: not a check: use exactly one of {KNOWN}, any_of; "
        "checks of your own are loaded by plugins.checks",
        "p.yaml:13:24: rules[0].require[3].run.max_age: '3 parsecs' is not a duration: "
        "use for example 90s, 10m, 1h30m or 30d",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "p.yaml:1:1: the file is empty"),
        ("a: [", "p.yaml:1:5: invalid YAML"),
        ("version: 1\nversion: 1\n", "p.yaml:2:1: version: duplicate key"),
        ("version: 2\nrules: []\n", "p.yaml:1:10: version: 2: must be 1"),
        ("version: 1\nrules: []\n", "p.yaml:2:8: rules: length must be at least 1"),
        (RULE + "      - {metric: a, min: x}\n", "rules[0].require[0].min: 'x': must be a number"),
        (RULE + "      - {metric: a, max: 1e308}\n", "must be a number: YAML takes it for text, write 1.0e+308"),
        (RULE + "      - {metric: a, min: 15e-4}\n", "must be a number: YAML takes it for text, write 15.0e-4"),
        (RULE + "      - {metric: a, min: '0.9'}\n", "'0.9': must be a number: remove the quotes"),
        (RULE + f"      - {{metric: a, max: 1{'0' * 400}}}\n", "must be a number below 1.797e+308"),
        (RULE + "      - {metric: a, max: 1.8e+308}\n", "inf: must be a number other than infinity and NaN"),
        (RULE + "      - run:\n", "rules[0].require[0].run: there is no value here: must be a section with keys"),
        (RULE + "      - description\n", "any_of: write `description: …`, with what it asks for"),
        (RULE + "      - <<: {tag: t}\n", "p.yaml:6:9: rules[0].require[0].<<: merge keys are not read"),
        ("version: '1'\nrules: []\n", "p.yaml:1:10: version: '1': must be 1: remove the quotes"),
        ("version: 1\n---\n", "expected a single document in the stream, but found another document"),
        (RULE + "      - {run: 3}\n", "rules[0].require[0].run: 3: must be a section with keys"),
        ("version: 1\nrules: [{name: r, targets: Production, require: [{run: {}}]}]", "'Production': must be a list"),
        ("- 1\n", "p.yaml:1:1: "),
        (RULE + "      - metric: a\n", "set min, max or both"),
        (RULE + "      - metric: a\n        min: .nan\n", "rules[0].require[0].min"),
        (RULE + "      - {metric: a, min: 1, allow_zero: true}\n", "requires source: logged_model"),
        (RULE + '      - {tag: a, matches: "("}\n', "is not a valid RE2 regular expression"),
        (RULE + "      - {tag: a, equals: x, one_of: [y]}\n", "use only one of equals, one_of and matches, or type"),
        ("version: 1\nrules: [{name: r, targets: [Prod], require: [{run: {}}]}]", "'Prod' is not a target"),
        ("version: 1\nrules: [{name: r, targets: ['@latest'], require: [{run: {}}]}]", "reserved by MLflow"),
        ("a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
         "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c, *c]",
         "too large"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_where_it_stands(text: str, says: str) -> None:
    assert any(says in line for line in problems(text)), problems(text)


def test_two_rules_of_one_name_are_refused() -> None:
    rule = "  - {name: r, targets: [Production], require: [{run: {}}]}\n"
    assert problems("version: 1\nrules:\n" + rule + rule) == [
        "p.yaml:4:12: rules[1].name: duplicate rule name: another rule is named 'r'"
    ]


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot read the file: No such file"):
        read_policy(tmp_path / "none.yaml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PolicyError, match="is not UTF-8"):
        read_policy(tmp_path / "binary")


def test_what_can_never_match_or_pass_is_a_warning() -> None:
    text = (
        "version: 1\nrules:\n  - name: r\n    models: ['a/b']\n    targets: ['@champion', '@champion']\n"
        "    archive_existing: true\n    require:\n      - {metric: f1, min: 1.5}\n      - run: {linked: true}\n"
    )
    warnings = [str(one.in_file("p")) for one in parse_policy(text, "p").warnings]
    assert [line.split(": ")[1] for line in warnings] == [
        "rules[0].models[0]", "rules[0].targets", "rules[0].archive_existing", "rules[0].require[0]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "bounded"),
    [("validation_accuracy", True), ("val/f1_macro", True), ("AUC", True), ("precision_at_5", True),
     ("rmse", False), ("inaccuracy", False), ("latency", False)],
)  # fmt: skip
def test_shares_are_bounded_by_their_name(metric: str, bounded: bool) -> None:
    policy = parse_policy(RULE + f"      - {{metric: {metric}, min: 0.1}}\n", "p").policy
    check = policy.rules[0].require[0]
    assert isinstance(check, MetricCheck)
    assert check.limits == ((0.0, 1.0) if bounded else None)


def test_bounds_can_be_taken_away() -> None:
    check = parse_policy(RULE + "      - {metric: accuracy, min: 50, bounds: null}\n", "p").policy.rules[0].require[0]
    assert isinstance(check, MetricCheck)
    assert check.limits is None


def test_the_schema_names_every_check() -> None:
    schema = str(policy_model().model_json_schema())
    for word in ("metric", "min_length", "one_of", "max_age", "on_missing", "grace", "archive_existing"):
        assert word in schema


def test_the_digest_is_of_the_text() -> None:
    text = RULE + "      - run: {}\n"
    assert parse_policy(text, "p").digest != parse_policy(text + "# comment\n", "p").digest


def test_a_policy_of_three_hundred_rules_with_fifty_checks_each_is_read() -> None:
    checks = "".join(f"      - metric: metric_{number}\n        min: 0.9\n        max: 1\n" for number in range(50))
    rule = "  - name: rule-{}\n    models: [team-{}-*]\n    targets: [Production, '@champion']\n    require:\n"
    text = "version: 1\nrules:\n" + "".join(rule.format(number, number) + checks for number in range(300))
    policy = parse_policy(text, "p").policy
    assert (len(policy.rules), {len(rule.require) for rule in policy.rules}) == (300, {50})


YAML_PIECES = st.lists(
    st.sampled_from(
        ["a", "b: ", "- ", "\n", "  ", ": ", ":", "{", "}", "[", "]", ",", " #", "'", '"', "&x ", "*x", "!!str ", "|\n",
         ">\n", "1", "0o7", "1e3", "yes", "~", "? ", "--- ", "\t", "é", "\u2028", "\ufeff", "%", "\\n", "<<: ", "\r",
         "rules:\n", "  - name: x\n", "metric: ", "min: 0.9\n", "models: ['*']\n"]
    ),
    max_size=14,
)  # fmt: skip


@given(YAML_PIECES)
@settings(max_examples=500)
def test_both_parsers_of_yaml_read_the_same_values(pieces: list[str]) -> None:
    text = "".join(pieces)
    try:
        slow = yaml.compose(text, Loader=yaml.SafeLoader)
        fast = compose(text, "p")
    except (yaml.YAMLError, PolicyError):
        return
    if slow is None or fast is None:
        assert slow is fast
        return
    assert [values(slow)] == [values(fast)]


def values(node: yaml.Node, deep: int = 0) -> object:
    """Tags and values without places, which differ where nothing stands; an alias may lead back to itself."""
    if isinstance(node, yaml.ScalarNode) or deep > 20:
        return node.tag, node.value if isinstance(node, yaml.ScalarNode) else ()
    pairs = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
    return node.tag, [values(part, deep + 1) for part in pairs]


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000])
def test_a_text_that_is_nested_deeply_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(PolicyError, match=r"^p: too large: the maximum is .* 20 levels$"):
        parse_policy(text, "p")


@pytest.mark.parametrize("loader", ["libyaml", "PyYAML"])
def test_mistakes_are_told_in_the_same_words_with_and_without_libyaml(
    loader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml, "__with_libyaml__", loader == "libyaml")
    with pytest.raises(PolicyError, match=r"^p:2:9: invalid YAML: mapping values are not allowed here$"):
        parse_policy("version: 1\nrules: a: b", "p")


def test_a_bad_regular_expression_is_one_line_in_text_and_the_engine_says_nothing_itself(
    capfd: pytest.CaptureFixture[str],
) -> None:
    told = problems(RULE + '      - {tag: ticket, matches: "JIRA-("}\n')
    said = "'JIRA-(' is not a valid RE2 regular expression: missing ): JIRA-("
    assert told == [f"p.yaml:6:32: rules[0].require[0].matches: {said}"]
    assert capfd.readouterr() == ("", "")
