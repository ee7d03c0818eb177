"""Commands for people: explain a decision, and file, list and withdraw requests. None needs a database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from reconciler import explain as explaining
from reconciler.bootstrap.policies import policy_in_force
from reconciler.bootstrap.record import RecordIfThere
from reconciler.bootstrap.registries import guessing, make_registry
from reconciler.domain.decision import Mode, left_undone
from reconciler.domain.policy import Policy
from reconciler.domain.request import Request
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.explain import Explanation, Question
from reconciler.policy.file import PolicyError
from reconciler.ports import Found, Listed, Stuck
from reconciler.registry.speaking import Speaking
from reconciler.settings.model import Settings

_BUILT_IN_STAGES = tuple(Target.parse(stage) for stage in ("Staging", "Production", "Archived"))


def explain(
    settings: Settings, model: str, version: str, target: Target, at: datetime | None = None, asker: str = ""
) -> Explanation:
    """Explain what would be decided now, or on today's evidence `at` another time.

    Args:
        asker: who would ask, where no request is open.

    Raises:
        NotFound: there is no such version; similar names are suggested.
    """
    in_force, registry, mode = policy_in_force(settings), make_registry(settings), Mode(settings.mode)
    now = datetime.now(UTC)
    question = Question(model, version, target, at or now, now, asker)
    with guessing(settings, model, version):
        record = RecordIfThere(settings, registry)
        return explaining.explain(registry, in_force, question, mode, record, mode_is_set=settings.mode_is_set)


@dataclass(frozen=True, slots=True)
class RequestTool:
    """Files, shows, lists and withdraws requests.

    `policy` is None if none is configured or it cannot be read; in the second case `doubt` says why.
    """

    settings: Settings
    registry: Speaking
    policy: Policy | None
    doubt: str

    def create(self, model: str, version: str, target: Target, requester: str, comment: str) -> Request:
        with guessing(self.settings, model, version):
            return self.registry.create(model, version, target, requester, comment, datetime.now(UTC))

    def find(self, model: str, version: str, target: Target) -> Found:
        with guessing(self.settings, model, version):
            return self.registry.find(model, version, target, datetime.now(UTC))

    def list(self) -> list[Listed]:
        """Every open request. By the tags protocol: those for the policy's targets and for the built-in stages."""
        governed = self.policy.governed_targets() if self.policy is not None else frozenset()
        return self.registry.all_open(Scope.of_everything(governed | frozenset(_BUILT_IN_STAGES)))

    def withdraw(self, model: str, version: str, target: Target) -> Request:
        self.find(model, version, target)
        return self.registry.withdraw(model, version, target, datetime.now(UTC))

    def rules_for(self, request: Request) -> tuple[str, ...] | None:
        """The names of the rules that cover a request; None if the policy is unknown."""
        if self.policy is None:
            return None
        return tuple(rule.name for rule in self.policy.rules_for(request))

    def stuck(self, request: Request) -> Sequence[Stuck] | None:
        """What keeps it from an answer, longest first; None where no audit database can be read, which is no fault."""
        return RecordIfThere(self.settings, self.registry).stuck(request)

    @property
    def left_undone(self) -> str:
        """Says that the daemon only observes, and what to do about it; "" if it acts or its mode is unknown."""
        known = self.policy is not None or self.settings.mode_is_set
        return left_undone(Mode(self.settings.mode), None, is_set=self.settings.mode_is_set) if known else ""

    def covers(self, request: Request) -> bool | None:
        """Whether a rule covers the request, by the policy or by what daemons reported; None if neither is known."""
        rules = self.rules_for(request)
        if rules is not None:
            return bool(rules)
        return self.find(request.model, request.version, request.target).listed.covered


def request_tool(settings: Settings) -> RequestTool:
    """The tool for requests. Filing needs no policy; if one is configured, it tells which requests no rule covers."""
    policy, doubt = None, ""
    if settings.policy is not None:
        try:
            policy = policy_in_force(settings).policy
        except PolicyError as error:
            doubt = str(error).splitlines()[0]
    return RequestTool(settings, make_registry(settings), policy, doubt)
