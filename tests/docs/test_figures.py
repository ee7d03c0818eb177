"""The code keeps the limits of `contrib/figures.py`, and the measuring notices where one is passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from contrib import figures


def test_no_file_or_function_is_beyond_a_limit() -> None:
    assert figures.beyond() == []


def with_parameters(count: int) -> str:
    return f"def f({', '.join(f'p{number}' for number in range(count))}):\n    pass\n"


def with_lines(count: int) -> str:
    return "def f():\n" + "    pass\n" * (count - 1)


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        ("a.py", "x = 1\n" * 300, []),
        ("a.py", "x = 1\n" * 301, ["reconciler/a.py: 301 lines, at most 300"]),
        ("a.py", with_lines(40), []),
        ("a.py", with_lines(41), ["reconciler/a.py:1 f: 41 lines, at most 40"]),
        ("a.py", with_parameters(6), []),
        ("a.py", with_parameters(7), ["reconciler/a.py:1 f: 7 parameters, at most 6"]),
        ("cli/a.py", with_parameters(7), []),
    ],
)
def test_a_passed_limit_is_told_with_its_place(
    path: str, text: str, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "reconciler"
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    monkeypatch.setattr(figures, "PACKAGE", package)
    monkeypatch.setattr(figures, "WITHOUT_LIMIT_OF_PARAMETERS", package / "cli")
    file = package / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert figures.beyond() == told
