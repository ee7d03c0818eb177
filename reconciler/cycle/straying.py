"""Tags that look like requests and are none: what is wrong with them, for whoever wrote them."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.cycle.happening import Tell, of_stray
from reconciler.domain.decision import Mode
from reconciler.domain.holding.looks import Look
from reconciler.domain.scope import Scope
from reconciler.domain.tag_format import DECISION_PREFIX, REQUEST_PREFIX, request_tag, target_of_tag
from reconciler.ports import Registry, RegistryError
from reconciler.ports.observations import Observations, Stray


def named_in(tag: str) -> str:
    """What a stray tag names, in a key of ours that no decision uses."""
    return tag[len(REQUEST_PREFIX) :] if tag.startswith(REQUEST_PREFIX) else tag


def what_is_wrong(one: Stray, scope: Scope, *, is_prompt: bool) -> str:
    governed = sorted(scope.targets_of(one.model, is_prompt=is_prompt), key=str)
    if not governed:
        return f"tag {one.tag} requests nothing: no rule of the policy covers this {'prompt' if is_prompt else 'model'}"
    tags = " or ".join(map(request_tag, governed))
    covered = ", ".join(map(str, governed))
    remedy = f"name it {tags}, or ask the policy's owner for a rule"
    return f"tag {one.tag} requests nothing that a rule covers here ({covered}): {remedy}"


class Straying:
    """What is remembered of them from look to look."""

    def __init__(self, registry: Registry, record: Observations, tell: Tell) -> None:
        self._registry = registry
        self._record = record
        self._tell = tell
        self.forget()

    def forget(self) -> None:
        """What earlier looks showed may not be on record."""
        self._seen: set[Stray] = set()
        self._prompts: set[str] = set()

    def keep(self, fence: int, look: Look, scope: Scope, mode: Mode) -> bool:
        """Keeps what a look showed, and tells what is new. False: another replica looks meanwhile."""
        seen = {
            Stray(version.model, version.version, tag)
            for version in look.versions
            for tag in version.request_tags
            if target_of_tag(tag) not in scope.targets
        }
        self._seen |= seen
        self._prompts |= {version.model for version in look.versions if version.is_prompt and version.request_tags}
        all_seen = look.everything is not None
        if not seen and not all_seen:
            return True
        kept = self._record.keep_strays(fence, list(self._seen), all_seen=all_seen)
        if all_seen:
            self._seen = set()
        if kept is None:
            return False
        self._point_out(kept, scope, mode)
        return True

    def _point_out(self, strays: Iterable[Stray], scope: Scope, mode: Mode) -> None:
        """Told once: in the log, and where the mode acts on the version itself, where its author looks."""
        told = []
        for one in strays:
            said = what_is_wrong(one, scope, is_prompt=one.model in self._prompts)
            if mode is Mode.ENFORCE:
                try:
                    self._registry.point_out(one.model, one.version, DECISION_PREFIX + named_in(one.tag), said)
                except RegistryError:
                    # The next full look tries again.
                    continue
            self._tell(of_stray(one, said))
            told.append(one)
        if told:
            self._record.pointed_out(told)
