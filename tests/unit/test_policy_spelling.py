"""A policy says what it reads: what YAML takes for something else is a mistake, or a warning."""

from __future__ import annotations

import pytest

from reconciler.policy.file import LoadedPolicy, PolicyError, parse_policy

RULE = "version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require:\n"


def mistakes(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, "p")
    return [problem.message for problem in caught.value.problems]


def warned(text: str) -> list[str]:
    return [warning.message for warning in parse_policy(text, "p").warnings]


def as_stored(text: str) -> LoadedPolicy:
    return parse_policy(text, "p", stored=True)


# --- numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("010", 8),
        ("-010", -8),
        ("0x10", 16),
        ("0b10", 2),
        ("1_000", 1000),
        ("0.90_0", 0.9),
        ("1:30", 90),
        ("0:0.9", 0.9),
    ],
)
def test_a_number_that_people_read_as_another_one_is_refused(written: str, read: float) -> None:
    text = RULE + f"      - {{metric: a, min: {written}}}\n"
    told = f"{written} is read as {read!r}: write that, or put it in quotes where it is a text"
    assert mistakes(text) == [told]
    assert as_stored(text).policy.rules[0].require[0].min == read  # type: ignore[union-attr]


@pytest.mark.parametrize("written", ["0", "-0", "0.9", ".9", "9.", "+1", "1.5e-3", "-2.0E+3", "100"])
def test_a_number_as_people_write_it_is_read(written: str) -> None:
    (check,) = parse_policy(RULE + f"      - {{metric: a, min: {written}}}\n", "p").policy.rules[0].require
    assert check.min == float(written)  # type: ignore[union-attr]


@pytest.mark.parametrize("value", ["!!bool maybe", "!!timestamp soon", '!!int ""', '!!float ""', "!!int ten"])
def test_a_value_that_is_not_what_its_tag_says_is_a_mistake_and_no_defect(value: str) -> None:
    (told,) = mistakes(RULE + f"      - {{tag: a, present: {value}}}\n")
    assert told.startswith("invalid value: ")


# --- what is not there ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "check", ["tag: a\n        equals:", "run: {max_age: ~}", "metric: a\n        max: 1\n        min: null"], ids=str
)
def test_a_key_behind_which_nothing_stands_asks_for_nothing_and_is_refused(check: str) -> None:
    text = RULE + f"      - {check}\n"
    assert mistakes(text) == ["there is no value here: give one, or remove the key"]
    assert as_stored(text).policy.rules


def test_a_mistake_between_the_keys_of_every_check_is_told_once() -> None:
    assert mistakes(RULE + "      - {metric: a, min: 1, id: ~}\n") == [
        "there is no value here: give one, or remove the key"
    ]


def test_bounds_say_something_without_a_value() -> None:
    assert parse_policy(RULE + "      - {metric: accuracy, min: 5, bounds: ~}\n", "p").warnings


def test_a_key_that_is_no_text_is_refused() -> None:
    text = "version: 1\nrules:\n  - name: r\n    when: {model_tag: {[tier]: '1'}}\n    targets: [Production]\n"
    text += "    require: [{tag: a}]\n"
    assert mistakes(text) == ["a key must be text: this is a list or a section"]
    assert as_stored(text).policy.rules


# --- what nobody sees ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", ["\u2028", "\u2029", "\x85", "\r"], ids=ascii)
def test_what_begins_a_line_in_the_middle_of_a_comment_is_refused(hidden: str) -> None:
    text = RULE + f"      - metric: a   # as the standard says{hidden}        min: 0.1\n        # min: 0.9\n"
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, "p")
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (6, 43)
    assert "makes it say something else than it shows" in problem.message
    # To YAML it does begin a line.
    assert as_stored(text).policy.rules[0].require[0].min == 0.1  # type: ignore[union-attr]


@pytest.mark.parametrize("hidden", ["\u202e", "\u2066", "\u200b", "\xad", "\u3164", "\ufeff", "\u200d"], ids=ascii)
def test_characters_that_show_nothing_are_refused_and_may_be_written_as_escapes(hidden: str) -> None:
    assert mistakes(RULE + f"      - {{tag: 'a{hidden}b'}}\n")
    escaped = RULE + f'      - {{tag: "a\\u{ord(hidden):04x}b"}}\n'
    (check,) = parse_policy(escaped, "p").policy.rules[0].require
    assert check.tag == f"a{hidden}b"  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["\ufeff" + RULE, RULE.replace("\n", "\r\n")], ids=["mark", "CRLF"])
def test_what_editors_write_by_themselves_is_read(text: str) -> None:
    assert parse_policy(text + "      - {tag: a, why: '\U0001f469\u200d\U0001f4bb می\u200cخواهم'}\n", "p")


# --- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "at"), [("{tag: \u0430pproved}", "tag"), ("{tag: a, one_of: [p\u0430ssed]}", "one_of[0]")], ids=ascii
)
def test_a_letter_that_only_looks_latin_is_a_warning(check: str, at: str) -> None:
    (warning,) = parse_policy(RULE + f"      - {check}\n", "p").warnings
    assert warning.where == f"rules[0].require[0].{at}"
    assert "mixes Latin letters with CYRILLIC SMALL LETTER A (U+0430)" in warning.message


def test_words_of_one_script_are_no_warning_nor_is_any_word_to_people() -> None:
    assert warned(RULE + "      - {tag: одобрено, why: 'p\u0430ragraph 4'}\n") == []


@pytest.mark.parametrize("glob", ["credit-*, fraud-*", "{credit,fraud}-*", "credit-* ", "[z-a]*"])
def test_a_glob_that_other_tools_read_as_several_is_a_warning(glob: str) -> None:
    text = f"version: 1\nrules:\n  - name: r\n    models: ['{glob}']\n    targets: [Production]\n"
    assert len(warned(text + "    require: [{tag: a}]\n")) == 1


@pytest.mark.parametrize("glob", ["[a-z]*", "[!a]*", "[]]x", "x[", "[]", "?*"])
def test_any_other_glob_is_no_warning(glob: str) -> None:
    text = f"version: 1\nrules:\n  - name: r\n    models: ['{glob}']\n    targets: [Production]\n"
    assert warned(text + "    require: [{tag: a}]\n") == []
