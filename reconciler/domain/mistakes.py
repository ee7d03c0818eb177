"""What is wrong with a typed value, in plain words: pydantic's own messages speak of its types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    show_value = error["type"] != "value_error" and (value is None or isinstance(value, str | int | float))
    return f"{visible(repr(value), 100)}: {words}" if show_value else words
