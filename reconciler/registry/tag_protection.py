"""Which tags a server keeps from everybody but approvers and administrators."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.domain.evidence.evidence import Evidence, Needs, ProtectionFacts
from reconciler.domain.evidence.protection_facts import Guard
from reconciler.ports import Listed, RegistryError, Unavailable


@dataclass(frozen=True, slots=True)
class TagProtection:
    """What the MLflow app says of itself.

    Attributes:
        keys: of tags of registered models and of versions.
        enforced: changes are refused, and not only logged (TRANSITION_REQUESTS_WALL=observe).
        approvers_named: MANAGE on a model, which whoever creates it has, does not make an approver.
    """

    keys: frozenset[str]
    enforced: bool
    approvers_named: bool

    def guard_of(self, key: str) -> Guard:
        if key not in self.keys or not self.enforced:
            return Guard.OPEN_TO_EDITORS
        return Guard.PROTECTED if self.approvers_named else Guard.OPEN_TO_MANAGERS


def protection_in(answer: Any) -> TagProtection | None:
    """None where the app says nothing, as an older one.

    Raises:
        Unavailable: what it said cannot be understood.
    """
    said = answer.get("protected_tags") if isinstance(answer, dict) else None
    if said is None:
        return None
    keys = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Unavailable("transition-requests/list: no list of keys in what the server says of protected tags")
    return TagProtection(frozenset(keys), said.get("enforced") is True, said.get("approvers_named") is True)


class KnownProtection:
    """What the app said last, with a list that was asked for it.

    Args:
        ask: asks for it alone, where no list was read before evidence was, as by a command.
    """

    def __init__(self, ask: Callable[[], TagProtection | None]) -> None:
        self._ask = ask
        self._said: TagProtection | None = None
        self._is_known = False

    def take(self, answer: Any) -> None:
        """A list stays a list, whatever stands beside it: no verdict rests on that."""
        try:
            self._said = protection_in(answer)
        except Unavailable:
            self._said = None
        self._is_known = True

    def told_in(
        self, evidence: Mapping[str, Evidence], wanted: Sequence[tuple[Listed, Needs]]
    ) -> Mapping[str, Evidence]:
        """The evidence, by key, in which the tags that checks ask for have their guards, as far as anything tells."""
        asked = {listed.request.key: needs.tags | needs.model_tags for listed, needs in wanted}
        said = self._now() if any(asked.values()) else None
        return evidence if said is None else {key: _with_guards(one, asked[key], said) for key, one in evidence.items()}

    def _now(self) -> TagProtection | None:
        if not self._is_known:
            try:
                self._said, self._is_known = self._ask(), True
            except RegistryError:
                # Evidence that was read must not be lost for it; the next time it is asked again.
                return None
        return self._said


def _with_guards(evidence: Evidence, keys: Collection[str], said: TagProtection) -> Evidence:
    if not keys:
        return evidence
    return evidence.knowing(ProtectionFacts({key: said.guard_of(key) for key in sorted(keys)}))
