"""The policy as values: rules, and the checks they require."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from pydantic import Field, PrivateAttr

from reconciler.domain.checks.base import Check
from reconciler.domain.evidence import Needs
from reconciler.domain.fields import TargetField, TextField, Value
from reconciler.domain.request import Request
from reconciler.domain.scope import Scope, matches_any
from reconciler.domain.target import Target
from reconciler.domain.text import quoted, visible

# There may be many models, and anyone may name new ones: what is remembered of them has a bound.
_REMEMBERED = 10_000
_OUT = "kept out of the evidence by evidence.exclude, so no request under this rule is decided: change one of the two"


class Rule(Value):
    """What must hold for these models to go to these targets."""

    name: TextField = Field(min_length=1, max_length=200, description="Shown with every reason.")
    models: tuple[TextField, ...] = Field(("*",), min_length=1, description="Globs over registered model names.")
    targets: tuple[TargetField, ...] = Field(min_length=1)
    archive_existing: bool = Field(
        False, strict=True, description="Archive the other versions of the stage on approval (stages only)."
    )
    # `reconciler.policy.grammar` says which kinds of check a text may hold.
    require: tuple[Check, ...] = Field(min_length=1, description="All of these must pass.")

    def covers(self, model: str, target: Target) -> bool:
        return target in self.targets and matches_any(model, self.models)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a policy asks of one model and target: the rules that cover it, and what must be read for them."""

    rules: tuple[Rule, ...]
    needs: Needs

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> Coverage:
        rules = tuple(rules)
        return cls(rules, Needs.together(check.needs() for rule in rules for check in rule.require))


_NOTHING = Coverage((), Needs())


class Policy(Value):
    """The rules of a registry. Every rule that matches a request must pass."""

    # Globs over the names of tags that are kept out of the evidence; of the configuration, not of the text.
    _exclude: tuple[str, ...] = PrivateAttr(())

    version: Literal[1]
    rules: tuple[Rule, ...] = Field(min_length=1)

    @cached_property
    def _targets(self) -> frozenset[Target]:
        return frozenset(target for rule in self.rules for target in rule.targets)

    @cached_property
    def _coverage(self) -> Callable[[str, Target], Coverage]:
        """Worked out once for each model and target, however many requests there are."""

        @lru_cache(_REMEMBERED)
        def coverage(model: str, target: Target) -> Coverage:
            return Coverage.of(rule for rule in self.rules if rule.covers(model, target))

        return coverage

    def coverage_of(self, request: Request) -> Coverage:
        """Nothing covers a prompt, which MLflow keeps like a model: people decide about it."""
        return _NOTHING if request.is_prompt else self._coverage(request.model, request.target)

    def rules_for(self, request: Request) -> tuple[Rule, ...]:
        return self.coverage_of(request).rules

    def needs(self, request: Request) -> Needs:
        """What must be read to judge this request."""
        return self.coverage_of(request).needs.without_tags(self._is_excluded)

    def excluding(self, globs: Sequence[str]) -> Policy:
        """The same rules, where tags of these names are kept out of the evidence."""
        policy = self.model_copy()
        policy._exclude = tuple(globs)
        return policy

    @property
    def excludes(self) -> tuple[str, ...]:
        """Globs over the names of tags and parameters that are kept out of the evidence."""
        return self._exclude

    def _is_excluded(self, name: str) -> bool:
        return matches_any(name, self._exclude)

    def never_judged(self) -> Iterator[str]:
        """A sentence for each check that asks for what is kept out of the evidence, and so is never judged."""
        for rule in self.rules:
            for check in rule.require:
                if check.needs().without_tags(self._is_excluded).excluded:
                    yield f"rule {quoted(rule.name)}: {visible(check.title)} is {_OUT}"

    def governed_targets(self) -> frozenset[Target]:
        return self._targets

    def scope(self) -> Scope:
        return Scope(tuple((rule.models, frozenset(rule.targets)) for rule in self.rules), governed=True)

    def all_needs(self) -> Needs:
        """What must be read to judge any request."""
        return Coverage.of(self.rules).needs

    def reads_logged_models(self) -> bool:
        """Whether some check reads its metric from the logged model, and not from the run."""
        return self.all_needs().metrics_of_logged_model
