"""`policy test --junit`, read by another reader than the writer's: what the schema of JUnit asks for is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from reconciler.policy.junit import junit_xml
from reconciler.policy.testing import Tested
from tests import command

POLICY = "version: 1\nrules:\n"
RULE = "  - {{name: {name}, targets: ['@{name}'], require: [{{metric: auc, min: 0.8}}, {{run: {{linked: true}}}}]}}\n"
CASE = "  - {{name: {name}, target: '@one', given: {{run: {{metrics: {{auc: {auc}}}}}}}, expect: approve}}\n"
# xs:decimal, which has no exponent.
DECIMAL = re.compile(r"\d+(\.\d+)?")
COUNTED = ("tests", "failures", "errors")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return command.run("policy", "test", *arguments, environment=os.environ)


def read(xml: bytes) -> list[ElementTree.Element]:
    """The cases, after what the schema says of every element above them."""
    root = ElementTree.fromstring(xml)
    assert root.tag == "testsuites"
    [suite] = root
    assert suite.tag == "testsuite"
    assert suite.get("name")
    behind = [one.tag for one in suite].index("system-out") if suite.find("system-out") is not None else len(suite)
    cases = list(suite)[:behind]
    assert {one.tag for one in cases} <= {"testcase"}
    assert {one.tag for one in list(suite)[behind:]} <= {"system-out"}
    counts = [str(len(cases)), str(len(suite.findall("testcase/failure"))), "0"]
    for element in (root, suite):
        assert [element.get(name) for name in COUNTED] == counts
    for element in (suite, *cases):
        assert DECIMAL.fullmatch(element.get("time", ""))
    for case in cases:
        assert None not in (case.get("name"), case.get("classname"))
        assert [one.tag for one in case] in ([], ["failure"])
        assert all(one.get("message") and one.get("type") and one.text for one in case)
    return cases


def test_a_pipeline_reads_each_case_with_its_time_and_what_came_instead(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY + RULE.format(name="one") + RULE.format(name="two"))
    cases = CASE.format(name="good", auc=0.9) + CASE.format(name="bad", auc=0.7)
    (tmp_path / "policy.test.yaml").write_text("cases:\n" + cases)
    file = tmp_path / "results.xml"
    done = run(str(tmp_path / "policy.yaml"), "--junit", str(file))
    assert done.returncode == 1, done.stderr
    good, bad = read(file.read_bytes())
    assert (good.get("name"), list(good), bad.get("name")) == ("good", [], "bad")
    [failure] = bad
    assert (failure.text or "").startswith("expected approve, got reject (checks_failed)")
    said = ElementTree.parse(file).getroot().findtext("testsuite/system-out")
    assert said == "no case matches rule 'two'\n"


TEXT = st.text(st.characters() | st.sampled_from("\x00\x1b\ufffe\uffff\ud800<&]>'\"\n"), max_size=20)


@given(TEXT, st.lists(st.builds(Tested, TEXT, st.lists(TEXT.filter(bool), max_size=2).map(tuple)), max_size=3), TEXT)
def test_whatever_names_and_texts_hold_the_file_can_be_read(suite: str, rows: list[Tested], rule: str) -> None:
    cases = read(junit_xml(suite or "p", rows, [rule]))
    assert [len(case) for case in cases] == [bool(one.failures) for one in rows]


def test_a_place_that_cannot_be_written_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY + RULE.format(name="one"))
    (tmp_path / "policy.test.yaml").write_text("cases:\n" + CASE.format(name="good", auc=0.9))
    done = run(str(tmp_path / "policy.yaml"), "--junit", str(tmp_path / "none/results.xml"))
    said = f"{tmp_path}/none/results.xml: cannot be written: No such file or directory\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_who_wants_no_junit_loads_no_writer_of_it(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY + RULE.format(name="one"))
    (tmp_path / "policy.test.yaml").write_text("cases:\n" + CASE.format(name="good", auc=0.9))
    line = (
        "import atexit, sys; from reconciler.cli import main\n"
        f"sys.argv[1:] = ['policy', 'test', {str(tmp_path / 'policy.yaml')!r}]\n"
        "atexit.register(lambda: print('junitparser' in sys.modules))\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["False"], done.stderr
