"""The error of an invalid configuration."""

from __future__ import annotations

from reconciler.domain.errors import ExitCode, ReconcilerError


class SettingsError(ReconcilerError):
    """The configuration is invalid. `problems` are one-line sentences; `str` has one per line."""

    exit_code = ExitCode.MISCONFIGURED

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))
