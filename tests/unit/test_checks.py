"""What each kind of check finds: a table for each, with what is hostile in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import process_time
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.domain.engines.evaluate import ENGINES, evaluate
from reconciler.domain.evidence.evidence import (
    Dataset,
    Evidence,
    LeftOut,
    LoggedModelFacts,
    ModelFacts,
    Reading,
    RunFacts,
    VersionFacts,
)
from reconciler.domain.evidence.keeping import within_room
from reconciler.domain.policy import Policy
from reconciler.domain.request import Assurance, Requester
from reconciler.domain.text import Text
from reconciler.domain.verdict import Verdict, VerdictKind
from reconciler.policy.file import PolicyError, parse_policy
from tests.builders import a_request, evidence_of, with_answer, with_changed

NOW = datetime(2026, 6, 3, 10, tzinfo=UTC)
MILLIS = round(NOW.timestamp() * 1000)
HOUR = 3_600_000


def shown(
    metrics: Mapping[str, float | str] | None = None, tags: Mapping[str, str] | None = None, **run: Any
) -> Evidence:
    readings = {name: reading(str(value)) for name, value in (metrics or {}).items()}
    version = VersionFacts(
        "r1", "runs:/r1/m", "READY", "None", Text.of(""), {k: Text.of(v) for k, v in (tags or {}).items()}
    )
    facts = RunFacts("r1", "FINISHED", "active", 1, "s3://b/r1", readings, experiment_id="7")
    return evidence_of(NOW, version, replace(facts, **run))


def reading(text: str, *, at: int = MILLIS, step: int = 0, dataset: str = "", digest: str = "") -> Reading:
    try:
        value = float(text)
    except ValueError:
        value = None  # type: ignore[assignment]
    return Reading(text, value, step, at, dataset_name=dataset, dataset_digest=digest)


def policy_of(check: str, head: str = "") -> Policy:
    text = f"version: 1\n{head}rules:\n  - name: r\n    targets: [Production]\n    require: [{check}]\n"
    return parse_policy(text, "p").policy


def judged(check: str, by: Evidence, *, now: datetime = NOW, head: str = "", asker: Requester | None = None) -> Verdict:
    request = replace(a_request("m", NOW), **({"requester": asker} if asker else {}))  # type: ignore[arg-type]
    return evaluate(policy_of(check, head), request, by, now)


def code(check: str, by: Evidence, **more: Any) -> str:
    return str(judged(check, by, **more).checks[0].code)


def refused(check: str) -> str:
    with pytest.raises(PolicyError) as caught:
        judged(check, shown())
    return str(caught.value)


# --- metric --------------------------------------------------------------------------------------------------


def test_a_metric_is_found_under_the_first_of_its_names_and_the_reason_says_which() -> None:
    check = "{metric: val_acc, names: [validation_accuracy, acc], min: 0.9}"
    verdict = judged(check, shown({"acc": 0.1, "validation_accuracy": 0.95}))
    assert (verdict.kind, verdict.checks[0].source) == (VerdictKind.APPROVE, "run r1 step 0 as validation_accuracy")
    assert code(check, shown({"val_acc": 0.1, "acc": 1.0})) == "below_min"
    assert code(check, shown({"other": 1.0})) == "metric_missing"


@pytest.mark.parametrize(
    ("datasets", "expected"),
    [((Dataset("eval", "d1"),), "ok"), ((Dataset("eval", "d2"),), "dataset_unused"), ((), "dataset_unused"),
     ((Dataset("x", "d1"), Dataset("eval", "d2")), "dataset_unused"), (None, "undetermined")],
)  # fmt: skip
def test_a_run_must_name_the_dataset_among_its_inputs(datasets: tuple[Dataset, ...] | None, expected: str) -> None:
    check = "{metric: a, min: 0, dataset: eval, dataset_digest: d1}"
    assert code(check, shown({"a": 1}, datasets=datasets)) == expected


def test_a_dataset_that_had_no_room_in_the_evidence_may_have_been_it() -> None:
    cut = shown({"a": 1}, datasets=(), left_out={"datasets": LeftOut(3, "")})
    assert judged("{metric: a, min: 0, dataset: eval}", cut).reason_code == "undetermined"


@pytest.mark.parametrize(
    ("experiment", "expected"), [("7", "ok"), ("8", "experiment_not_allowed"), ("", "undetermined")]
)
def test_a_metric_is_measured_in_an_experiment_that_is_allowed(experiment: str, expected: str) -> None:
    assert code("{metric: a, min: 0, experiments: ['7', '9']}", shown({"a": 1}, experiment_id=experiment)) == expected


@pytest.mark.parametrize(
    ("ago", "expected"),
    [(0, "ok"), (HOUR, "ok"), (HOUR + 1, "metric_too_old"), (-60_000, "ok"), (-HOUR, "metric_too_old"),
     (MILLIS, "metric_too_old"), (-10**18, "metric_too_old")],
)  # fmt: skip
def test_a_metric_is_not_too_old_and_not_of_the_future(ago: int, expected: str) -> None:
    by = with_changed(shown(), RunFacts, metrics={"a": reading("1", at=MILLIS - ago)})
    assert code("{metric: a, min: 0, max_age: 1h}", by) == expected


def on_model(*readings: Reading, cut: bool = False) -> Evidence:
    left_out = {"metrics": LeftOut(1, "")} if cut else None
    model = LoggedModelFacts("m-1", "r1", "READY", {"a": readings}, left_out=left_out)
    return with_answer(shown(), LoggedModelFacts, model)


STEPS = (reading("0.3", step=1), reading("0.9", step=2), reading("0.5", step=3))


@pytest.mark.parametrize(
    ("terms", "observed"),
    [("min: 0", "0.5"), ("min: 0, step: last", "0.5"), ("min: 0, step: best", "0.9"), ("max: 1, step: best", "0.3"),
     ("min: 0, step: 1", "0.3"), ("min: 0, step: 2", "0.9")],
)  # fmt: skip
def test_the_step_of_a_logged_model_is_the_one_that_the_policy_names(terms: str, observed: str) -> None:
    verdict = judged(f"{{metric: a, source: logged_model, {terms}}}", on_model(*STEPS))
    assert (verdict.kind, verdict.checks[0].observed) == (VerdictKind.APPROVE, observed)


def test_a_step_that_had_no_room_in_the_evidence_may_have_passed() -> None:
    check = "{{metric: a, source: logged_model, min: {}, step: {}}}"
    assert code(check.format(0, 9), on_model(*STEPS)) == "step_missing"
    assert code(check.format(0, 9), on_model(*STEPS, cut=True)) == "undetermined"
    assert code(check.format(2, "best"), on_model(*STEPS)) == "below_min"
    assert code(check.format(2, "best"), on_model(*STEPS, cut=True)) == "undetermined"
    assert code(check.format(0.8, "best"), on_model(*STEPS, cut=True)) == "ok"


QUARTERS = st.integers(-40, 40).map(lambda number: number / 4)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=8), QUARTERS)
def test_the_best_step_passes_only_where_some_finite_step_does(values: list[float], least: float) -> None:
    by = on_model(*(reading(repr(value), step=at) for at, value in enumerate(values)))
    passes = code(f"{{metric: a, source: logged_model, min: {least}, step: best, allow_zero: true}}", by) == "ok"
    assert not passes or any(abs(value) < 1.797e308 and value >= least for value in values)


def test_a_digest_tells_datasets_of_one_name_apart() -> None:
    one, other = (
        reading(text, dataset="eval", digest=digest, step=2) for text, digest in (("0.5", "d1"), ("0.9", "d2"))
    )
    check = "{metric: a, source: logged_model, min: 0.8, dataset: eval, dataset_digest: %s}"
    assert [code(check % digest, on_model(one, other)) for digest in ("d1", "d2", "d3")] == [
        "below_min", "ok", "dataset_missing",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "says"),
    [("{metric: a, min: 0, allow_zero: true}", "allow_zero requires source: logged_model"),
     ("{metric: a, min: 0, max: 1, step: best, source: logged_model}", "says what is better"),
     ("{metric: a, min: 0, step: -1, source: logged_model}", "-1 is not a step: use last, best, or a number from 0"),
     ("{metric: a, min: 0, step: first, source: logged_model}", "'first' is not a step")],
)  # fmt: skip
def test_a_step_that_means_nothing_is_refused(check: str, says: str) -> None:
    assert says in refused(check)


# --- family --------------------------------------------------------------------------------------------------

GROUPS = {"acc_group_a": 0.9, "acc_group_b": 0.8, "acc_group_c": 0.85, "acc": 0.1}


@pytest.mark.parametrize(
    ("terms", "expected"),
    [("min: 0.8", "ok"), ("min: 0.81", "member_below_min"), ("max: 0.89", "member_above_max"),
     ("max_gap: 0.11", "ok"), ("max_gap: 0.09", "gap_too_large"),
     ("min_ratio: 0.88", "ok"), ("min_ratio: 0.9", "ratio_too_small"),
     ("min: 0, at_least: 3", "ok"), ("min: 0, at_least: 4", "members_missing"),
     ("min: 0, expect: [acc_group_a, acc_group_c]", "ok"), ("min: 0, expect: [acc_group_d]", "members_missing")],
)  # fmt: skip
def test_a_family_is_held_against_its_limits(terms: str, expected: str) -> None:
    assert code(f"{{family: 'acc_group_*', {terms}}}", shown(GROUPS)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("NaN", "member_not_finite"), ("Infinity", "member_not_finite"), ("1.7976931348623157e308", "member_not_finite"),
     ("good", "member_not_finite"), ("1.5", "member_out_of_bounds"), ("-0.5", "member_out_of_bounds")],
)  # fmt: skip
def test_one_broken_member_fails_its_family(value: str, expected: str) -> None:
    assert code("{family: 'acc_group_*', max_gap: 9, min: -9}", shown(GROUPS | {"acc_group_x": value})) == expected


def test_a_family_that_another_model_was_measured_on_proves_nothing() -> None:
    check = "{family: 'acc_group_*', min: 0}"
    assert code(check, shown(GROUPS, outputs=("m-1", "m-2"))) == "family_of_another"
    other = LoggedModelFacts("m-1", "another", "READY", {})
    assert code(check, with_answer(shown(GROUPS), LoggedModelFacts, other)) == "family_of_another"


def test_a_family_is_kept_whole_and_one_that_is_too_large_is_told_from_what_is_kept() -> None:
    policy = parse_policy(
        "version: 1\nrules: [{name: r, targets: [Production], require: [{family: 'g*', min: 0}]}]", "p"
    ).policy
    request = a_request("m", NOW)
    for count, expected in ((300, "ok"), (20_000, "too_many_members")):
        large = shown(
            {f"g{number:06}" + "x" * 200: 1 for number in range(count)} | {f"other{n}": 1 for n in range(900)}
        )
        begun = process_time()
        kept = within_room(large, policy.needs(request))
        verdict = evaluate(policy, request, kept, NOW)
        assert str(verdict.checks[0].code) == expected
        assert process_time() - begun < 20
        run = kept.fact(RunFacts)
        assert isinstance(run, RunFacts)
        assert len(run.metrics) <= 1001 + 900


def written(number: float) -> str:
    """As a policy has it: YAML reads 8e-06 as a text."""
    return format(Decimal(repr(number)), "f")


THOUSANDTHS = st.decimals("0.001", 1000, places=3).map(float)


@given(st.dictionaries(st.sampled_from([f"g{n}" for n in range(9)]), THOUSANDTHS, min_size=2))
@example({"g0": 0.85, "g1": 0.9})
def test_gap_and_ratio_are_of_the_largest_and_the_smallest_as_a_person_reckons(values: dict[str, float]) -> None:
    low, *_, high = sorted(values.values())
    spread = float(Decimal(repr(high)) - Decimal(repr(low)))
    assert code(f"{{family: 'g*', max_gap: {written(spread)}}}", shown(values)) == "ok"
    assert code(f"{{family: 'g*', min_ratio: {written(low / high * (1 - 1e-12))}}}", shown(values)) == "ok"
    if spread > 1e-6:
        assert code(f"{{family: 'g*', max_gap: {written(spread * 0.999)}}}", shown(values)) == "gap_too_large"
        assert code(f"{{family: 'g*', min_ratio: {written(min(low / high * 1.001, 1.0))}}}", shown(values)) in {
            "ratio_too_small", *(["ok"] if low / high > 0.999 else []),
        }  # fmt: skip


# --- requester -----------------------------------------------------------------------------------------------

PEOPLE = "people: {ada: [ada@corp, uid-7], bob: [bob@corp]}\n"


def asker(name: str, assurance: Assurance = Assurance.AUTHENTICATED) -> Requester:
    return Requester(name, assurance)


@pytest.mark.parametrize(
    ("terms", "who", "expected"),
    [
        ("{}", asker("ada"), "ok"),
        ("{}", asker("ada", Assurance.ASSERTED), "requester_unsure"),
        ("{}", asker("", Assurance.UNKNOWN), "requester_unsure"),
        ("{}", asker(""), "requester_unsure"),
        ("{allow: [ada, 'ml-*']}", asker("ml-1"), "ok"),
        ("{allow: [ada]}", asker("Ada"), "requester_not_allowed"),
        ("{allow: [ada]}", asker("ada "), "requester_not_allowed"),
        ("{deny: ['bot-*']}", asker("bot-1"), "requester_denied"),
        ("{deny: ['bot-*'], assurance: asserted}", asker("ada", Assurance.ASSERTED), "ok"),
    ],
)  # fmt: skip
def test_who_asks_may_ask(terms: str, who: Requester, expected: str) -> None:
    assert code(f"{{requester: {terms}}}", shown(), asker=who) == expected


@pytest.mark.parametrize(
    ("who", "user", "expected"),
    [("ada", "bob@corp", "ok"), ("ada@corp", "bob", "ok"), ("ada", "ada", "same_person"),
     ("ada", "uid-7", "same_person"),
     ("ada@corp", "uid-7", "same_person"), ("ada", "root", "person_unknown"), ("eve", "bob", "person_unknown"),
     ("ada", None, "person_unknown"), ("ada", "b" * 5000, "person_unknown"), ("eve", "eve", "same_person")],
)  # fmt: skip
def test_the_run_is_anothers_only_where_the_policy_knows_both(who: str, user: str | None, expected: str) -> None:
    by = shown(user=None if user is None else Text.of(user))
    assert code("{requester: {not_run_user: true}}", by, asker=asker(who), head=PEOPLE) == expected


def test_a_login_that_two_persons_share_or_that_is_none_is_refused_with_its_place() -> None:
    """Else one of them could ask for a run of their own, or for one of which nobody is known."""
    rule = "rules: [{name: r, targets: [Production], require: [{tag: x}]}]"
    text = f"version: 1\npeople:\n  ada: [uid-7]\n  bob: [uid-7, '']\n  eve: [ada, eve]\n{rule}"
    with pytest.raises(PolicyError) as error:
        parse_policy(text, "p")
    assert str(error.value).splitlines() == [
        "p:4:9: people.bob[0]: 'uid-7' is 'ada' already: name each login once",
        "p:4:16: people.bob[1]: '' is not a login: remove it",
        "p:5:9: people.eve[0]: 'ada' is 'ada' already: name each login once",
    ]


@pytest.mark.parametrize(
    ("check", "said"),
    [("{family: 'g*', min: 0.9, max: 0.1}", "no value is at least 0.9 and at most 0.1"),
     ("{family: 'g*', min: 0.9, bounds: [1, 0]}", "no value is at least 1 and at most 0"),
     ("{tag: t, type: number, min: 2, max: 1}", "min 2 is greater than max 1")],
)  # fmt: skip
def test_limits_that_nothing_meets_are_refused(check: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        judged(check, shown())


def test_a_user_that_is_kept_out_of_the_evidence_is_nobody_else() -> None:
    by = shown(user=Text.of("bob")).excluding([], ["mlflow.*"])
    verdict = judged("{requester: {not_run_user: true}}", by, asker=asker("ada"), head=PEOPLE)
    assert verdict.reason_code == "withheld"


def test_the_requester_is_not_stored_with_the_evidence() -> None:
    assert "requester" not in shown().to_data()


# --- documentation -------------------------------------------------------------------------------------------

CARD = "# Model\nA fraud model.\n\n## Intended use\nCards only.\n\n## Limits\n\n## Data\n- 2025\n"


@pytest.mark.parametrize(
    ("text", "terms", "expected"),
    [(CARD, "{}", "ok"), ("  \n", "{}", "not_documented"), ("ab", "{min_length: 3}", "documentation_too_short"),
     (CARD, "{headings: ['## Intended use', '## Data']}", "ok"), (CARD, "{headings: ['## Limits']}", "heading_missing"),
     (CARD, "{headings: ['## Risks']}", "heading_missing"), (CARD, "{headings: ['# Intended use']}", "heading_missing"),
     ("see ## Intended use\nx", "{headings: ['## Intended use']}", "heading_missing"),
     ("## Intended use\n\u200b\u2800\n", "{headings: ['## Intended use']}", "heading_missing"),
     ("x" * 5000 + "\n## Data\nx", "{headings: ['## Data']}", "heading_missing"),
     ("## Data\n<!-- What was it\ntrained on? -->\n", "{headings: ['## Data']}", "heading_missing"),
     ("<!--\n## Data\nx\n-->", "{headings: ['## Data']}", "not_documented"), ("<!-- none", "{}", "not_documented"),
     ("## Data\n<!-- a --> 2025 <!-- b -->", "{headings: ['## Data']}", "ok"),
     ("<!--" * 1000, "{}", "not_documented")],
)  # fmt: skip
def test_a_description_has_its_headings_with_text_below(text: str, terms: str, expected: str) -> None:
    by = with_answer(shown(), ModelFacts, ModelFacts({}, Text.of(text)))
    assert code(f"{{documentation: {terms}}}", by) == expected
    of_version = with_changed(shown(), VersionFacts, description=Text.of(text))
    assert code(f"{{documentation: {{of: version, {terms[1:]}}}", of_version) == expected


@pytest.mark.parametrize(
    ("link", "expected"),
    [("https://wiki.example.com/card", "ok"), ("http://wiki.example.com", "not_documented"),
     ("https://", "not_documented"),
     ("javascript:alert(1)", "not_documented"), ("https://x y", "not_documented"), ("https://[", "not_documented"),
     ("https://a\u202eb", "not_documented"), ("https://x/" + "a" * 5000, "not_documented")],
)  # fmt: skip
def test_a_tag_may_link_to_a_card_instead(link: str, expected: str) -> None:
    by = with_answer(shown(tags={"card": link}), ModelFacts, ModelFacts())
    assert code("{documentation: {or_tag: card}}", by) == expected


# --- tags of a type ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "value", "expected"),
    [
        ("number", "3", "ok"), ("number", "-1.5e3", "ok"), ("number", ".5", "ok"), ("number", "nan", "not_of_type"),
        ("number", "inf", "not_of_type"), ("number", "1_000", "not_of_type"), ("number", " 1", "not_of_type"),
        ("number", "٣", "not_of_type"), ("number", "1e999", "not_of_type"), ("number", "0x1f", "not_of_type"),
        ("number", "1" * 4000, "not_of_type"), ("number, min: 2", "1.9", "number_too_small"),
        ("number, max: 2", "2.1", "number_too_large"), ("number, min: 2, max: 2", "2", "ok"),
        ("date", "2026-06-01", "ok"), ("date", "2026-06-01T10:00:00Z", "ok"), ("date", "20260601", "not_of_type"),
        ("date", "2026-02-30", "not_of_type"), ("date", "soon", "not_of_type"), ("date", "0000-01-01", "not_of_type"),
        ("date", "0001-01-01T00:00:00+23:59", "not_of_type"),
        ("date, max_age: 3d", "2026-06-01", "ok"), ("date, max_age: 1d", "2026-06-01", "date_out_of_range"),
        ("date, max_age: 3d", "2027-01-01", "date_out_of_range"),
        ("url", "https://x.example/a", "ok"), ("url", "file:///etc/passwd", "not_of_type"), ("url", "x", "not_of_type"),
    ],
)  # fmt: skip
def test_a_tag_has_a_value_of_its_type(terms: str, value: str, expected: str) -> None:
    assert code(f"{{tag: t, type: {terms}}}", shown(tags={"t": value})) == expected
    assert code(f"{{tag: t, type: {terms}}}", shown(tags={"t": value + "x" * 5000})) == "too_long"


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ("https://wiki/a", True), ("http://a-b_c.example:8080/?q#f", True), ("https://192.0.2.7/", True),
        ("https://[2001:db8::1]:8443/a", True), ("https://bücher.example", True), ("https://हिन्दी.example/", True),
        ("https://a.example./", True), ("https://.", False), ("https://..", False), ("https://-", False),
        ("https://_", False), ("https://a..b", False), ("https://-a.example", False), ("https://a-.example", False),
        ("https://*.example", False), ("https://a%2e.example", False), ("https://a\\b", False), ("https:///a", False),
        ("https://192.0.2.256", False), ("https://192.0.2", False), ("https://a.7", False), ("https://[::g]", False),
        ("https://a:65536", False), ("https://a:b", False), ("https://" + "a" * 64, False),
        ("https://" + "a." * 127 + "a", False), ("https://٣.example", True), ("https://a.٣", False),
    ],
)  # fmt: skip
def test_an_address_names_a_host_that_there_could_be(value: str, is_one: bool) -> None:
    """Before engine 4 any host would do, such as the dot of `https://.`."""
    for check, none in (("{tag: t, type: url}", "not_of_type"), ("{documentation: {or_tag: t}}", "not_documented")):
        by = shown(tags={"t": value.replace("http:", "https:")})
        by = with_answer(by, ModelFacts, ModelFacts())
        assert code(check, by) == ("ok" if is_one else none)
        then = ENGINES[3](policy_of(check), a_request("m", NOW), by, NOW).checks[0].code
        assert then == ("ok" if names_any_host(value) else none)


def names_any_host(value: str) -> bool:
    try:
        return bool(urlsplit(value).hostname)
    except ValueError:
        return False


# --- window --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "now", "opens"),
    [
        ("hours: 09:00-17:00", "2026-06-03T10:00:00Z", None),
        ("hours: 09:00-17:00", "2026-06-03T17:00:00Z", "2026-06-04T09:00:00.000Z"),
        ("hours: 09:00-17:00", "2026-06-03T08:59:59Z", "2026-06-03T09:00:00.000Z"),
        ("hours: 09:00-17:00, zone: Europe/Berlin", "2026-06-03T07:30:00Z", None),
        ("hours: 09:00-17:00, zone: Europe/Berlin", "2026-06-03T15:30:00Z", "2026-06-04T07:00:00.000Z"),
        ("days: [mon, tue]", "2026-06-03T10:00:00Z", "2026-06-08T00:00:00.000Z"),
        ("freezes: [{from: 2026-06-01, until: 2026-06-05}]", "2026-06-03T10:00:00Z", "2026-06-05T00:00:00.000Z"),
        ("hours: 09:00-17:00, freezes: [{from: 2026-06-01, until: 2026-06-05T12:00:00Z}]", "2026-06-03T10:00:00Z",
         "2026-06-05T12:00:00.000Z"),
        ("days: [sun], freezes: [{from: 2026-01-01, until: 2099-01-01}]", "2026-06-03T10:00:00Z", "never"),
        # The clock jumps over 02:30, and shows it twice.
        ("hours: 02:30-17:00, zone: Europe/Berlin", "2026-03-29T00:59:00Z", "2026-03-29T01:00:00.000Z"),
        ("hours: 02:30-17:00, zone: Europe/Berlin", "2026-10-25T01:10:00Z", "2026-10-25T01:30:00.000Z"),
        ("hours: 00:30-17:00, zone: America/Santiago", "2026-09-06T03:00:00Z", "2026-09-06T04:00:00.000Z"),
        ("hours: 09:00-17:00", "9999-12-31T18:00:00Z", "never"),
    ],
)  # fmt: skip
def test_a_window_says_when_it_opens(terms: str, now: str, opens: str | None) -> None:
    verdict = judged(f"{{window: {{{terms}}}}}".replace("hours: ", "hours: '").replace("-17:00", "-17:00'"), shown(),
                     now=datetime.fromisoformat(now))  # fmt: skip
    if opens is None:
        assert verdict.kind is VerdictKind.APPROVE
        return
    assert (verdict.kind, verdict.reason_code) == (VerdictKind.ABSTAIN, "outside_window")
    assert ("it does not open within 400 days" if opens == "never" else f"it opens at {opens}") in verdict.reason


def test_what_fails_is_rejected_while_the_window_is_closed() -> None:
    assert judged("{window: {days: [sun]}}, {tag: t}", shown()).kind is VerdictKind.REJECT


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),
    st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "UTC"]),
)
def test_a_window_is_open_by_the_clock_on_the_wall(at: datetime, zone: str) -> None:
    now = at.replace(tzinfo=UTC)
    wall = now.astimezone(ZoneInfo(zone))
    inside = wall.weekday() < 5 and 9 <= wall.hour < 17
    check = f"{{window: {{zone: {zone}, hours: '09:00-17:00', days: [mon, tue, wed, thu, fri]}}}}"
    verdict = judged(check, shown(), now=now)
    assert (verdict.kind is VerdictKind.APPROVE) == inside
    if not inside:
        opens = datetime.fromisoformat(verdict.checks[0].observed.rpartition("it opens at ")[2])
        assert judged(check, shown(), now=opens).kind is VerdictKind.APPROVE
        assert judged(check, shown(), now=opens - timedelta(seconds=1)).kind is VerdictKind.ABSTAIN


@pytest.mark.parametrize(
    ("terms", "says"),
    [("{hours: '17:00-09:00'}", "it must open before it closes"), ("{hours: 9-17}", "are not hours"),
     ("{hours: '09:60-17:00'}", "are not hours"), ("{hours: '09:00-25:00'}", "are not hours"),
     ("{zone: ../../etc/passwd}", "is not a time zone of this host"),
     ("{zone: Mars}", "is not a time zone of this host"),
     ("{days: [monday]}", "must be 'mon', 'tue'"),
     ("{freezes: [{from: 2026-01-02, until: 2026-01-01}]}", "from must be")],
)  # fmt: skip
def test_a_window_that_means_nothing_is_refused(terms: str, says: str) -> None:
    assert says in refused(f"{{window: {terms}}}")


# --- hostile evidence ----------------------------------------------------------------------------------------


def test_hostile_tags_and_patterns_cost_little() -> None:
    begun = process_time()
    large = shown(tags={"t": "a" * 10_000_000})
    for terms in ("matches: '(a*)*b'", "type: number", "type: date", "type: url", "equals: x"):
        assert code(f"{{tag: t, {terms}}}", large) == "too_long"
    short = shown(tags={"t": "a" * 4096})
    assert code("{tag: t, matches: '(a|aa)+$x'}", short) == "no_match"
    assert code("{tag: t, type: number}", short) == "not_of_type"
    assert process_time() - begun < 10
