"""The one error of a wrong configuration."""

from __future__ import annotations

from reconciler.domain.errors import ExitCode, ReconcilerError


class SettingsError(ReconcilerError):
    """The configuration is wrong; `problems` are one-line sentences, and `str` has one a line."""

    exit_code = ExitCode.MISCONFIGURED

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))
