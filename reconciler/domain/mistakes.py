"""What is wrong with a typed value, in plain words: pydantic's own messages speak of its types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from reconciler.domain.text import visible

_WORDS = {
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number other than infinity and NaN",
    "greater_than": "must be greater than {gt:.15g}",
    "greater_than_equal": "must be at least {ge:.15g}",
    "less_than": "must be less than {lt:.15g}",
    "less_than_equal": "must be at most {le:.15g}",
    "string_type": "must be a string: put it in quotes",
    "string_too_short": "length must be at least {min_length}",
    "string_too_long": "length must be at most {max_length}",
    "too_short": "length must be at least {min_length}",
    "too_long": "length must be at most {max_length}",
    "tuple_type": "must be a list, such as [a, b]",
    "list_type": "must be a list, such as [a, b]",
    "dict_type": "must be a section with keys",
    "model_type": "must be a section with keys",
    "path_type": "must be a path",
    "missing": "required key is missing",
    "extra_forbidden": "unknown key",
}


# By YAML 1.1, which wants a dot and a sign.
_WITH_EXPONENT = re.compile(r"([+-]?[0-9]+(?:\.[0-9]*)?)[eE]([+-]?)([0-9]+)")
_PLAIN = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")
_UNQUOTE = ": remove the quotes"
_NUMBERS = frozenset({"float_type", "float_parsing", "int_type", "int_parsing"})
_LARGEST = 1.797e308


class Mistake(NamedTuple):
    """What is wrong between the keys of a part. `lacks`: for want of a key. `at`: where, seen from the part."""

    text: str
    lacks: bool = False
    at: tuple[str | int, ...] = ()


class Mistakes(ValueError):
    """Everything that is wrong between the keys of a part."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(mistake.text for mistake in self.mistakes))


def plain_words(error: Mapping[str, Any]) -> str:
    """One of the errors of a pydantic ValidationError, without the value."""
    kind, context = error["type"], error.get("ctx") or {}
    if kind == "value_error":
        return str(context["error"])
    if kind in _WORDS:
        return _WORDS[kind].format(**context)
    message = str(error["msg"]).replace("Input should be", "must be")
    return message[:1].lower() + message[1:]


def typed_and_wrong(error: Mapping[str, Any]) -> str:
    """`'foo': must be an integer`; our own sentences contain the value already."""
    words, value = plain_words(error), error.get("input")
    if error["type"] in _NUMBERS or (error["type"] == "literal_error" and value == error["ctx"]["expected"]):
        words += _how_to_write(value)
    if value is None and error["type"] != "value_error":
        return f"there is no value here: {words}"
    show_value = error["type"] != "value_error" and isinstance(value, str | int | float)
    return f"{visible(repr(value), 100)}: {words}" if show_value else words


def _how_to_write(value: object) -> str:
    """What to do about a text that looks like a number, and about an integer that no float can hold."""
    if isinstance(value, int):
        return "" if isinstance(value, bool) or abs(value) < _LARGEST else f" below {_LARGEST:g}"
    written = _WITH_EXPONENT.fullmatch(value) if isinstance(value, str) else None
    if written is not None and isinstance(value, str):
        mantissa, sign, exponent = written.groups()
        number = f"{mantissa}{'' if '.' in mantissa else '.0'}e{sign or '+'}{exponent}"
        return f": YAML takes it for text, write {number}" if number != value else _UNQUOTE
    return _UNQUOTE if isinstance(value, str) and _PLAIN.fullmatch(value) else ""
