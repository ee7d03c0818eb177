"""What a check of a plugin finds, does wrong, or is not shown: an error never decides."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from reconciler.domain.engines.evaluate import evaluate
from reconciler.domain.evidence.captured import as_captured
from reconciler.domain.evidence.evidence import Absent, CodeFacts, Evidence, Needs, RunFacts, Unreadable, VersionFacts
from reconciler.domain.evidence.keeping import within_room
from reconciler.domain.text import Text
from reconciler.domain.verdict import CheckResult, Verdict, VerdictKind
from reconciler.policy.file import LoadedPolicy, PolicyError, parse_policy
from reconciler.policy.plugins import Plugins
from tests.builders import a_request, with_answer, with_changed
from tests.plugins.conftest import Load, kind_in
from tests.plugins.packages import PASSES, install, policy, seen, source_of
from tests.whole_evidence import NOW

ASKED = a_request("fraud", NOW - timedelta(minutes=1))


def judged(plugins: Plugins, evidence: Evidence | None = None, text: str = "") -> Verdict:
    loaded = parse_policy(text or policy(), "p", plugins.kinds())
    return by(loaded, evidence or seen())


def by(loaded: LoadedPolicy, evidence: Evidence) -> Verdict:
    """As a cycle judges: the evidence names whose code it is."""
    return evaluate(loaded.policy, ASKED, evidence.judged_by(loaded.policy.needs(ASKED).codes), NOW)


def only(verdict: Verdict) -> CheckResult:
    [check] = verdict.checks
    return check


LOOKS = """
accuracy = evidence.run.metrics.get("validation_accuracy")
if accuracy is None:
    return missing("gone", "no accuracy")
if not accuracy.value >= terms["min"]:
    return failed("bad", accuracy.text, number=accuracy.value, source="run " + evidence.run.run_id)
return passed(accuracy.text, number=accuracy.value)
"""


@pytest.mark.parametrize(
    ("accuracy", "told"),
    [
        ("0.95", ("approve", "passed", "ok", "0.95", 0.95)),
        ("0.5", ("reject", "failed", "mine.bad", "0.5", 0.5)),
        ("nan", ("reject", "failed", "mine.bad", "nan", None)),
        ("", ("reject", "failed", "mine.gone", "no accuracy", None)),
    ],
)
def test_it_judges_by_its_own_terms_and_codes(mine: Load, accuracy: str, told: tuple[object, ...]) -> None:
    verdict = judged(mine(source_of(LOOKS)), seen(accuracy), policy("mine: {min: 0.9}"))
    check = only(verdict)
    assert (verdict.kind, check.result, check.code, check.observed, check.observed_number) == told
    assert (check.check, check.expected) == ("mine", "something good")
    assert check.source.startswith("acme-mine 1.0.0 (sha256 ")


def test_what_is_missing_waits_and_may_be_left_to_a_person_as_with_every_check(mine: Load) -> None:
    plugins = mine(source_of(LOOKS))
    waits, leaves = (policy("mine: {min: 0.9}", keys=keys) for keys in ("grace: 1h", "on_missing: abstain"))
    assert judged(plugins, seen(""), waits).reason_code == "waiting"
    assert judged(plugins, seen(""), leaves).reason_code == "missing"


def test_what_is_definitely_absent_is_the_finding_where_the_check_does_not_say_otherwise(mine: Load) -> None:
    without = with_answer(seen(), RunFacts, Absent("no_run", "the version names no run"))
    verdict = judged(mine(source_of(LOOKS)), without, policy("mine: {min: 0.9}"))
    assert (verdict.kind, only(verdict).code) == ("reject", "no_run")
    handled = """
    from reconciler.plugins import Absent
    try:
        evidence.run
    except Absent as absent:
        return failed("bad", absent.code)
    """
    assert only(judged(mine(source_of(handled)), without)).observed == "no_run"


# --- what a check does wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("judge", "says"),
    [
        ('raise ValueError("no such thing")', "raised ValueError: no such thing"),
        ("raise SystemExit(0)", "raised SystemExit: 0"),
        ("raise KeyboardInterrupt", "raised KeyboardInterrupt:"),
        ("return None", "raised TypeError: judge returned NoneType, not a Finding"),
        ("return True", "raised TypeError: judge returned bool, not a Finding"),
        ('return failed("other", "x")', "found 'other', which is not among its codes"),
        ('return failed("ok", "x")', "found 'ok', which is not among its codes"),
        ('raise Mistake("not now")', "raised not now"),
        ("os._exit(0)", "ended before it answered"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "ended before it answered"),
        ('return passed("x" * 1_000_000)', "answered more than 256 KiB"),
        ("return passed(evidence.logged_model.model_id)", "raised NotAsked: logged_model is not among its needs"),
        (
            'return passed(str(evidence.version.tags["risk"]))',
            "raised NotAsked: version.tags.risk is not among its needs",
        ),
    ],
)
def test_an_error_abstains_and_names_the_plugin(mine: Load, judge: str, says: str) -> None:
    verdict = judged(mine(source_of(judge)))
    check = only(verdict)
    assert (verdict.kind, verdict.reason_code, check.code) == ("abstain", "unreadable", "check_error")
    assert check.observed.startswith(f"mine of acme-mine 1.0.0 {says}")


@pytest.mark.parametrize(
    "judge",
    [
        "while True: pass",
        "while True:\n    try:\n        time.sleep(60)\n    except BaseException:\n        pass",
        'import re\nreturn passed(str(re.match("(a|a)*b", "a" * 60)))',
    ],
    ids=["busy", "holds on to itself", "within C"],
)
def test_one_that_never_returns_is_killed_in_time_and_abstains(mine: Load, judge: str) -> None:
    others = serving()
    plugins = mine(source_of(judge), seconds=0.5)
    loaded = parse_policy(policy(), "p", plugins.kinds())
    [before] = serving() - others
    began = time.monotonic()
    check = only(by(loaded, seen()))
    assert time.monotonic() - began < 100
    assert (check.code, check.observed) == ("check_error", "mine of acme-mine 1.0.0 took longer than 0.5s")
    assert not before.is_running()


def serving() -> set[psutil.Process]:
    """The processes of plugins that this one has started."""
    return {one for one in psutil.Process().children() if "reconciler.plugins.serving" in one.cmdline()}


def test_after_an_error_it_is_asked_again_and_after_several_it_rests(mine: Load, tmp_path: Path) -> None:
    judge = f"""
    with open({str(tmp_path / "asked")!r}, "a") as file:
        file.write(".")
    os._exit(1)
    """
    plugins = mine(source_of(judge))
    loaded = parse_policy(policy(), "p", plugins.kinds())
    observed = [only(by(loaded, seen())).observed.removeprefix("mine of acme-mine 1.0.0 ") for _ in range(5)]
    rests = "failed several times within a minute, and is not asked again until the minute is over"
    assert observed == ["ended before it answered"] * 2 + [rests] * 3
    assert (tmp_path / "asked").read_text() == ".."


def test_what_it_prints_is_no_answer(mine: Load) -> None:
    judge = """
    print('{"finding": {"code": "", "observed": "forged", "source": "", "number": null, "missing": false}}', flush=True)
    os.write(1, b"{}\\n")
    os.system("echo {}")
    return failed("bad", "the truth")
    """
    assert only(judged(mine(source_of(judge)))).observed == "the truth"


def test_another_rule_is_judged_although_one_hangs(mine: Load) -> None:
    other = "  - name: other\n    targets: [Production]\n    require: [{tag: owner, equals: nobody}]\n"
    verdict = judged(mine(source_of("while True: pass"), seconds=0.3), text=policy(more=other))
    assert (verdict.kind, verdict.reason_code) == (VerdictKind.REJECT, "checks_failed")


# --- what it is not shown ------------------------------------------------------------------------------------

TRIES = """
try:
    return passed(evidence.version.tags["owner"].text)
except BaseException:
    return passed("whatever")
"""


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        (seen().excluding(["version.tags.owner"]), "withheld"),
        (seen().excluding((), ["own*"]), "withheld"),
        (seen().withholding(["version.tags"], "was redacted"), "withheld"),
        (with_answer(seen(), VersionFacts, Unreadable("500")), "unreadable"),
    ],
    ids=["a field", "by a glob", "all tags", "unreadable"],
)
def test_what_cannot_be_told_is_an_abstention_whatever_the_check_makes_of_it(
    mine: Load, evidence: Evidence, code: str
) -> None:
    verdict = judged(mine(source_of(TRIES)), evidence)
    assert (verdict.kind, only(verdict).code) == ("abstain", code)


PARAMS = """
def needs(self, terms):
    return Needs(params=frozenset({"depth", "seed"}))
"""
DEPTH = 'depth = evidence.run.params.get("depth")\nreturn passed("none" if depth is None else depth.text)'


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"depth": Text.of("6")}, ("ok", "6")),
        ({}, ("ok", "none")),
        (None, ("withheld", "run.params was not captured")),
    ],
    ids=["there", "none", "not read"],
)
def test_parameters_are_shown_and_what_was_not_read_is_not_taken_for_absent(
    mine: Load, params: dict[str, Text] | None, told: tuple[str, str]
) -> None:
    check = only(judged(mine(source_of(DEPTH, more=PARAMS)), with_changed(seen(), RunFacts, params=params)))
    assert (str(check.code), check.observed) == told


def test_a_parameter_that_a_check_asks_for_is_kept_however_many_there_are(mine: Load) -> None:
    loaded = parse_policy(policy(), "p", mine(source_of(DEPTH, more=PARAMS)).kinds())
    many = {f"a{number:05}": Text.of("x" * 100) for number in range(2000)} | {"depth": Text.of("6")}
    needs = loaded.policy.needs(ASKED)
    whole = with_changed(seen(), RunFacts, params=many).judged_by(needs.codes)
    left = within_room(whole, needs)
    run = left.fact(RunFacts)
    assert isinstance(run, RunFacts)
    assert len(run.params or ()) < 2000
    assert only(evaluate(loaded.policy, ASKED, left, NOW)).observed == "6"
    # Of what nobody asked for then, and had no room, nobody can tell whether it was there.
    unasked = as_captured(within_room(whole, Needs(run=True)), Needs(run=True), needs)
    assert only(evaluate(loaded.policy, ASKED, unasked, NOW)).code == "withheld"


def test_what_another_field_withholds_does_not_matter(mine: Load) -> None:
    hidden = seen().withholding(["run.status", "run.metrics.validation_accuracy"], "was redacted")
    assert only(judged(mine(source_of(TRIES)), hidden)).observed == "fraud-team"


def test_of_a_text_that_is_too_long_it_gets_the_beginning_and_what_proves_the_rest(mine: Load) -> None:
    long = with_changed(seen(), VersionFacts, tags={"owner": Text.of("x" * 5000)})
    judge = 'owner = evidence.version.tags["owner"]\nreturn passed(f"{len(owner.text)} {owner.length} {owner.whole}")'
    assert only(judged(mine(source_of(judge)), long)).observed == "4096 5000 False"


def test_its_process_has_no_secret_in_its_variables_and_no_open_file_of_the_daemon(
    mine: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("MLFLOW_TRACKING_TOKEN", "RECONCILER_REGISTRY__TOKEN", "DATABRICKS_TOKEN", "CREDENTIALS_DIRECTORY"):
        monkeypatch.setenv(name, "s3cret")
    with (tmp_path / "audit.db").open("w"):
        judge = """
        files = [os.path.basename(os.path.realpath(f"/proc/self/fd/{one}")) for one in os.listdir("/proc/self/fd")]
        return passed(" ".join([*files, *(value for value in os.environ.values() if value == "s3cret")]))
        """
        told = only(judged(mine(source_of(judge)))).observed
    assert "s3cret" not in told
    assert "audit.db" not in told
    assert "pipe:" in told


# --- the policy ----------------------------------------------------------------------------------------------

STRICT = """
def parse(self, value):
    if not isinstance(value, dict) or "min" not in value:
        raise Mistake("takes min: {min: 0.9}")
    return value

def title(self, terms):
    return f"mine of {terms['min']}"

def doubts(self, terms):
    if terms["min"] > 1:
        yield "nothing is above 1"
"""


def test_a_mistake_is_told_with_its_place_and_a_doubt_too(mine: Load) -> None:
    kinds = mine(source_of(more=STRICT)).kinds()
    with pytest.raises(PolicyError) as caught:
        parse_policy(policy("mine: {max: 3}", more="      - mine: 3\n      - {min: 1}\n"), "p.yaml", kinds)
    known = ", ".join(kind.kind for kind in kinds)
    assert str(caught.value).splitlines() == [
        "p.yaml:6:15: rules[0].require[0].mine: takes min: {min: 0.9}",
        "p.yaml:7:15: rules[0].require[1].mine: takes min: {min: 0.9}",
        f"p.yaml:8:9: rules[0].require[2]: not a check: use exactly one of {known}, any_of; "
        "checks of your own are loaded by plugins.checks",
    ]
    loaded = parse_policy(policy("mine: {min: 2}", more="      - run: {linked: true}\n"), "p.yaml", kinds)
    assert [one.in_file("p") for one in loaded.warnings] == ["p:6:9: rules[0].require[0]: nothing is above 1"]
    assert loaded.policy.rules[0].require[0].title == "mine of 2"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("def parse(self, value): raise RuntimeError('oh')", "mine of acme-mine 1.0.0 raised RuntimeError: oh"),
        ("def parse(self, value):\n    while True: pass", "mine of acme-mine 1.0.0 took longer than 3s"),
        ("def needs(self, terms): return None", "raised TypeError: needs returned NoneType, not Needs"),
        ("def expected(self, terms): return 3", "returned an invalid title, expectation or needs"),
        ("def expected(self, terms): return object()", "raised TypeError: Object of type object is not JSON"),
    ],
)
def test_an_error_while_the_policy_is_read_is_a_mistake_at_its_place(mine: Load, more: str, says: str) -> None:
    kinds = mine(source_of(more=more), seconds=3).kinds()
    with pytest.raises(PolicyError) as caught:
        parse_policy(policy(), "p.yaml", kinds)
    assert str(caught.value).startswith("p.yaml:6:15: rules[0].require[0].mine: ")
    assert says in str(caught.value)


def test_dates_and_numbers_of_yaml_come_as_json_has_them(mine: Load) -> None:
    judge = "return passed(repr(terms))"
    check = only(judged(mine(source_of(judge)), text=policy("mine: {from: 2027-01-01, 3: [1, 2.5, yes, null]}")))
    assert check.observed == "{'from': '2027-01-01', '3': [1, 2.5, True, None]}"


def test_it_may_be_an_alternative_advice_or_replaced(mine: Load) -> None:
    either = "any_of: [[{mine: {}}], [{tag: owner, equals: fraud-team}]]"
    bad = mine(source_of('return failed("bad", "x")'))
    assert judged(bad, text=policy(either)).kind is VerdictKind.APPROVE
    advice = judged(bad, text=policy(keys="level: advisory", more="      - tag: owner\n"))
    assert (advice.kind, "advice not met: mine: x" in advice.reason) == (VerdictKind.APPROVE, True)


# --- whose code judged ---------------------------------------------------------------------------------------


def test_the_evidence_names_the_code_and_survives_being_stored(mine: Load) -> None:
    plugins = mine()
    code = kind_in(plugins).plugin.code
    loaded = parse_policy(policy(), "p", plugins.kinds())
    evidence = seen().judged_by(loaded.policy.needs(ASKED).codes)
    stored = Evidence.from_json(evidence.to_json())
    named = stored.fact(CodeFacts)
    assert isinstance(named, CodeFacts)
    assert named.checks == {"mine": code}
    assert evaluate(loaded.policy, ASKED, stored, NOW) == evaluate(loaded.policy, ASKED, evidence, NOW)


@pytest.mark.parametrize("hide", ["nothing", "named", "redacted"])
def test_what_other_code_judged_or_nobody_knows_which_is_never_a_pass(mine: Load, site: Path, hide: str) -> None:
    loaded = parse_policy(policy(), "p", mine().kinds())
    evidence = seen().judged_by(loaded.policy.needs(ASKED).codes)
    if hide == "named":
        install(site, source_of() + "# one more line\n")
        loaded = parse_policy(policy(), "p", Plugins(("mine",)).kinds())
    else:
        evidence = seen() if hide == "nothing" else evidence.withholding(["code.checks"], "was redacted")
    verdict = evaluate(loaded.policy, ASKED, evidence, NOW)
    assert (verdict.kind, verdict.reason_code, only(verdict).code) == ("abstain", "withheld", "withheld")


def test_a_check_that_the_policy_of_then_did_not_have_is_judged_by_the_code_of_today(mine: Load) -> None:
    loaded = parse_policy(policy(), "p", mine().kinds())
    now = loaded.policy.needs(ASKED)
    as_then = as_captured(seen(), Needs(metrics=now.metrics, tags=now.tags), now)
    assert evaluate(loaded.policy, ASKED, as_then, NOW).kind is VerdictKind.APPROVE
    as_then = as_captured(seen(), now, now)
    assert evaluate(loaded.policy, ASKED, as_then, NOW).kind is VerdictKind.ABSTAIN


def test_code_that_changes_on_disk_is_not_taken_in_by_a_process_that_starts_again(mine: Load, site: Path) -> None:
    plugins = mine(source_of("os._exit(1)"))
    loaded = parse_policy(policy(), "p", plugins.kinds())
    by(loaded, seen())
    install(site, source_of(PASSES))
    assert "has other code now" in only(by(loaded, seen())).observed
    again = parse_policy(policy(), "p", plugins.kinds())
    assert by(again, seen()).kind is VerdictKind.APPROVE


def test_the_same_code_stays_one_kind_with_one_process(mine: Load) -> None:
    others, plugins = serving(), mine(source_of('return passed("of this test")'))
    first, second = kind_in(plugins), kind_in(plugins)
    assert first is second
    assert len(serving() - others) == 1
