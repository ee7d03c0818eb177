"""install-service: units, a configuration, a policy and credentials to start from."""

from __future__ import annotations

import grp
import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.exits import DONE, NEGATIVE, say
from reconciler.cli.options import place_option
from reconciler.cli.written.files import write_new
from reconciler.domain.text import visible
from reconciler.settings.secret_files import SECRETS, SIGNING_KEY

CONFIG = """\
# The daemon's configuration; every key is in docs/configuration.md. Secrets are in credentials/, not here.
registry:
  uri: https://mlflow.example.com      # or databricks://PROFILE
  # username: reconciler               # with basic-auth; the password: credentials/registry.password
# Where commands in a shell find the credentials that systemd hands to the service.
credentials_directory: credentials
policy: policy.yaml
mode: observe                          # observe | approve-only | enforce; begin by watching
schedule:
  interval: 60s
log:
  format: journal
# metrics:                             # for node_exporter; docs/operating.md says how it finds the file
#   path: /run/mlflow-reconciler/metrics.prom
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
      - run: {linked: true}            # the metric was measured on this very model
"""
UNITS = (
    "mlflow-reconciler.service", "mlflow-reconciler@.service",
    "mlflow-reconciler-report.service", "mlflow-reconciler-report.timer",
)  # fmt: skip
_INSTALLED = "/usr/bin/mlflow-reconciler"
_ETC = "/etc/mlflow-reconciler"
# Letters and marks that systemd, in a unit, and a shell, in the printed commands, both take as they are written.
_PLAIN = re.compile(r"[\w@+=:,./-]+")
# What ProtectHome=yes in the units hides.
_HIDDEN = ("/home", "/root", "/run/user")


def install_service(
    root: Annotated[
        Path,
        place_option(
            help="Write below this folder, for packagers. The units then run the command in /usr/bin, or in --prefix."
        ),
    ] = Path("/"),
    prefix: Annotated[
        Path | None,
        place_option(help="Prefix that the command is installed under, as PREFIX/bin (default: this command's)."),
    ] = None,
    operators: Annotated[
        str | None,
        typer.Option(
            metavar="<group>", help="Group that may read the credentials, and so run pause, status and check."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written; write nothing.")] = False,
) -> int:
    """Write systemd units, a configuration, a policy and empty credentials; overwrite nothing."""
    _refuse_places(root, prefix)
    command, needed = _command(root, prefix)
    _refuse_unwritable(command)
    hidden = [path for path in needed if _is_hidden(path)]
    group = _group(operators) if operators is not None else None
    if dry_run or not hidden:
        _write_all(root, command, dry_run)
    if hidden:
        say(_elsewhere(hidden[0]))
        return NEGATIVE
    if (missing := _lacks_credentials(root / "etc/mlflow-reconciler/config.yaml")) is not None:
        say(missing)
    if group is not None:
        _let_read(root / "etc/mlflow-reconciler/credentials", str(operators), group, dry_run)
    if not dry_run:
        _say_next(command, operators)
    return DONE


def _write_all(root: Path, command: str, dry_run: bool) -> None:
    """Prints a line for each file."""
    for path, content, mode in _files(root, command):
        if path.exists():
            print(f"kept {path}")
        elif dry_run:
            print(f"would write {path}")
        else:
            write_new(path, content, mode)
            print(f"wrote {path}")


def _files(root: Path, command: str) -> list[tuple[Path, str, int]]:
    units, etc = root / "etc/systemd/system", root / "etc/mlflow-reconciler"
    allowed = units / "mlflow-reconciler.service.d/registry-and-database.conf"
    return [
        *((units / name, (templates() / name).read_text().replace(_INSTALLED, command), 0o644) for name in UNITS),
        (allowed, (templates() / "registry-and-database.conf").read_text(), 0o644),
        (etc / "config.yaml", CONFIG, 0o644),
        (etc / "policy.yaml", POLICY, 0o644),
        *((etc / "credentials" / ".".join(secret), "", 0o600) for secret in SECRETS),
    ]


def templates() -> Path:
    """Inside an installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_systemd"
    return installed if installed.is_dir() else package.parent / "systemd"


# --- the command that the units run --------------------------------------------------------------------------


def _command(root: Path, prefix: Path | None) -> tuple[str, list[Path]]:
    """The command, and every path that the service must see to run it."""
    if prefix is not None:
        command = prefix / "bin/mlflow-reconciler"
        return str(command), [command]
    if root != Path("/"):
        # Nothing from the machine that builds a package may go into the package.
        return _INSTALLED, []
    started = Path(sys.argv[0]).resolve() if Path(sys.argv[0]).exists() else Path(sys.executable)
    here = started if started.name == "mlflow-reconciler" else Path(sys.executable).with_name("mlflow-reconciler")
    return str(here), [here, Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve()]


def _refuse_places(root: Path, prefix: Path | None) -> None:
    if prefix is not None and not prefix.is_absolute():
        message = f"{str(prefix)!r} is relative, and systemd needs an absolute path: use /{prefix} or another one"
        raise typer.BadParameter(message, param_hint="--prefix")
    if root.exists() and not root.is_dir():
        raise typer.BadParameter(f"{str(root)!r} is not a folder: name one to write below", param_hint="--root")


def _refuse_unwritable(command: str) -> None:
    """A unit would not start what an unquoted ExecStart reads otherwise, such as a space or systemd's %h."""
    if not _PLAIN.fullmatch(command):
        allowed = "only letters, digits and @+=:,._- may be in a unit's paths: install in a folder with such a name"
        raise typer.BadParameter(f"{visible(repr(command), 200)}: {allowed}", param_hint="--prefix")


def _is_hidden(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _HIDDEN)


def _elsewhere(hidden: Path) -> str:
    return f"""FAIL exec: the service could not start: the units hide {hidden} from it (ProtectHome=yes).
Install where a service can see it, with the system's Python, and run install-service from there:
     /usr/bin/python3 -m venv /opt/mlflow-reconciler
     /opt/mlflow-reconciler/bin/pip install mlflow_reconciler-*.whl   # from `make wheel`; it is on no package index
     /opt/mlflow-reconciler/bin/mlflow-reconciler install-service"""


# --- writing -------------------------------------------------------------------------------------------------


def _lacks_credentials(config: Path) -> str | None:
    """What to add to a configuration that was kept; None where nothing is missing, or it cannot be parsed."""
    import yaml

    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    if not isinstance(content, dict) or "credentials_directory" in content:
        return None
    without = "commands in a shell find neither the database nor the token of the service"
    remedy = "add the line `credentials_directory: credentials`"
    return f"WARN {config} was kept and has no credentials_directory: {without}: {remedy}"


def _group(name: str) -> int:
    """Raises SettingsError where this host has no such group."""
    from reconciler.settings.errors import SettingsError

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise SettingsError(
            [f"--operators: this host has no group {name!r}: create it with `groupadd --system {name}`"]
        ) from None


def _let_read(folder: Path, name: str, group: int, dry_run: bool) -> None:
    """Also changes files that were kept: who may read them is what --operators is for."""
    if dry_run:
        print(f"would let group {name} read {folder}")
        return
    # Who may pause a daemon must not be able to sign in its name.
    files = [path for path in sorted(folder.iterdir()) if path.name != ".".join(SIGNING_KEY)]
    for path, mode in [(folder, 0o750), *((path, 0o640) for path in files)]:
        os.chown(path, -1, group)
        path.chmod(mode)
    print(f"group {name} may read {folder}")


def _say_next(command: str, operators: str | None) -> None:
    """Paths as they are on the host that runs the service, whatever --root is."""
    readable = f"by group {operators}" if operators else "by root alone; install-service --operators GROUP changes that"
    say(
        f"""next:
  1. name the registry in {_ETC}/config.yaml, and what a version must show in {_ETC}/policy.yaml
  2. put the registry's token into {_ETC}/credentials/registry.token, or, with basic-auth, the password into
     registry.password beside it; a PostgreSQL URL, if any, into audit.url. An empty file counts as not set. They are
     read by the service, and {readable}
  3. name the addresses of registry and database in mlflow-reconciler.service.d/registry-and-database.conf
  4. create the audit tables, as the service's user:
       systemctl daemon-reload
       systemd-run --pipe --wait --collect -p DynamicUser=yes -p User=mlflow-reconciler \\
         -p StateDirectory=mlflow-reconciler -p StateDirectoryMode=0700 \\
         -p LoadCredential=registry.token:{_ETC}/credentials/registry.token \\
         -p LoadCredential=audit.url:{_ETC}/credentials/audit.url \\
         {command} db upgrade
  5. start it, and look at it:
       systemctl enable --now mlflow-reconciler
       systemctl status mlflow-reconciler
       {command} check"""
    )
