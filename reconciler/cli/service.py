"""install-service: units, a configuration, a policy and credentials to start from."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.exits import DONE, say

CONFIG = """\
# The daemon's configuration; every key is in docs/configuration.md. Secrets are in credentials/, not here.
registry:
  uri: https://mlflow.example.com      # or databricks://PROFILE
  # username: reconciler               # with basic-auth; the password is then a credential registry.password
policy: policy.yaml
mode: observe                          # observe | approve-only | enforce; begin by watching
schedule:
  interval: 60s
log:
  format: journal
# metrics:
#   path: /var/lib/node_exporter/textfile/mlflow-reconciler.prom
"""
POLICY = """\
# What a version must show before it goes to Production; docs/policy.md has every check.
version: 1
rules:
  - name: production-accuracy
    models: ["*"]
    targets: [Production]
    require:
      - metric: validation_accuracy
        min: 0.90
"""
UNITS = (
    "mlflow-reconciler.service", "mlflow-reconciler@.service",
    "mlflow-reconciler-report.service", "mlflow-reconciler-report.timer",
)  # fmt: skip
_INSTALLED = "/usr/bin/mlflow-reconciler"


def install_service(
    root: Annotated[Path, typer.Option(help="Write below this folder: for packagers and tests.")] = Path("/"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written.")] = False,
) -> int:
    """Write systemd units, a configuration, a policy and empty credentials; overwrite nothing."""
    for path, content, mode in _files(root):
        if path.exists():
            print(f"kept {path}")
        elif dry_run:
            print(f"would write {path}")
        else:
            _write(path, content, mode)
            print(f"wrote {path}")
    if not dry_run:
        _say_next(root)
    return DONE


def _files(root: Path) -> list[tuple[Path, str, int]]:
    units, etc = root / "etc/systemd/system", root / "etc/mlflow-reconciler"
    allowed = units / "mlflow-reconciler.service.d/registry-and-database.conf"
    return [
        *((units / name, _unit(name), 0o644) for name in UNITS),
        (allowed, (templates() / "registry-and-database.conf").read_text(), 0o644),
        (etc / "config.yaml", CONFIG, 0o644),
        (etc / "policy.yaml", POLICY, 0o644),
        (etc / "credentials/registry.token", "", 0o600),
        (etc / "credentials/audit.url", "", 0o600),
    ]


def templates() -> Path:
    """Inside an installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_systemd"
    return installed if installed.is_dir() else package.parent / "systemd"


def _unit(name: str) -> str:
    """The unit with this installation's command."""
    command = Path(sys.argv[0]).resolve() if Path(sys.argv[0]).exists() else Path(sys.executable)
    here = command if command.name == "mlflow-reconciler" else Path(sys.executable).with_name("mlflow-reconciler")
    return (templates() / name).read_text().replace(_INSTALLED, str(here))


def _write(path: Path, content: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if path.parent.name == "credentials" else 0o755)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        # Whatever the umask: others may read what is meant for them, and nobody may write it.
        os.fchmod(file.fileno(), mode)
        file.write(content)


def _say_next(root: Path) -> None:
    etc = root / "etc/mlflow-reconciler"
    say(
        f"""next:
  1. name the registry in {etc}/config.yaml, and what it must show in {etc}/policy.yaml
  2. put the registry's token into {etc}/credentials/registry.token; a PostgreSQL URL, if any, into audit.url
  3. name the addresses of registry and database in mlflow-reconciler.service.d/registry-and-database.conf
  4. systemctl daemon-reload; create the audit tables as the service's user:
     systemd-run --pty --wait -p DynamicUser=yes -p User=mlflow-reconciler -p StateDirectory=mlflow-reconciler \\
       mlflow-reconciler db upgrade
  5. systemctl enable --now mlflow-reconciler, then: systemctl status mlflow-reconciler"""
    )
