"""The data of a YAML document, and the place of each part in the text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.resolver import Resolver

from reconciler.domain.text import visible
from reconciler.policy.problems import Location, PolicyError, Problem, path_of
from reconciler.policy.spelling import misread

# Room for 300 rules of 50 checks.
_MAX_VALUES = 200_000
# By aliases of aliases, a short text can expand to any length.
_MAX_REPEATED = 10_000
_MAX_DEPTH = 20
_MERGE = "tag:yaml.org,2002:merge"
_TOO_LARGE = f"too large: the maximum is {_MAX_VALUES} values, {_MAX_REPEATED} repeated by aliases, {_MAX_DEPTH} levels"


def compose(text: str, name: str) -> yaml.Node | None:
    """The document as YAML nodes, which know their places; None if it is empty.

    Raises:
        PolicyError: the text is not YAML.
    """
    try:
        return root_of(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
        told = error.problem or str(error)
        if error.context and told.startswith("but "):
            told = f"{error.context}, {told}"
        problem = Problem(line, column, "", f"invalid YAML: {visible(told, 300)}")
        raise PolicyError(name, [problem]) from None
    except yaml.YAMLError as error:
        raise PolicyError(name, [Problem(None, None, "", f"invalid YAML: {visible(str(error), 300)}")]) from None
    except RecursionError:
        raise PolicyError(name, [Problem(None, None, "", _TOO_LARGE)]) from None


def root_of(text: str) -> yaml.Node | None:
    """The root. What libyaml refuses is read again by PyYAML, since its messages are the ones that users see.

    Aliases are not expanded: their nodes stand in several places.

    Raises:
        yaml.YAMLError: the text is not YAML.
        RecursionError: it is nested too deep.
    """
    # libyaml drops a byte-order mark anywhere, PyYAML only at the beginning.
    if yaml.__with_libyaml__ and "\ufeff" not in text:
        with contextlib.suppress(yaml.YAMLError, UnicodeEncodeError):
            return yaml.compose(text, Loader=_fast_loader())
    return yaml.compose(text, Loader=yaml.SafeLoader)


@cache
def _fast_loader() -> type[Any]:
    """libyaml's parser, five times as fast as PyYAML's, with PyYAML's composer, which deep nesting cannot crash."""
    from yaml._yaml import CParser

    class FastLoader(Composer, CParser, Resolver):
        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)
            Composer.__init__(self)
            Resolver.__init__(self)

    return FastLoader


class Marks:
    """`data` is the document as plain values; `problems` are mistakes that YAML itself allows.

    `whole`: the document is not too large to be looked at. `broken`: where `data` has None for what is no value.

    Args:
        as_read: a number that people read as another one is a mistake, and so is a key that is no text.
    """

    def __init__(self, root: yaml.Node, *, as_read: bool = False) -> None:
        self._as_read = as_read
        self._values: dict[Location, yaml.Mark] = {}
        self._keys: dict[Location, yaml.Mark] = {}
        self._nodes: set[int] = set()
        self._scalars = yaml.SafeLoader("")
        self.problems: list[Problem] = []
        self.whole = True
        self.broken: list[Location] = []
        self.data = self._build(root, ())

    def _build(self, node: yaml.Node, at: Location) -> Any:
        self._values[at] = node.start_mark
        self._nodes.add(id(node))
        if self._is_too_large(at):
            if self.whole:
                self._add_problem(node.start_mark, at, _TOO_LARGE)
            self.whole = False
            return None
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, at))
        if isinstance(node, yaml.SequenceNode):
            return [self._build(child, (*at, index)) for index, child in enumerate(node.value)]
        return self._scalar(node, at)

    def _is_too_large(self, at: Location) -> bool:
        repeated = len(self._values) - len(self._nodes)
        return len(self._values) > _MAX_VALUES or repeated > _MAX_REPEATED or len(at) > _MAX_DEPTH

    def _pairs(self, node: yaml.MappingNode, at: Location) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            if self._as_read and not isinstance(key_node, yaml.ScalarNode):
                self._add_problem(key_node.start_mark, (*at, key), "a key must be text: this is a list or a section")
            elif key in seen:
                self._add_problem(key_node.start_mark, (*at, key), "duplicate key: remove one of the two")
            seen.add(key)
            self._keys[*at, key] = key_node.start_mark
            if key_node.tag == _MERGE:
                self._add_problem(key_node.start_mark, (*at, key), "merge keys are not read: repeat the keys here")
                self.broken.append((*at, key))
            yield key, self._build(value_node, (*at, key))

    def _scalar(self, node: yaml.Node, at: Location) -> Any:
        try:
            value = self._scalars.construct_object(node, deep=True)
            wrong = misread(node, value) if self._as_read and isinstance(node, yaml.ScalarNode) else ""
        except (yaml.YAMLError, ValueError) as error:
            wrong = f"invalid value: {visible(str(error), 200)}"
        except (LookupError, AttributeError, ArithmeticError, TypeError):
            # PyYAML stumbles over a text that is not what its tag says, as in `!!bool maybe`.
            wrong = f"invalid value: {visible(str(node.value), 60)} is no {node.tag.rpartition(':')[2]}"
        if not wrong:
            return value
        self._add_problem(node.start_mark, at, wrong)
        self.broken.append(at)
        return None

    def _add_problem(self, mark: yaml.Mark, at: Location, message: str) -> None:
        self.problems.append(Problem(mark.line + 1, mark.column + 1, path_of(at), message))

    def problem(self, at: Location, message: str, *, at_key: bool = False, file: str = "") -> Problem:
        """A problem at this location. `at_key`: the key is wrong, not its value."""
        mark = (self._keys.get(at) if at_key else None) or self._nearest(at)
        return Problem(mark.line + 1, mark.column + 1, path_of(at), message, file)

    def _nearest(self, at: Location) -> yaml.Mark:
        """The place of the value, or of the nearest part that encloses it."""
        while at not in self._values and at:
            at = at[:-1]
        return self._values[at]
