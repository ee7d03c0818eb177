"""What `init` was answered, and the files that say it: a configuration, a policy, and the database's address."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from reconciler.domain.target import Target
from reconciler.domain.text import command_line

_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,2})?"
_BOUND = re.compile(rf"\s*(?P<metric>[^\s<>=]+)\s*(?P<sign>>=|<=)\s*(?P<number>{_NUMBER})\s*", re.ASCII)
# Content and mode of each.
Files = dict[Path, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Bound:
    """A number that a metric must reach."""

    metric: str
    at_least: bool
    number: str

    @classmethod
    def parse(cls, text: str) -> Bound:
        """Raises ValueError."""
        if (found := _BOUND.fullmatch(text)) is None:
            raise ValueError(f"{text!r} is not a bound: write METRIC>=NUMBER or METRIC<=NUMBER")
        # YAML reads 1e-2 as a text.
        return cls(found["metric"], found["sign"] == ">=", format(Decimal(found["number"]), "f"))


@dataclass(frozen=True, slots=True)
class Answers:
    folder: Path
    server: str
    database: str
    target: Target
    bound: Bound

    @property
    def keeps_a_password(self) -> bool:
        from sqlalchemy import make_url

        return make_url(self.database).password is not None

    @property
    def command(self) -> str:
        """What gives the same answers again; a password is not repeated."""
        from sqlalchemy import make_url

        bound = f"{self.bound.metric}{'>=' if self.bound.at_least else '<='}{self.bound.number}"
        options = {
            "--directory": str(self.folder),
            "--server": self.server,
            "--database": make_url(self.database).render_as_string(hide_password=True),
            "--target": str(self.target),
            "--bound": bound,
        }
        return " ".join([command_line("init"), *(f"{name} {shlex.quote(value)}" for name, value in options.items())])

    def files(self) -> Files:
        secret = {self.folder / "credentials" / "audit.url": (self.database + "\n", 0o600)}
        return {
            self.folder / "config.yaml": (self._config(), 0o644),
            self.folder / "policy.yaml": (self._policy(), 0o644),
            **(secret if self.keeps_a_password else {}),
        }

    def _config(self) -> str:
        database = f"audit:\n  url: {json.dumps(self.database)}\n"
        if self.keeps_a_password:
            database = "credentials_directory: credentials          # the database's address, with its password\n"
        return (
            "# Every key is in docs/configuration.md. Credentials of the server: MLflow's own variables, such as\n"
            "# MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.\n"
            f"registry:\n  uri: {json.dumps(self.server)}\n{database}policy: policy.yaml\n"
            "mode: observe                               # observe | approve-only | enforce; begin by watching\n"
        )

    def _policy(self) -> str:
        archive = "    archive_existing: true\n" if self.target.is_stage else ""
        limit = "min" if self.bound.at_least else "max"
        return (
            f"# What a version must show before it goes to {self.target}; docs/policy.md has every check.\n"
            "version: 1\n"
            "rules:\n"
            "  - name: first-rule\n"
            '    models: ["*"]\n'
            f"    targets: [{json.dumps(str(self.target))}]\n"
            f"{archive}"
            "    require:\n"
            f"      - metric: {json.dumps(self.bound.metric)}\n"
            f"        {limit}: {self.bound.number}\n"
            "      - run: {linked: true}                   # it was really measured on this model\n"
        )
