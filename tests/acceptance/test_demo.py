"""The demo, as somebody meets it who has just installed the product."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.command import COMMAND


def test_the_demo_tells_each_decision_with_its_reason_and_the_report(tmp_path: Path) -> None:
    command = [COMMAND, "demo", "--directory", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    for line in (
        "fraud-detector version 1 to Production: approve: validation_accuracy 0.94, at least 0.9 required",
        "churn version 1 to Production: reject: 1 of 2 checks failed: validation_accuracy 0.85, at least 0.9 required",
        "recommender version 1 to Production: reject: 1 of 2 checks failed: validation_accuracy: NaN",
        "legacy-scorer version 1 to Production: reject: 2 of 2 checks failed: validation_accuracy: the version",
        "vision version 1 to @champion: approve",
        "side-project version 1 to Production: abstain (no_policy)",
        "explain fraud-detector version 1 to Staging: abstain",
        # By an alternative and a family of metrics that are near enough; without one of the two.
        "credit-cards version 1 to Production: approve: any of metric validation_accuracy, or",
        "alternative 2 passes: validation_accuracy 0.88, at least 0.85 required, tag risk.review: 'accepted'",
        "credit-lines version 1 to Production: reject: 1 of 3 checks failed: any of metric validation_accuracy, or",
        "credit-loans version 1 to Production: reject: 1 of 3 checks failed: family accuracy_group_*: 2 from",
        # Compared with version 1, which is in Production by then.
        "fraud-detector version 2 to Production: reject: 1 of 3 checks failed: compare validation_accuracy: 0.94;",
        "fraud-detector version 3 to Production: approve: validation_accuracy 0.96, at least 0.9 required",
        "11 decisions: 7 reject, 4 approve; effects: 7 refused, 4 moved",
        f"audit report:   {tmp_path / 'demo' / 'report' / 'index.html'}",
        f"audit database: {tmp_path / 'demo' / 'audit.db'}",
    ):
        assert line in done.stdout
    assert re.search(r"pricing version 1 to Production: reject: .*: not logged on run \w{32}", done.stdout)
    # Beside what was approved, what was moved by hand is an exception.
    assert "churn version 1 holds Production without a decision" in done.stdout
    front = (tmp_path / "demo/report/index.html").read_text()
    assert "5 tenures: 4 decided, 1 exception" in front
    assert "vision" in front
    pages = "".join(page.read_text() for page in (tmp_path / "demo/report").rglob("*.html"))
    for check in ("alternative 2 passes", "family accuracy_group_*", "compare validation_accuracy"):
        assert check in pages
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_demo_ends_its_server(tmp_path: Path, number: signal.Signals) -> None:
    demo = subprocess.Popen([COMMAND, "demo", "--directory", str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    assert demo.stdout.readline().startswith("MLflow UI: ")
    servers = psutil.Process(demo.pid).children(recursive=True)
    assert servers
    time.sleep(1)
    demo.send_signal(number)
    assert demo.wait(60) == -number
    assert not psutil.wait_procs(servers, timeout=30)[1]
