"""What came of the cases of a policy as JUnit XML, which pipelines show."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

# Loaded by `policy test --junit` alone.
from junitparser import Failure, JUnitXml, SystemOut, TestCase, TestSuite

from reconciler.domain.text import quoted, visible, visible_name
from reconciler.policy.testing import Tested

# XML has no place for these, not even as references; `visible` leaves them, since a terminal shows them as a box.
_NOT_IN_XML = re.compile("[\ufffe\uffff]")


def junit_xml(suite: str, results: Sequence[Tested], without_case: Sequence[str] = ()) -> bytes:
    """The results, and the names of the rules that no case matches."""
    group = TestSuite(_text(visible(suite)))
    group.add_testcases([_row(one, _text(visible(suite))) for one in results])
    for name in without_case:
        group.append(SystemOut(_text(f"no case matches rule {quoted(name)}\n")))  # type: ignore[no-untyped-call]
    whole = JUnitXml()
    whole.add_testsuite(group)
    whole.update_statistics()  # type: ignore[no-untyped-call]
    file = io.BytesIO()
    whole.write(file)
    return file.getvalue()


def _row(one: Tested, suite: str) -> TestCase:
    # A time is a decimal number in JUnit: without rounding it may be written as 1e-05.
    row = TestCase(_text(visible_name(one.name)), suite, round(one.seconds, 3))
    if one.failures:
        failure = Failure(_text(visible("; ".join(one.failures))), "unexpected")
        failure.text = "\n".join(_text(visible(said)) for said in one.failures)
        row.result = [failure]
    return row


def _text(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", text)
