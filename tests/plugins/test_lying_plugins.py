"""A check of a plugin that lies, forks, or writes its answers itself abstains or is not loaded, and never passes."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from reconciler.domain.evidence.evidence import Evidence
from reconciler.domain.verdict import CheckResult
from reconciler.policy.file import PolicyError, parse_policy
from reconciler.policy.plugins import PluginError, Plugins
from tests.plugins.conftest import Load
from tests.plugins.packages import install, policy, seen, source_of
from tests.plugins.test_judging_by_plugins import LOOKS, by, judged, only, serving

ACCURACY = policy("mine: {min: 0.9}")
# Writes to the pipe by which the process answers, past what the product has it say.
WRITES = """
def written(line):
    pipes = [int(one) for one in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{one}")
             and os.readlink(f"/proc/self/fd/{one}").startswith("pipe:")]
    os.write(max(pipes), line.encode() + b"\\n")

PASSED = '{"finding": {"code": "", "observed": "fine", "source": "", "number": null, "missing": false}}'
"""


def found(plugins: Plugins, *evidence: Evidence) -> list[CheckResult]:
    loaded = parse_policy(ACCURACY, "p", plugins.kinds())
    return [only(by(loaded, one)) for one in evidence]


def test_the_answer_of_a_forked_process_is_not_taken_for_one_about_other_evidence(mine: Load, tmp_path: Path) -> None:
    late = f"""
    if not os.path.exists({str(tmp_path / "forked")!r}):
        open({str(tmp_path / "forked")!r}, "w").close()
        if os.fork() == 0:
            # Answers once its question was answered already.
            while not os.path.exists({str(tmp_path / "answered")!r}):
                time.sleep(0.01)
    """
    loaded = parse_policy(ACCURACY, "p", mine(source_of(late + LOOKS.replace("\n", "\n    "))).kinds())
    assert only(by(loaded, seen("0.95"))).code == "ok"
    (tmp_path / "answered").touch()
    # Only bad evidence is asked about from now on.
    codes: list[str] = []
    while "check_error" not in codes and len(codes) < 5_000:
        codes.append(only(by(loaded, seen("0.1"))).code)
    assert set(codes) == {"mine.bad", "check_error"} or codes == ["check_error"]
    assert only(by(loaded, seen("0.1"))).code == "mine.bad"


def test_what_is_answered_twice_or_by_the_check_itself_abstains(mine: Load) -> None:
    twice, itself = "written(PASSED)\n" + LOOKS, "written(PASSED)\nos._exit(0)"
    for judge in (twice, itself):
        [check] = found(mine(source_of(judge, head=WRITES)), seen("0.1"))
        assert (check.code, check.observed) == (
            "check_error", "mine of acme-mine 1.0.0 answered another question"
        ), judge  # fmt: skip


@pytest.mark.parametrize(
    "judge",
    [
        'return failed("", "it is bad")',
        'return missing("", "it is not there")',
        'return Finding("", "it is not there", missing=True)',
        'return failed(None, "it is bad")',
    ],
)
def test_what_fails_or_is_missing_without_a_code_does_not_pass(mine: Load, judge: str) -> None:
    verdict = judged(mine(source_of(judge)))
    assert (verdict.kind, only(verdict).code) == ("abstain", "check_error")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1", "1e999", "true", '"1"'])
def test_a_number_that_the_audit_cannot_hold_is_no_finding(mine: Load, number: str) -> None:
    numbered = (
        "import json\nwas = json.dumps\n"
        + f"""
def forged(value, **more):
    text = was(value, **more)
    return text.replace('"number": 1.5', '"number": {number}')
json.dumps = forged
"""
    )
    [check] = found(mine(source_of("return passed('fine', number=1.5)", head=numbered)), seen())
    assert (check.code, check.observed) == (
        "check_error", "mine of acme-mine 1.0.0 returned an invalid finding"
    )  # fmt: skip


@pytest.mark.parametrize(
    "about",
    ["{}", '{"check": {}}', '{"check": {"codes": 5, "remedy": "", "of": [], "schema": {}, "about": ""}}', "null", "[]"],
)
def test_what_it_says_of_itself_is_refused_in_one_sentence_where_it_is_something_else(mine: Load, about: str) -> None:
    with pytest.raises(PluginError) as caught:
        mine(source_of(head=f"{WRITES}\nwritten({about!r})\n")).kinds()
    assert str(caught.value).startswith("plugins.checks: mine cannot be loaded: its process ")


@pytest.mark.parametrize("needs", ["{}", '{"metrics": null}', '{"metrics": 5}'])
def test_needs_that_are_none_are_a_mistake_at_their_place(mine: Load, needs: str) -> None:
    told = '{"title": "t", "expected": "e", "doubts": [], "needs": ' + needs
    forged = f"import json\njson.dumps = lambda *values, **more: {told!r} + ', \"number\": 1}}'\n"
    more = f"def expected(self, terms):\n    {forged.replace(chr(10), chr(10) + '    ')}\n    return 'x'\n"
    with pytest.raises(PolicyError) as caught:
        parse_policy(policy(), "p", mine(source_of(more=more)).kinds())
    assert "mine of acme-mine 1.0.0 returned invalid needs" in str(caught.value)


def test_few_requests_at_which_it_fails_do_not_keep_the_others_waiting(mine: Load) -> None:
    fails = 'if evidence.run.metrics["validation_accuracy"].value > 0.96:\n    os._exit(1)\nreturn passed("fine")'
    bad, worse, worst, good = seen("0.97"), seen("0.98"), seen("0.99"), seen("0.5")
    # The last failure of a minute is for what it has not failed at.
    checks = found(mine(source_of(fails)), bad, worse, bad, worse, good, worst, good)
    rests = "failed several times within a minute, and is not asked again until the minute is over"
    assert [check.observed.removeprefix("mine of acme-mine 1.0.0 ") for check in checks] == [
        "ended before it answered", "ended before it answered", rests, rests, "fine", "ended before it answered", rests
    ]  # fmt: skip


def test_what_it_started_ends_with_it(mine: Load) -> None:
    judge = "import subprocess\nsubprocess.Popen(['sleep', '600'])\nreturn passed('fine')"
    others = serving()
    loaded = parse_policy(policy(), "p", mine(source_of(judge)).kinds())
    assert only(by(loaded, seen())).code == "ok"
    [process] = serving() - others
    [started] = process.children()
    loaded.policy.rules[0].require[0].plugin._process.end()  # type: ignore[attr-defined]
    assert psutil.wait_procs([started], timeout=10)[1] == []


def test_a_class_from_another_package_is_refused_since_its_code_is_not_in_the_digest(mine: Load, site: Path) -> None:
    (site / "elsewhere.py").write_text(source_of())
    for source in ("from elsewhere import Mine", "import elsewhere\nMine = elsewhere.Mine"):
        mine(source)
        with pytest.raises(PluginError) as caught:
            Plugins(("mine",)).kinds()
        assert str(caught.value).endswith(
            "mine_check:Mine is a class of elsewhere, which is not in mine_check: name that module instead"
        )


def test_one_that_changes_the_files_it_was_read_from_stays_what_was_read(mine: Load, site: Path) -> None:
    """Its own module, its names and its RECORD: until it is loaded anew, which tells other code."""
    rewrites = f"""
    import importlib, pathlib, mine_check
    pathlib.Path(mine_check.__file__).write_text("Mine = None")
    for info in pathlib.Path({str(site)!r}).glob("*.dist-info"):
        (info / "METADATA").write_text("Name: other\\nVersion: 9\\n")
    importlib.reload(mine_check)
    return failed("bad", "as it was read")
    """
    plugins = mine(source_of(rewrites))
    loaded = parse_policy(policy(), "p", plugins.kinds())
    before = loaded.policy.rules[0].require[0].plugin.code  # type: ignore[attr-defined]
    for _ in range(2):
        check = only(by(loaded, seen()))
        assert (check.observed, check.source.partition(";")[0]) == ("as it was read", str(before))
    with pytest.raises(PluginError):
        plugins.kinds()
    install(site, source_of())
    [now] = plugins.loaded()
    assert now.plugin.code.sha256 != before.sha256
