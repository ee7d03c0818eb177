"""A disk that is really full: the sentence, the remedy, exit code 69."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from reconciler.domain.proofs.checkpoint import heads_in
from tests.acceptance.conftest import Product
from tests.command import COMMAND
from tests.databricks_double import Workspace


def unshared(script: str, product: Product) -> subprocess.CompletedProcess[str]:
    """In a mount namespace of its own, so that a small disk can be mounted and goes away with it."""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    return subprocess.run(
        command, cwd=product.place, env=product.environment(), capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module", autouse=True)
def small_disks() -> None:
    try:
        done = subprocess.run(["unshare", "--map-root-user", "--mount", "true"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is not on this machine")
    if done.returncode:
        pytest.skip("this machine lets nobody mount a small disk")


def on_a_small_disk(product: Product, place: Path, fill: str, command: str) -> subprocess.CompletedProcess[str]:
    disk = place / "disk"
    disk.mkdir(exist_ok=True)
    product.variables["RECONCILER_AUDIT__URL"] = f"sqlite:///{disk}/audit.db"
    mount = f"mount -t tmpfs -o size=800k tmpfs {disk}"
    prepare = f"{COMMAND} db upgrade >/dev/null 2>&1"
    return unshared(f"{mount} && {prepare}; {fill.format(disk=disk)}; exec {COMMAND} {command}", product)


# Ends the daemon when it has said what it must, or far later than any machine needs.
UNTIL_IT_SAYS = (
    "2>said & for i in $(seq 600); do grep -q 'free some space' said && break; sleep 0.2; done; "
    "kill %1; wait %1; cat said >&2"
)
FILL = "dd if=/dev/zero of={disk}/full bs=1k count=10000 2>/dev/null"


@pytest.mark.parametrize("command", ["once", "run", "pause --reason x", "db upgrade"])
def test_a_full_disk_is_69_with_the_remedy(held: Workspace, product: Product, tmp_path: Path, command: str) -> None:
    held.ask("m", held.version("m", "0.95"))
    fill = FILL if command != "db upgrade" else f"rm -f {{disk}}/audit.db*; {FILL}"
    if command == "run":
        # The daemon waits for room, which is no end; its lock is what it needs to begin.
        fill += "; rm -f {disk}/audit.db.lock"
    done = on_a_small_disk(
        product, tmp_path, fill, command if command != "run" else f"--log-level error run {UNTIL_IT_SAYS}"
    )
    assert "defect" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "free some space" in done.stderr, done.stderr
    if command != "run":
        assert done.returncode == 69, done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert held.heard == []


@pytest.mark.parametrize("command", [["policy", "schema"], ["audit", "list", "--format", "json"], ["--help"]])
def test_output_that_cannot_be_written_is_no_defect(product: Product, command: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [COMMAND, *command], env=product.environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 69
    assert done.stderr == "cannot be written: no space left on device: free some space, then run this again\n"


def test_a_report_that_does_not_fit_says_so(product: Product, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = f"{COMMAND} audit report decisions --format json --output {disk}/report.json"
    done = unshared(f"mount -t tmpfs -o size=4k tmpfs {disk} && {FILL.format(disk=disk)}; exec {command}", product)
    assert (done.returncode, "free some space" in done.stderr) == (69, True), done.stderr
    pages = f"{COMMAND} audit report --html {disk}/report"
    done = unshared(
        f"mount -t tmpfs -o size=60k tmpfs {disk} && {pages}; code=$?; find {disk} -mindepth 1; exit $code", product
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (69, "", 1), done.stderr
    assert "free some space" in done.stderr
    elsewhere = product.run("audit", "report", "decisions", "--output", "/dev/null/report.json")
    assert (elsewhere.returncode, "cannot be written" in elsewhere.stderr) == (2, True)


@pytest.mark.parametrize("duration", ["5x", "", "-1s", "soon"])
def test_a_duration_that_is_none_is_usage(product: Product, duration: str) -> None:
    done = product.run("status", "--max-age", duration)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not a duration" in done.stderr
    assert os.linesep in done.stderr


def test_acts_go_on_where_only_the_heads_of_the_log_have_no_room_and_the_log_has_them(
    held: Workspace, product: Product, tmp_path: Path
) -> None:
    held.ask("m", held.version("m", "0.95"))
    product.ok("db", "upgrade")
    disk = tmp_path / "heads"
    disk.mkdir()
    product.variables["RECONCILER_AUDIT__HEADS"] = f"{disk}/audit.heads"
    full = f"mount -t tmpfs -o size=64k tmpfs {disk} && {FILL.format(disk=disk)}"
    done = unshared(f"{full}; {COMMAND} once; code=$?; ls -s {disk}/audit.heads; exit $code", product)
    assert done.returncode == 0, done.stderr
    assert f"audit.heads: {disk}/audit.heads cannot be written: no space left on device" in done.stderr
    assert "acts go on" in done.stderr
    [head] = heads_in(done.stderr).heads
    # What was written in part was taken back.
    assert done.stdout.startswith("0 ")
    [row] = product.decisions()
    assert row["outcome"] == "applied"
    (tmp_path / "kept").write_text(done.stderr)
    said = product.ok("audit", "verify", "--head", str(tmp_path / "kept"))
    assert f"1 head agrees, the latest over {head.size} of these entries" in said
