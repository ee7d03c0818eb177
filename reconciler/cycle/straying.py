"""Tags that look like requests and are none: what is wrong with them, for whoever wrote them."""

from __future__ import annotations

from reconciler.domain.scope import Scope
from reconciler.domain.tag_format import REQUEST_PREFIX, request_tag
from reconciler.ports.observations import Stray


def named_in(tag: str) -> str:
    """What a stray tag names, in a key of ours that no decision uses."""
    return tag[len(REQUEST_PREFIX) :] if tag.startswith(REQUEST_PREFIX) else tag


def what_is_wrong(one: Stray, scope: Scope, *, is_prompt: bool) -> str:
    governed = sorted(scope.targets_of(one.model, is_prompt=is_prompt), key=str)
    if not governed:
        return f"tag {one.tag} requests nothing: no rule of the policy covers this {'prompt' if is_prompt else 'model'}"
    tags = " or ".join(map(request_tag, governed))
    return f"tag {one.tag} requests nothing that a rule covers here ({', '.join(map(str, governed))}): name it {tags}"
