"""The policy as values: rules, and the checks they require."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, Self

from pydantic import Field, PrivateAttr

from reconciler.domain.checks.any_of import AnyOf
from reconciler.domain.checks.base import Check
from reconciler.domain.evidence.evidence import Needs
from reconciler.domain.fields import GlobField, MomentField, TargetField, TextField, Value, WordsField
from reconciler.domain.request import Request
from reconciler.domain.scope import Names, Part, Scope, matches_any
from reconciler.domain.target import Target
from reconciler.domain.text import quoted, visible

# There may be many models, and anyone may name new ones: what is remembered of them has a bound.
_REMEMBERED = 10_000
_OUT = "kept out of the evidence by evidence.exclude, so no request under this rule is decided: change one of the two"


class When(Value):
    """What must be so of the registered model for a rule to apply."""

    model_tag: Mapping[TextField, WordsField] = Field(
        min_length=1,
        description="Tags of the registered model with the value, or a list of the values, for which the rule applies. "
        "It applies too where a tag is absent.",
        examples=[{"tier": "1"}],
    )


class Rule(Value):
    """What must hold for these models to go to these targets."""

    # Of an included file: the globs of each file that includes it, in which its models must lie.
    _within: tuple[tuple[str, ...], ...] = PrivateAttr(())

    name: TextField = Field(min_length=1, max_length=200, description="Shown with every reason.")
    kind: Literal["model", "prompt"] = Field("model", description="What `models` names: models, or prompts.")
    models: tuple[GlobField, ...] = Field(("*",), min_length=1, description="Globs over registered model names.")
    exclude: tuple[GlobField, ...] = Field((), description="Globs over the names that the rule leaves out.")
    when: When | None = Field(
        None, description="Applies only to models with these tags, or without a tag of that name."
    )
    targets: tuple[TargetField, ...] = Field(min_length=1, description="Stages, and aliases with @.")
    mode: Literal["decide", "observe"] = Field(
        "decide", description="`observe`: the rule reports and records what its checks find, and decides nothing."
    )
    starts: MomentField | None = Field(
        None, alias="from", description="Before this moment (UTC) the rule only observes, and says what will fail."
    )
    archive_existing: bool | None = Field(
        None,
        strict=True,
        description="Whether an approval archives the other versions of the stage (stages only). Unset: no opinion.",
    )
    # `reconciler.policy.grammar` says which kinds of check a text may hold.
    require: tuple[Check | AnyOf, ...] = Field(min_length=1, description="All of these must pass.")

    @cached_property
    def names(self) -> Names:
        return Names(self.models, self.exclude, self._within)

    def within(self, globs: Sequence[str]) -> Self:
        """The same rule, for models only that match one of these globs, too."""
        rule = self.model_copy()
        rule.__dict__.pop("names", None)
        rule._within = (*self._within, tuple(globs))
        return rule

    def covers(self, model: str, target: Target, kind: str = "model") -> bool:
        return self.kind == kind and target in self.targets and self.names.match(model)

    def needs(self) -> Needs:
        """What must be read to judge it."""
        tags = frozenset(self.when.model_tag) if self.when else frozenset()
        own = Needs(registered_model=bool(tags), model_tags=tags)
        return Needs.together([own, *(required.needs() for required in self.require)])

    def tags_relied_on(self) -> frozenset[str]:
        """The tags by which it decides, and whether it does."""
        deciding = [required.needs() for required in self.require if required.level == "hard"]
        own = frozenset(self.when.model_tag) if self.when and deciding else frozenset()
        return own.union(*(needs.tags | needs.model_tags for needs in deciding))


class Include(Value):
    """Another file with rules, which may touch no models but these."""

    file: TextField = Field(
        min_length=1, max_length=1000, description="Its path, from the folder of the file that names it."
    )
    models: tuple[GlobField, ...] = Field(min_length=1, description="Globs: its rules apply to no other names.")


class Defaults(Value):
    """What holds where no rule that matches says otherwise."""

    archive_existing: bool = Field(False, strict=True, description="Applies to every rule that does not set its own.")


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a policy asks of one model and target: the rules that cover it, and what must be read for them."""

    rules: tuple[Rule, ...]
    needs: Needs

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> Coverage:
        rules = tuple(rules)
        return cls(rules, Needs.together(rule.needs() for rule in rules))


class Policy(Value):
    """The rules of a registry. Every rule that matches a request must pass."""

    # Globs over the names of tags that are kept out of the evidence; of the configuration, not of the text.
    _exclude: tuple[str, ...] = PrivateAttr(())

    version: Literal[1] = Field(description="Version of the policy language.")
    defaults: Defaults = Field(Defaults(), description="What holds where no rule that matches says otherwise.")
    people: Mapping[TextField, WordsField] = Field(
        {}, description="The logins of each person on the registry, the cluster and the operating system."
    )
    include: tuple[Include, ...] = Field((), description="Other files with rules, such as one for each team.")
    rules: tuple[Rule, ...] = Field((), description="At least one, here or in a file that is included.")

    @cached_property
    def _targets(self) -> frozenset[Target]:
        return frozenset(target for rule in self.rules for target in rule.targets)

    @cached_property
    def _coverage(self) -> Callable[[str, Target, str], Coverage]:
        """Worked out once for each model and target, however many requests there are."""

        @lru_cache(_REMEMBERED)
        def coverage(model: str, target: Target, kind: str) -> Coverage:
            return Coverage.of(rule for rule in self.rules if rule.covers(model, target, kind))

        return coverage

    def coverage_of(self, request: Request) -> Coverage:
        """A prompt, which MLflow keeps like a model, is covered by rules for prompts only."""
        return self._coverage(request.model, request.target, "prompt" if request.is_prompt else "model")

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
            if rule.when and any(map(self._is_excluded, rule.when.model_tag)):
                yield f"rule {quoted(rule.name)}: a tag of `when` is {_OUT}"
            for check in rule.require:
                if check.needs().without_tags(self._is_excluded).excluded:
                    yield f"rule {quoted(rule.name)}: {visible(check.title)} is {_OUT}"

    def tags_relied_on(self) -> Mapping[str, Sequence[str]]:
        """The tags, of models or versions, by which a request is decided, each with the names of the rules."""
        relied: dict[str, list[str]] = {}
        for rule in self.rules:
            for key in sorted(rule.tags_relied_on() if rule.mode == "decide" else ()):
                if not self._is_excluded(key):
                    relied.setdefault(key, []).append(rule.name)
        return dict(sorted(relied.items()))

    def governed_targets(self) -> frozenset[Target]:
        return self._targets

    def scope(self) -> Scope:
        parts = (Part(rule.names, frozenset(rule.targets), rule.kind == "prompt") for rule in self.rules)
        return Scope(tuple(parts), governed=True, watched=self._watched)

    @cached_property
    def _watched(self) -> tuple[Part, ...]:
        """What checks ask about for how long it was held."""
        asked = ((rule, rule.needs().held_for) for rule in self.rules if rule.kind == "model")
        return tuple(Part(rule.names, targets) for rule, targets in asked if targets)

    def all_needs(self) -> Needs:
        """What must be read to judge any request."""
        return Coverage.of(self.rules).needs

    def reads_logged_models(self) -> bool:
        """Whether some check reads its metric from the logged model, and not from the run."""
        return self.all_needs().metrics_of_logged_model
