"""The registry: whether every kind of call that a cycle makes works, and what the account may decide."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.bootstrap.policies import policy_in_force
from reconciler.bootstrap.registries import make_registry
from reconciler.doctor.files import policy_or_none
from reconciler.doctor.findings import Finding, fail, ok, skip, warn
from reconciler.doctor.tags import protected_tags
from reconciler.domain.evidence.evidence import Needs
from reconciler.domain.policy import Policy
from reconciler.domain.scope import Scope
from reconciler.domain.text import counted
from reconciler.ports import Measured, RegistryError
from reconciler.registry.permissions import few, governed_levels, not_governable
from reconciler.registry.reaching import Unreached
from reconciler.registry.speaking import Speaking
from reconciler.registry.trials import LOGGED_MODELS, WORKSPACES, Answer, Trial, TrialResult
from reconciler.settings.model import Settings

_MUCH_SKEW = 30.0


def registry(settings: Settings) -> list[Finding]:
    speaking, policy = make_registry(settings), policy_or_none(settings)
    meter = speaking.begin(None)
    scope = policy.scope() if policy else Scope.of_all_models(())
    needs = policy.all_needs() if policy else Needs(run=True, logged_model=True)
    permissions_untried = skip("permissions", "not tried (see registry)")
    try:
        trials = speaking.trials(scope, needs)
    except RegistryError as error:
        # It could not be determined which protocol the server speaks.
        return [fail("registry", str(error)), permissions_untried]
    calls = Calls(settings, policy, speaking.uri, trials)
    if unreached := calls.unreached.get(speaking.uri):
        return [fail("registry", str(unreached)), *calls.findings, permissions_untried]
    return [ok("registry", _introduced(speaking, calls.lacking)), *calls.findings, *_clock(meter()),
            _permissions(speaking, settings), *(protected_tags(speaking, policy) if policy else [])]  # fmt: skip


def _introduced(speaking: Speaking, lacking: Sequence[str]) -> str:
    version = speaking.version()
    kind = f"MLflow {version} at {speaking.uri}" if version else speaking.uri
    without = f"; it has no {', no '.join(lacking)}" if lacking else ""
    return f"{kind} answers by the {speaking.protocol} protocol{without}"


class Calls:
    """One finding for each trial. Once a server cannot be reached, nothing more is tried there."""

    def __init__(self, settings: Settings, policy: Policy | None, registry: str, trials: Sequence[Trial]) -> None:
        self._settings = settings
        self._policy = policy
        self._registry = registry
        self.unreached: dict[str, RegistryError] = {}
        self.lacking: list[str] = []
        self.findings = [self._finding(trial) for trial in trials]

    def _finding(self, trial: Trial) -> Finding:
        not_tried = skip(trial.name, f"not tried: {trial.server} cannot be reached")
        if trial.server in self.unreached:
            return not_tried
        try:
            result = trial.run()
        except Unreached as error:
            self.unreached[trial.server] = error
            # The registry's own finding reports this error.
            return not_tried if trial.server == self._registry else fail(trial.name, str(error))
        except RegistryError as error:
            return fail(trial.name, str(error))
        return self._of(trial.name, result)

    def _of(self, name: str, result: TrialResult) -> Finding:
        if result.answer is Answer.WORKS:
            return ok(name, result.detail)
        if result.answer is Answer.UNTRIED:
            return skip(name, result.detail)
        self.lacking.append(result.lacking)
        return self._needed(name, result.lacking) or ok(name, result.detail)

    def _needed(self, name: str, lacking: str) -> Finding | None:
        """The finding for a call that the server lacks and that the configuration or the policy needs."""
        workspace = self._settings.registry.workspace
        if lacking == WORKSPACES and workspace:
            problem = f"this server has no workspaces and ignores registry.workspace ({workspace})"
            return fail(name, f"{problem}: remove the setting, or use MLflow 3.10 or newer")
        if lacking == LOGGED_MODELS and self._policy and self._policy.reads_logged_models():
            problem = "this server has none, so a check with source: logged_model always fails"
            return warn(name, f"{problem}: use source: run, or MLflow 3.0 or newer")
        return None


def _clock(measured: Measured) -> list[Finding]:
    if measured.skew is None:
        return []
    seconds = abs(measured.skew.total_seconds())
    difference = f"the registry's clock differs by {seconds:.0f} s from this host's"
    return [
        warn("clock", f"{difference}: check NTP on both hosts") if seconds > _MUCH_SKEW else ok("clock", difference)
    ]


def _permissions(speaking: Speaking, settings: Settings) -> Finding:
    """Whether the account may decide about every governed model, if the registry reports it."""
    if speaking.protocol == "tags":
        untried = "not tried: a plain MLflow server does not report permissions"
        return skip("permissions", f"{untried}; deciding needs MANAGE on governed models under basic-auth")
    scope = policy_in_force(settings).policy.scope()
    try:
        levels = governed_levels(speaking, scope)
    except RegistryError as error:
        return fail("permissions", str(error))
    if lacking := not_governable(scope, levels):
        remedy = "grant the account MANAGE, or name it an approver"
        return fail("permissions", f"may not decide about {few(lacking)}: {remedy}")
    return _allowed([model for model, level in levels if level], [model for model, level in levels if not level])


def _allowed(known: Sequence[str], unknown: Sequence[str]) -> Finding:
    if not known and not unknown:
        return skip("permissions", "nothing to try it on: no governed model exists yet")
    if unknown:
        return skip("permissions", f"the registry does not say what the account may do with {few(unknown)}")
    return ok("permissions", f"may decide about each of {counted(len(known), 'governed model')}")
