"""The pins: of the product's own environment, and of the older servers that it is tried on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.servers import ROOT, pinned, python_of, tried

PINS = sorted(ROOT.glob("requirements/**/*.txt"))


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.stem)
def test_every_pin_has_a_hash_and_no_index_is_named(path: Path) -> None:
    text = path.read_text()
    requirements = re.split(r"\n(?=\S)", text.strip())
    assert [one.splitlines()[0] for one in requirements if "--hash=sha256:" not in one] == []
    assert not re.search(r"https?://|--(extra-)?index|--find-links|/work/|/home/", text)


def test_every_minor_release_that_people_run_has_its_pins() -> None:
    minors = {tuple(map(int, version.split(".")[:2])) for version in pinned()}
    assert minors >= {(2, 10), (2, 22), *((3, minor) for minor in range(17))}


def test_each_run_tries_2_22_and_3_1_and_the_long_one_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LONG_TESTS", raising=False)
    assert [version.rpartition(".")[0] for version in tried()] == ["2.22", "3.1"]
    monkeypatch.setenv("LONG_TESTS", "1")
    assert tried() == pinned()


@pytest.mark.parametrize(
    ("version", "ci", "ends"),
    [
        ("2.22.999", True, pytest.fail.Exception),
        ("3.1.999", True, pytest.fail.Exception),
        ("3.1.999", False, pytest.skip.Exception),
        ("3.2.999", True, pytest.skip.Exception),
    ],
)
def test_a_server_that_is_not_installed_is_a_skip_but_not_2_22_and_3_1_in_ci(
    monkeypatch: pytest.MonkeyPatch, version: str, ci: bool, ends: type[BaseException]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    if ci:
        monkeypatch.setenv("CI", "true")
    with pytest.raises(ends, match="make servers"):
        python_of(version)
