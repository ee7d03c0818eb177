"""The configured policy."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path

from reconciler.cycle import PolicyInForce
from reconciler.policy.file import read_policy
from reconciler.settings.load import refuse_folder_writable_by_others, refuse_writable_by_others
from reconciler.settings.model import Settings


def policy_in_force(settings: Settings) -> PolicyInForce:
    """Read the configured policy. Raises SettingsError or PolicyError."""
    loaded = read_policy(settings.policy_path(), settings.plugins.named().kinds())
    policy = loaded.policy.excluding(settings.evidence.exclude)
    path = os.path.abspath(settings.policy_path())
    return PolicyInForce(policy, loaded.digest, loaded.text, path, _account(), loaded.includes)


def refuse_unsafe_includes(in_force: PolicyInForce) -> None:
    """Refuse what the policy includes where others can write it, or can put another file in its place.

    Raises:
        SettingsError: users other than its owner may write a file, or a folder on the way to it.
    """
    above = Path(os.path.realpath(in_force.file)).parent
    for path in map(Path, in_force.includes):
        refuse_writable_by_others(path)
        for folder in path.parents:
            if folder == above:
                break
            refuse_folder_writable_by_others(folder)


def _account() -> str:
    """As which account, on which host, this process runs. A container may run as a number without a name."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
