"""The configured policy."""

from __future__ import annotations

import getpass
import os
import socket

from reconciler.cycle import PolicyInForce
from reconciler.policy.file import read_policy
from reconciler.settings.model import Settings


def policy_in_force(settings: Settings) -> PolicyInForce:
    """Read the configured policy. Raises SettingsError or PolicyError."""
    loaded = read_policy(settings.policy_path())
    policy = loaded.policy.excluding(settings.evidence.exclude)
    return PolicyInForce(policy, loaded.digest, loaded.text, os.path.abspath(settings.policy_path()), _account())


def _account() -> str:
    """As which account, on which host, this process runs. A container may run as a number without a name."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
