"""The check of a model's signature, as it is judged and as it is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.domain.evidence.captured import as_captured
from reconciler.domain.evidence.evidence import (
    Absent,
    Evidence,
    Needs,
    RunFacts,
    SignatureFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.evidence.redacted import evidence_left
from reconciler.domain.evidence.salted import document_of, fields_of
from reconciler.domain.evidence.signature_facts import Column, Columns
from reconciler.domain.holding.drift import Change, changes_since, needs_again
from reconciler.domain.text import Text
from reconciler.domain.verdict import CheckResult, Verdict
from reconciler.judging import judge_again
from reconciler.policy.file import PolicyError, parse_policy
from reconciler.policy.testing import outcomes_of, read_cases
from tests.builders import a_request, evidence_of, with_answer
from tests.whole_evidence import flooded, kept

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ASKED = a_request("fraud", NOW)
AGE, INCOME = Column("age", "long"), Column("income", "double", optional=True)
SCORE = Column("score", "double")
TAGS = Column("tags", "array(string)")
IMAGE = Column("", "tensor(float32)[-1,28,28]")
FOUND = SignatureFacts("run r1, model/MLmodel", (AGE, INCOME, TAGS), (SCORE,), 900, "ab" * 32)

VERSION = VersionFacts("r1", "runs:/r1/model", "READY", "None", Text.of(""), left_out={})
RUN = RunFacts("r1", "FINISHED", "active", 1, "mlflow-artifacts:/0/r1/artifacts", {}, "0", (), left_out={})


def policy(terms: str, more: str = "") -> str:
    return f"version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require: [{{signature: {terms}{more}}}]\n"


def evidence(answer: SignatureFacts | Absent | Unreadable) -> Evidence:
    return with_answer(evidence_of(NOW, VERSION, RUN), SignatureFacts, answer)


def judged(terms: str, answer: SignatureFacts | Absent | Unreadable, more: str = "") -> Verdict:
    return judge_again(3, parse_policy(policy(terms, more), "p").policy, ASKED, evidence(answer))


def checked(terms: str, answer: SignatureFacts | Absent | Unreadable = FOUND) -> CheckResult:
    return judged(terms, answer).checks[0]


# --- what passes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "terms",
    [
        "{}",
        "{inputs: [age]}",
        "{inputs: [income, age], outputs: [score]}",
        "{inputs: {age: long, income: null}}",
        "{inputs: {tags: array}}",
        "{inputs: {tags: array( string )}}",
        "{inputs: {age: long, tags: array(string)}, outputs: {score: double}, exact: true}",
    ],
)
def test_a_signature_with_the_columns_passes(terms: str) -> None:
    result = checked(terms)
    assert (str(result.code), result.source) == ("ok", "run r1, model/MLmodel")
    assert result.observed == "inputs age: long, income: double (optional), tags: array(string); outputs score: double"


@pytest.mark.parametrize(
    ("terms", "code", "says"),
    [
        ("{inputs: [zip]}", "column_missing", "no input zip; it has inputs age: long"),
        ("{outputs: [age]}", "column_missing", "no output age"),
        ("{inputs: [Age]}", "column_missing", "no input Age"),
        ("{inputs: {age: double}}", "column_of_other_type", "input age is long, not double"),
        ("{inputs: {tags: array(long)}}", "column_of_other_type", "input tags is array(string), not array(long)"),
        ("{inputs: {tags: string}}", "column_of_other_type", "input tags is array(string), not string"),
        ("{inputs: [age], exact: true}", "column_unexpected", "input tags: array(string) is not named"),
        ("{inputs: [zip], outputs: {score: long}}", "column_missing",
         "no input zip; output score is double, not long"),
    ],
)  # fmt: skip
def test_a_signature_that_breaks_what_callers_rely_on_is_rejected(terms: str, code: str, says: str) -> None:
    verdict = judged(terms, FOUND)
    assert (str(verdict.kind), str(verdict.checks[0].code)) == ("reject", code)
    assert verdict.checks[0].observed.startswith(says)


def test_an_output_that_is_optional_counts_as_another_one() -> None:
    more = replace(FOUND, outputs=(SCORE, Column("reason", "string", optional=True)))
    assert str(checked("{outputs: [score]}", more).code) == "ok"
    assert str(checked("{outputs: [score], exact: true}", more).code) == "column_unexpected"


def test_a_column_that_stands_twice_must_be_of_the_type_both_times() -> None:
    twice = replace(FOUND, inputs=(AGE, Column("age", "string")))
    assert str(checked("{inputs: {age: long}}", twice).code) == "column_of_other_type"


@pytest.mark.parametrize(
    ("inputs", "outputs", "says"),
    [(None, None, "no signature"), ((), (SCORE,), "a signature without inputs"), ((AGE,), None, "without outputs")],
)
def test_no_signature_is_rejected_or_left_to_a_person(
    inputs: Columns | None, outputs: Columns | None, says: str
) -> None:
    found = replace(FOUND, inputs=inputs, outputs=outputs)
    assert str(checked("{}", found).code) == "signature_missing"
    assert says in checked("{}", found).observed
    left = judged("{}", found, ", on_missing: abstain")
    assert (str(left.kind), str(left.reason_code)) == ("abstain", "missing")


def test_tensors_without_names_are_a_signature_but_have_no_columns_to_be_named() -> None:
    tensors = replace(FOUND, inputs=(IMAGE,))
    assert str(checked("{}", tensors).code) == "ok"
    assert "tensor(float32)[-1,28,28]" in checked("{}", tensors).observed
    assert (str(checked("{inputs: [image]}", tensors).code)) == "columns_unnamed"
    assert checked("{inputs: [image]}", tensors).observed.startswith("the inputs have no names; it has inputs tensor")
    assert str(judged("{inputs: [image]}", tensors, ", on_missing: abstain").reason_code) == "missing"
    # What is certainly missing is not left to a person.
    both = judged("{inputs: [image], outputs: [x]}", tensors, ", on_missing: abstain")
    assert str(both.kind) == "reject"


@pytest.mark.parametrize("wanted", ["tensor", "tensor(float32)", "tensor(float32)[-1,28,28]"])
def test_a_type_matches_whatever_it_holds_unless_that_is_said(wanted: str) -> None:
    named = replace(FOUND, inputs=(replace(IMAGE, name="image"),))
    assert str(checked(f"{{inputs: {{image: '{wanted}'}}}}", named).code) == "ok"
    assert str(checked("{inputs: {image: 'tensor(float64)'}}", named).code) == "column_of_other_type"
    assert str(checked("{inputs: {image: 'tensor(float32)[-1,28]'}}", named).code) == "column_of_other_type"


@pytest.mark.parametrize(
    ("answer", "reason", "observed"),
    [
        (replace(FOUND, unclear="MLmodel is not YAML"), "undetermined", "MLmodel is not YAML"),
        (Unreadable("403"), "unreadable", "403"),
    ],
)
def test_what_could_not_be_told_is_an_abstention(answer: Any, reason: str, observed: str) -> None:
    verdict = judged("{}", answer)
    assert (str(verdict.kind), str(verdict.reason_code)) == ("abstain", reason)
    assert verdict.checks[0].observed == observed


def test_hostile_names_are_shown_escaped_and_cut() -> None:
    hostile = replace(FOUND, inputs=tuple(Column(f"\x1b[2J\u202e{at}" * 99, "long") for at in range(500)))
    observed = checked("{inputs: [zip]}", hostile).observed
    assert observed.isprintable()
    assert len(observed) <= 500


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        (
            "{inputs: age}",
            "not columns: use a list of names, such as [age, income], or names with types: {age: double}",
        ),
        ("{inputs: [age, age]}", "'age' is there twice: name each column once"),
        ("{inputs: [1]}", "1 is not a column's name: put it in quotes"),
        ("{inputs: ['']}", "'' is not a column's name"),
        ("{inputs: {age: int}}", "'int' is not a type of MLflow's: use one of boolean, integer, long"),
        ("{inputs: {age: 1}}", "1 is not the type of 'age'"),
        ("{exact: true}", "exact needs columns"),
        ("{input: [age]}", "unknown key: did you mean inputs?"),
    ],
)
def test_a_mistake_in_the_policy_is_told_with_its_place(terms: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(policy(terms), "p.yaml")
    [line] = str(caught.value).splitlines()
    assert line.startswith("p.yaml:5:")
    assert says in line


def test_a_case_of_a_policy_gives_a_signature(tmp_path: Any) -> None:
    path = tmp_path / "policy.test.yaml"
    given = "model: m, target: Production, given: {signature: {inputs: {age: long}, outputs: [score]}}"
    other = given.replace("age", "zip")
    path.write_text(
        f"cases:\n  - {{name: a, {given}, expect: approve}}\n"
        f"  - {{name: b, {other}, expect: {{verdict: reject, codes: {{r/signature: column_missing}}}}}}\n"
        "  - {name: c, model: m, target: Production, given: {}, expect: {verdict: reject, reason: checks_failed}}\n"
        "  - {name: d, model: m, target: Production, given: {unreadable: [signature]}, expect: abstain}\n"
    )
    rules = parse_policy(policy("{inputs: {age: long}, outputs: [score]}"), "p").policy
    assert [one.failures for one in outcomes_of(rules, *read_cases(path))] == [()] * 4


# --- as it is kept -------------------------------------------------------------------------------------------

ODD = SignatureFacts("run r1", (Column("\0\ud800\u202e", "long"),), None, 1, "cd" * 32, "\x1b")


@pytest.mark.parametrize("facts", [FOUND, ODD, replace(FOUND, inputs=(IMAGE,), outputs=())])
def test_it_is_read_again_as_it_was_kept(facts: SignatureFacts) -> None:
    assert Evidence.from_json(evidence(facts).to_json()).fact(SignatureFacts) == facts


def test_a_flood_of_other_things_pushes_no_column_out() -> None:
    asked = Needs(run=True, logged_model=True, signature=True)
    whole = with_answer(flooded("no numbers"), SignatureFacts, FOUND)
    assert kept(whole, asked, ()).fact(SignatureFacts) == FOUND


@pytest.mark.parametrize("field", ["inputs", "outputs", "unclear"])
def test_without_a_field_that_was_redacted_nothing_is_judged(field: str) -> None:
    fields = {one.path: one.value for one in fields_of(json.loads(evidence(FOUND).to_json()))}
    del fields[f"signature.{field}"]
    left = evidence_left(document_of(fields), [f"signature.{field}"])
    verdict = judge_again(3, parse_policy(policy("{inputs: [age], outputs: [score]}"), "p").policy, ASKED, left)
    assert (str(verdict.reason_code), verdict.checks[0].observed) == ("withheld", f"signature.{field} was redacted")


def test_a_policy_that_asks_for_what_was_not_read_then_cannot_be_told() -> None:
    rules = parse_policy(policy("{}"), "p").policy
    then = Needs(run=True, logged_model=True)
    captured = as_captured(evidence_of(NOW, VERSION, RUN), then, rules.needs(ASKED))
    assert str(judge_again(3, rules, ASKED, captured).reason_code) == "unreadable"
    captured = as_captured(evidence(FOUND), rules.needs(ASKED), rules.needs(ASKED))
    assert str(judge_again(3, rules, ASKED, captured).kind) == "approve"


def test_a_file_that_is_changed_after_the_approval_is_drift_and_one_that_nobody_asked_for_is_not_read() -> None:
    before = evidence(FOUND).to_data()
    assert needs_again(before).signature
    assert not needs_again(evidence_of(NOW, VERSION, RUN).to_data()).signature
    now = replace(FOUND, sha256="cd" * 32, inputs=(AGE,))
    assert list(changes_since(before, {}, evidence(now))) == [Change("signature.sha256", "ab" * 32, "cd" * 32)]
    for untold in (SignatureFacts("", unclear="the server has no such route"), Unreadable("500")):
        assert list(changes_since(before, {}, evidence(untold))) == []
    gone = list(changes_since(before, {}, evidence(Absent("no_model_file", "none"))))  # type: ignore[arg-type]
    assert [(one.field, one.found) for one in gone] == [("signature.answer", "absent")]
