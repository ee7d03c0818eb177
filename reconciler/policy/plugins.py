"""Checks of plugins: those that the configuration names, as kinds of check beside the product's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reconciler.domain.checks.any_of import AnyOf
from reconciler.domain.checks.base import Requirement
from reconciler.domain.checks.kinds import KINDS, Kinds
from reconciler.policy.problems import PolicyError, Problem

if TYPE_CHECKING:
    from reconciler.domain.plugin_checks import PluginCheck

KEY: Final = "plugins.checks"


class PluginError(PolicyError):
    """Checks that the configuration names cannot be loaded; each message is one line."""

    def __init__(self, *messages: str) -> None:
        super().__init__(KEY, [Problem(None, None, "", message, KEY) for message in messages])


@dataclass(frozen=True, slots=True)
class Plugins:
    """The checks of plugins that the configuration names; `seconds`: how long one may take to answer."""

    checks: tuple[str, ...] = ()
    seconds: float = 5.0

    def kinds(self) -> Kinds:
        """The product's own kinds, and these; their code is looked at anew.

        Raises:
            PluginError: one cannot be loaded; with each that cannot.
        """
        if not self.checks:
            return KINDS
        return (*KINDS, *self.loaded())

    def loaded(self) -> tuple[type[PluginCheck], ...]:
        """Raises PluginError."""
        kinds, problems = self.loaded_and_not()
        if problems:
            raise PluginError(*(problem.message for problem in problems))
        return kinds

    def loaded_and_not(self) -> tuple[tuple[type[PluginCheck], ...], list[Problem]]:
        """All of them, and why some cannot be loaded: what a policy says of these is taken as it is."""
        # Here, so that who names no check of a plugin loads nothing for it.
        from reconciler.policy.plugin_loading import loaded_kind, unloaded_kind

        kinds: list[type[PluginCheck]] = []
        problems: list[Problem] = []
        for name in self.checks:
            try:
                refuse_name(name)
                kinds.append(loaded_kind(name, self.seconds))
            except PluginError as error:
                problems += error.problems
                kinds += [] if name in _words() else [unloaded_kind(name)]
        return tuple(kinds), problems


NO_PLUGINS: Final = Plugins()


_OWN: Final[tuple[type[Requirement], ...]] = (*KINDS, AnyOf)


def refuse_name(name: str) -> None:
    """Raises PluginError where the name is a word of the policy already."""
    if name in _kinds_of_the_product():
        raise PluginError(f"{name!r} is a check of the product itself: a check of your own needs another name")
    if name in _words_of_checks():
        raise PluginError(f"{name!r} is a key of the product's checks: a check of your own needs another name")


def _kinds_of_the_product() -> set[str]:
    return {*(kind.kind for kind in KINDS), AnyOf.kind}


def _words() -> set[str]:
    return _kinds_of_the_product() | _words_of_checks()


def _words_of_checks() -> set[str]:
    """A check is known by its key, so that no other may look like one."""
    fields = (field for kind in _OWN for field in kind.model_fields.items())
    return {field.alias or name for name, field in fields}
