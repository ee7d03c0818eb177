"""Tags that the policy rests on: whether the registry keeps them from those who are judged by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.doctor.findings import Finding, fail, ok, skip, warn
from reconciler.domain.policy import Policy
from reconciler.domain.text import quoted, visible_name
from reconciler.ports import RegistryError
from reconciler.registry.permissions import few
from reconciler.registry.speaking import Speaking
from reconciler.registry.tag_protection import TagProtection

_OPTION = "TRANSITION_REQUESTS_PROTECTED_TAGS"


def protected_tags(speaking: Speaking, policy: Policy) -> list[Finding]:
    """One finding; none where the policy rests on no tag."""
    relied = policy.tags_relied_on()
    if not relied:
        return []
    try:
        protection = speaking.tag_protection()
    except RegistryError as error:
        return [fail("tags", str(error))]
    return [_unprotected(speaking, relied) if protection is None else by_protection(protection, relied)]


def _unprotected(speaking: Speaking, relied: Mapping[str, Sequence[str]]) -> Finding:
    if speaking.shows_decisions and speaking.protocol != "tags":
        older = f"the server's app is older than protected tags, and the policy rests on {_named(relied)}"
        return warn("tags", f"{older}: upgrade the app, and name them in {_OPTION} there")
    return skip("tags", f"this registry does not say who may change {_named(relied)}, on which the policy rests")


def by_protection(protection: TagProtection, relied: Mapping[str, Sequence[str]]) -> Finding:
    """What is wrong with the protection of these tags, the worst of it. `relied`: the rules that rest on each."""
    unprotected = {key: rules for key, rules in relied.items() if key not in protection.keys}
    if unprotected:
        may = f"everybody who may edit a model may change {_named(unprotected)}, on which the policy rests"
        return warn("tags", f"{may}: name them in {_OPTION} of the server")
    if not protection.enforced:
        only_logged = f"changes of {_named(relied)} are only logged"
        return warn("tags", f"{only_logged}: set TRANSITION_REQUESTS_WALL=enforce on the server")
    if not protection.approvers_named:
        manage = f"everybody with MANAGE on a model, such as its creator, may change {_named(relied)}"
        return warn("tags", f"{manage}: name approvers in TRANSITION_REQUESTS_APPROVERS of the server")
    return ok("tags", f"only approvers and administrators may change {_named(relied)}, on which the policy rests")


def _named(relied: Mapping[str, Sequence[str]]) -> str:
    return few([f"{visible_name(key)} ({_of_rules(rules)})" for key, rules in relied.items()])


def _of_rules(rules: Sequence[str]) -> str:
    more = f" and {len(rules) - 1} more" if len(rules) > 1 else ""
    return f"rule {quoted(rules[0])}{more}"
