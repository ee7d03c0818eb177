"""The one error of a wrong configuration."""

from __future__ import annotations


class SettingsError(Exception):
    """The configuration is wrong; `problems` are one-line sentences, and `str` has one a line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))
