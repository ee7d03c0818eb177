"""What a check of a plugin may ask for beside values: a signature, how long a version was held, what a run logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.domain.evidence.captured import as_captured
from reconciler.domain.evidence.evidence import (
    Absent,
    Evidence,
    HistoryFacts,
    Reading,
    RunFacts,
    SignatureFacts,
    TenureFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.evidence.history_facts import History
from reconciler.domain.evidence.redacted import evidence_left
from reconciler.domain.evidence.signature_facts import Column
from reconciler.domain.evidence.tenure_facts import TimeHeld
from reconciler.domain.place import Place
from reconciler.domain.target import Target
from reconciler.fleet import Holder, judged_fleet
from reconciler.plugins.testing import found as found_by_a_test
from reconciler.policy.file import PolicyError, parse_policy
from tests.fake_registry import FakeRegistry
from tests.plugins.conftest import Load, kind_in
from tests.plugins.packages import policy, seen, source_of
from tests.plugins.test_judging_by_plugins import ASKED, by, judged, only
from tests.plugins.test_recorded_by_plugins import judged_again
from tests.store.test_reperforming import record
from tests.whole_evidence import NOW

ALL = """
def needs(self, terms):
    return Needs(histories=frozenset({"loss"}), steps=frozenset({1}), held=frozenset({"Staging", "@challenger"}),
                 signature=True)
"""
INPUTS, OUTPUTS = (Column("age", "long"), Column("note", "string", optional=True)), (Column("", "double"),)
SIGNATURE = SignatureFacts("run r1", INPUTS, OUTPUTS, 900, "ab" * 32)
DAY = timedelta(days=1)
SEEN = TimeHeld(True, NOW - 7 * DAY, NOW - DAY / 24, NOW, 12)
TENURE = TenureFacts({"Staging": SEEN, "@challenger": TimeHeld(False)})


def points(*values: float) -> list[Reading]:
    return [Reading(repr(value), value, step, 5, "r1") for step, value in enumerate(values)]


def whole(**answers: Any) -> Evidence:
    """What a registry, the record and a run of four steps show."""
    loss = points(0.9, 0.2, 1.5, 0.4)
    run = seen().fact(RunFacts)
    assert isinstance(run, RunFacts)
    # Another check asks for step 2.
    shown = {
        RunFacts: replace(run, metrics={**run.metrics, "loss": loss[-1]}),
        HistoryFacts: HistoryFacts("r1", {"loss": History.of(loss, {1, 2})}),
        SignatureFacts: SIGNATURE,
        TenureFacts: TENURE,
    }
    evidence = seen()
    for kind, answer in shown.items():
        evidence = evidence.answering(kind, answers.get(kind.key, answer))
    return evidence


def found(mine: Load, judge: str, evidence: Evidence | None = None, needs: str = ALL) -> tuple[str, str]:
    check = only(judged(mine(source_of(judge, more=needs)), evidence or whole()))
    return str(check.code), check.observed


# --- what is shown -------------------------------------------------------------------------------------------

LOSS = 'loss = evidence.histories["loss"]\n'


@pytest.mark.parametrize(
    ("judge", "observed"),
    [
        (
            'return passed(" ".join(f"{one.name}:{one.type}:{one.optional}" for one in evidence.signature.inputs))',
            "age:long:False note:string:True",
        ),
        ("return passed(str(evidence.signature.outputs))", "(Column(name='', type='double', optional=False),)"),
        ("return passed(evidence.signature.place + evidence.signature.sha256)", "run r1" + "ab" * 32),
        (
            'staging = evidence.held["Staging"]\n'
            'return passed(f"{staging.holds} {staging.since} {staging.lasted} {staging.asked_at - staging.seen_at}")',
            f"True {NOW - 7 * DAY} {7 * DAY - DAY / 24} 1:00:00",
        ),
        (
            'other = evidence.held["@challenger"]\nreturn passed(f"{other.holds} {other.since} {other.lasted}")',
            "False None 0:00:00",
        ),
        ("return passed(str(sorted(evidence.held)))", "['@challenger', 'Staging']"),
        (f"{LOSS}return passed(f'{{loss.highest.text}} {{loss.lowest.text}} {{loss.lowest.step}}')", "1.5 0.2 1"),
        (f"{LOSS}return passed(f'{{loss.points}} {{[one.text for one in loss.last]}}')", "4 ['0.4']"),
        (f"{LOSS}return passed(str([one.value for one in loss.at(1)]))", "[0.2]"),
        ('return passed(evidence.run.metrics["loss"].text)', "0.4"),
    ],
)
def test_it_sees_what_its_needs_name(mine: Load, judge: str, observed: str) -> None:
    assert found(mine, judge) == ("ok", observed)


@pytest.mark.parametrize(
    ("judge", "refused"),
    [
        ("evidence.signature", "signature is not among its needs"),
        ("evidence.held", "held is not among its needs"),
        ("evidence.histories", "histories is not among its needs"),
    ],
)
def test_what_its_needs_do_not_name_is_not_shown(mine: Load, judge: str, refused: str) -> None:
    code, observed = found(mine, judge, needs="")
    assert (code, observed.endswith(f"raised NotAsked: {refused}")) == ("check_error", True)


@pytest.mark.parametrize(
    ("judge", "refused"),
    [
        (f"{LOSS}loss.at(2)", "histories.metrics.loss: step 2 is not among its needs"),
        ('evidence.histories["auc"]', "histories.metrics.auc is not among its needs"),
        ('evidence.held["Production"]', "held.targets.Production is not among its needs"),
    ],
)
def test_of_what_others_ask_for_nothing_is_shown(mine: Load, judge: str, refused: str) -> None:
    code, observed = found(mine, judge)
    assert (code, observed.endswith(f"raised NotAsked: {refused}")) == ("check_error", True)


def test_its_needs_are_read_as_those_of_the_products_own_checks_are(mine: Load) -> None:
    needs = parse_policy(policy(), "p", mine(source_of(more=ALL)).kinds()).policy.needs(ASKED)
    targets = frozenset({Target.parse("Staging"), Target.parse("@challenger")})
    assert (needs.held, needs.held_for, needs.signature) == (targets, targets, True)
    assert needs.histories == {("loss", None), ("loss", 1)}
    assert (needs.metrics, needs.run, needs.logged_model) == ({"loss"}, True, True)
    assert not needs.metrics_of_logged_model


def test_a_target_that_it_names_is_looked_at_though_no_rule_governs_it(mine: Load) -> None:
    scope = parse_policy(policy(), "p", mine(source_of(more=ALL)).kinds()).policy.scope()
    [watched] = scope.watched
    assert watched.targets == {Target.parse("Staging"), Target.parse("@challenger")}


# --- what is not there ---------------------------------------------------------------------------------------

NO_FILE, NO_RUN = Absent("no_model_file", "no MLmodel"), Absent("no_run", "the version names none")  # type: ignore[arg-type]
UNREAD = Unreadable("500")
NO_LOOK = TenureFacts({"Staging": TimeHeld(True, why="no look yet"), "@challenger": TimeHeld(False)})
BROKEN = HistoryFacts("r1", {"loss": History(why="more than a million points")})
SIGNED, STAGED = "evidence.signature.inputs", 'evidence.held["Staging"].since'
ENDS = 'evidence.histories["loss"].highest'


@pytest.mark.parametrize("caught", [False, True])
@pytest.mark.parametrize(
    ("look", "answers", "expected"),
    [
        (SIGNED, {"signature": UNREAD}, ("unreadable", "signature: 500")),
        (SIGNED, {"signature": replace(SIGNATURE, unclear="not YAML")}, ("undetermined", "signature: not YAML")),
        (STAGED, {"tenure": UNREAD}, ("unreadable", "held: 500")),
        (
            STAGED,
            {"tenure": NO_LOOK},
            ("not_observed", "held.targets.Staging: since when is not on record: no look yet"),
        ),
        (STAGED, {"version": UNREAD}, ("unreadable", "held: 500")),
        (ENDS, {"history": UNREAD}, ("unreadable", "histories: 500")),
        (ENDS, {"history": BROKEN}, ("unreadable", "histories.metrics.loss: more than a million points")),
        (ENDS, {"run": UNREAD}, ("unreadable", "histories: 500")),
    ],
)
def test_what_could_not_be_told_is_an_abstention_whatever_it_makes_of_it(
    mine: Load, look: str, answers: Mapping[str, Any], expected: tuple[str, str], caught: bool
) -> None:
    looks = f"try:\n    {look}\nexcept Exception:\n    pass" if caught else look
    judge = f"{looks}\nreturn passed('fine')"
    evidence = whole(**{key: answer for key, answer in answers.items() if key != "version"})
    if "version" in answers:
        evidence = evidence.answering(VersionFacts, answers["version"])
    verdict = judged(mine(source_of(judge, more=ALL)), evidence)
    assert (str(verdict.kind), str(only(verdict).code), only(verdict).observed) == ("abstain", *expected)


@pytest.mark.parametrize(
    ("look", "answers", "code"),
    [
        (SIGNED, {"signature": NO_FILE}, "no_model_file"),
        (ENDS, {"run": NO_RUN}, "no_run"),
        ("return missing('gone', 'x') if 'loss' not in evidence.histories else passed('')",
         {"history": HistoryFacts("r1", {})}, "mine.gone"),
    ],
)  # fmt: skip
def test_what_is_definitely_absent_is_a_finding(mine: Load, look: str, answers: Mapping[str, Any], code: str) -> None:
    assert found(mine, f"{look}\nreturn passed('')", whole(**answers))[0] == code


def test_a_member_without_values_is_told_from_one_that_could_not_be_read(mine: Load) -> None:
    none = whole(signature=SignatureFacts("run r1"))
    assert found(mine, "return passed(str(evidence.signature.inputs))", none) == ("ok", "None")
    nan = HistoryFacts("r1", {"loss": History.of([Reading("NaN", float("nan"), 0, 5, "r1")], {1})})
    judge = f"{LOSS}return passed(f'{{loss.highest}} {{loss.lowest}} {{loss.at(1)}} {{loss.last[0].text}}')"
    assert found(mine, judge, whole(history=nan)) == ("ok", "None None () NaN")


# --- judged again --------------------------------------------------------------------------------------------

LOOKS_AT_ALL = """
loss, staging = evidence.histories["loss"], evidence.held["Staging"]
told = f"{loss.highest.text} {loss.at(1)[0].text} {staging.lasted.days} {len(evidence.signature.inputs)}"
return passed(told, number=loss.lowest.value)
"""


def test_a_decision_is_judged_again_from_what_is_kept(audit_url: str, mine: Load) -> None:
    plugins = mine(source_of(LOOKS_AT_ALL, more=ALL))
    loaded = parse_policy(policy(), "p", plugins.kinds())
    evidence = whole().judged_by(loaded.policy.needs(ASKED).codes)
    verdict, again = by(loaded, evidence), by(loaded, Evidence.from_json(evidence.to_json()))
    assert (verdict == again, only(verdict).observed) == (True, "1.5 0.2 6 2")
    schema.upgrade(audit_url)
    engine = make_engine(audit_url)
    record(engine, loaded, (ASKED, evidence))
    engine.dispose()
    assert judged_again(audit_url, plugins) == []


@pytest.mark.parametrize(
    "field",
    ["signature.inputs", "signature.unclear", "tenure.targets.Staging", "tenure.targets", "history.metrics.loss"],
)
def test_what_was_redacted_is_never_taken_for_absent(mine: Load, field: str) -> None:
    loaded = parse_policy(policy(), "p", mine(source_of(LOOKS_AT_ALL, more=ALL)).kinds())
    document = whole().judged_by(loaded.policy.needs(ASKED).codes).to_data()
    *above, name = field.split(".")
    place = document
    for key in above:
        place = place[key]
    del place[name]
    verdict = by(loaded, evidence_left(document, [field]))
    assert (str(verdict.kind), str(only(verdict).code), f"{field} was redacted" in only(verdict).observed) == (
        "abstain", "withheld", True,
    )  # fmt: skip


def test_what_was_never_captured_cannot_be_told_by_a_check_that_came_later(mine: Load) -> None:
    loaded = parse_policy(policy(), "p", mine(source_of(LOOKS_AT_ALL, more=ALL)).kinds())
    now = loaded.policy.needs(ASKED)
    plain = parse_policy("version: 1\nrules: [{name: r, targets: [Production], require: [{run: {}}]}]", "p").policy
    as_then = as_captured(seen(), plain.needs(ASKED), now)
    assert (str(by(loaded, as_then).kind), str(only(by(loaded, as_then)).result)) == ("abstain", "unknown")
    # Evidence of a policy that asked for the same, but for one step.
    then = replace(now, histories=frozenset({("loss", None)}))
    assert str(by(loaded, as_captured(whole(), then, now)).reason_code) == "withheld"
    assert str(by(loaded, as_captured(whole(), now, now)).kind) == "approve"


def test_evidence_in_which_it_was_not_looked_up_is_not_taken_for_absent(mine: Load) -> None:
    for look, key in ((SIGNED, "signature"), (STAGED, "held"), (ENDS, "histories")):
        judge = f"{look}\nreturn passed('')"
        assert found(mine, judge, seen()) == ("undetermined", f"{key}: was not looked up")


# --- what holds a target already -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("judge", "needs", "fitness"),
    [
        ("return failed('bad', 'x')", 'held=frozenset({"Staging"})', "unknown"),
        ("return failed('bad', 'x')", "holder=True", "unknown"),
        ("return failed('bad', 'x')", "run=True", "fails"),
        ("os._exit(1)", 'held=frozenset({"Staging"})', "unknown"),
    ],
)
@pytest.mark.parametrize("check", ["mine: {}", "any_of: [[{mine: {}}], [{tag: never.set}]]"])
def test_in_the_fleet_it_says_nothing_of_where_a_holder_came_from(
    mine: Load, check: str, judge: str, needs: str, fitness: str
) -> None:
    plugins = mine(source_of(judge, more=f"def needs(self, terms):\n    return Needs({needs})"))
    registry = FakeRegistry()
    registry.accuracy["fraud", "1"] = "0.95"
    place = Place("fraud", "1", Target.parse("Production"))
    registry.holders["fraud", place.target] = "1"
    [one] = judged_fleet(
        registry, parse_policy(policy(check), "p", plugins.kinds()).policy, [Holder(place)], NOW, NOW, {}
    )
    assert str(one.fitness) == fitness


# --- needs that mean nothing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        ('held=frozenset({"Nowhere"})', "needs what does not exist: "),
        ('held="Staging"', "raised TypeError: held of its needs is 'Staging': give a frozenset of names"),
        ("metrics=3", "raised TypeError: metrics of its needs is 3: give a frozenset of names"),
        ("metrics=None", "raised TypeError: metrics of its needs is None: give a frozenset of names"),
        (
            'steps=frozenset({"1"})',
            "raised TypeError: steps of its needs is frozenset({'1'}): give a frozenset of whole",
        ),
        ("steps=[1.5]", "raised TypeError: steps of its needs is [1.5]: give a frozenset of whole numbers"),
    ],
)
def test_needs_that_mean_nothing_are_a_mistake_at_the_place_of_the_check(mine: Load, needs: str, says: str) -> None:
    more = f"def needs(self, terms):\n    return Needs({needs})"
    with pytest.raises(PolicyError) as caught:
        parse_policy(policy(), "p.yaml", mine(source_of(more=more)).kinds())
    assert str(caught.value).startswith("p.yaml:6:15: rules[0].require[0].mine: mine of acme-mine 1.0.0 ")
    assert says in str(caught.value)


def test_a_list_of_names_is_as_good_as_a_set(mine: Load) -> None:
    more = 'def needs(self, terms):\n    return Needs(metrics=["validation_accuracy"], held=("Staging",), steps=[1, 1])'
    kind = kind_in(mine(source_of(more=more)))
    needs = kind.model_validate({"mine": {}}).needs()
    assert (needs.metrics, needs.held) == ({"validation_accuracy"}, {Target.parse("Staging")})


# --- its tests -----------------------------------------------------------------------------------------------


def test_what_its_tests_and_its_cases_give_is_seen_as_in_a_decision(mine: Load) -> None:
    plugins = mine(source_of(LOOKS_AT_ALL, more=ALL))
    namespace: dict[str, Any] = {}
    exec(source_of(LOOKS_AT_ALL, more=ALL), namespace)
    given = {"run": {"metrics": {"loss": [0.9, 0.2, 1.5, 0.4]}}, "held": {"Staging": timedelta(days=6, hours=23)},
             "signature": {"inputs": {"age": "long", "note": "string"}, "outputs": ["score"]}}  # fmt: skip
    by_test = found_by_a_test(namespace["Mine"](), {}, now=NOW, **given)
    check = only(judged(plugins, whole()))
    assert (by_test.observed, by_test.number) == (check.observed, check.observed_number)
    with_none = {"held": {}, "run": {"metrics": {"loss": []}}}
    with pytest.raises(KeyError):
        found_by_a_test(namespace["Mine"](), {}, now=NOW, **with_none)
