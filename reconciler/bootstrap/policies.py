"""The configured policy."""

from __future__ import annotations

from reconciler.cycle import PolicyInForce
from reconciler.policy.file import read_policy
from reconciler.settings.model import Settings


def policy_in_force(settings: Settings) -> PolicyInForce:
    """Read the configured policy. Raises SettingsError or PolicyError."""
    loaded = read_policy(settings.policy_path())
    return PolicyInForce(loaded.policy.excluding(settings.evidence.exclude), loaded.digest, loaded.text)
