"""The signature in a file `MLmodel`: YAML, which holds a JSON text for the inputs and one for the outputs.

Whoever trains writes it, so it may hold anything. No value of it is ever made into an object: only the nodes that lead
to the two texts are looked at. What MLflow would not read alike on every release is told as unclear, and not guessed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import yaml

from reconciler.domain.evidence.signature_facts import Column, Columns
from reconciler.domain.text import visible
from reconciler.policy.marks import root_of

# Nested types that people write are a few levels deep.
_DEEPEST: Final = 32
_TAG: Final = "tag:yaml.org,2002:"


class Unclear(ValueError):
    """The file does not tell the signature; the message says why."""


def signature_in(raw: bytes) -> tuple[Columns | None, Columns | None]:
    """Inputs and outputs, each None where the file has none.

    Raises:
        Unclear: it cannot be told.
    """
    try:
        whole = _members(_root(raw), "the file")
        # What answers in the place of the server, such as a page to log in, may be YAML, too.
        if "flavors" not in whole:
            raise Unclear("MLmodel has no flavors, so MLflow did not write it")
        signature = whole.get("signature")
        texts = {} if signature is None or _is_nothing(signature) else _members(signature, "signature")
        return _schema(texts.get("inputs"), "inputs"), _schema(texts.get("outputs"), "outputs")
    except RecursionError:
        raise Unclear("MLmodel is nested too deep") from None


def _root(raw: bytes) -> yaml.Node:
    try:
        root = root_of(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Unclear(f"MLmodel is not UTF-8: invalid byte at offset {error.start}") from None
    except yaml.YAMLError:
        raise Unclear("MLmodel is not YAML") from None
    if root is None:
        raise Unclear("MLmodel is empty")
    return root


def _members(node: yaml.Node, what: str) -> Mapping[str, yaml.Node]:
    """The nodes of a mapping by their keys."""
    if not isinstance(node, yaml.MappingNode) or node.tag != f"{_TAG}map":
        raise Unclear(f"MLmodel: {what} is not a mapping")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else ""
        if name in found or name == "<<":
            raise Unclear(f"MLmodel: {what} has the key {visible(name, 60)} twice, or takes keys from elsewhere")
        found[name] = value
    return found


def _is_nothing(node: yaml.Node) -> bool:
    """Whether YAML reads it as null: quoted, it would be a text."""
    return bool(node.tag == f"{_TAG}null")


def _schema(node: yaml.Node | None, what: str) -> Columns | None:
    if node is None or _is_nothing(node):
        return None
    if not isinstance(node, yaml.ScalarNode) or node.tag != f"{_TAG}str":
        raise Unclear(f"MLmodel: {what} of the signature is not text")
    try:
        columns = json.loads(node.value)
    except ValueError:
        raise Unclear(f"MLmodel: {what} of the signature is not JSON") from None
    if columns is None:
        return None
    if not isinstance(columns, list):
        raise Unclear(f"MLmodel: {what} of the signature is not a list")
    return tuple(_column(one, what) for one in columns)


def _column(spec: Any, what: str) -> Column:
    name = spec.get("name") if isinstance(spec, Mapping) else None
    # Columns of a table without names are numbered.
    named = str(name) if type(name) is int else "" if name is None else name
    if not isinstance(spec, Mapping) or not isinstance(named, str):
        raise Unclear(f"MLmodel: {what} of the signature has an invalid column")
    return Column(named, _type(spec, what), _is_optional(spec))


def _is_optional(spec: Mapping[str, Any]) -> bool:
    """`optional` is what MLflow wrote before `required`."""
    return spec.get("required") is False or spec.get("optional") is True


def _type(spec: Any, what: str, depth: int = 0) -> str:
    """The type as `reconciler.domain.evidence.signature_facts.Column` has it."""
    kind = spec.get("type") if isinstance(spec, Mapping) else None
    if depth > _DEEPEST:
        raise Unclear(f"MLmodel: {what} of the signature is nested deeper than {_DEEPEST} levels")
    if not isinstance(kind, str):
        raise Unclear(f"MLmodel: {what} of the signature has a column without a type")
    if kind == "tensor":
        return _tensor(spec.get("tensor-spec"), what)
    if kind == "array":
        return f"array({_type(spec.get('items'), what, depth + 1)})"
    if kind == "map":
        return f"map({_type(spec.get('values'), what, depth + 1)})"
    if kind == "object":
        return f"object({','.join(_properties(spec.get('properties'), what, depth + 1))})"
    return kind


def _properties(properties: Any, what: str, depth: int) -> list[str]:
    if not isinstance(properties, Mapping):
        raise Unclear(f"MLmodel: {what} of the signature has an object without properties")
    kinds = {name: _type(one, what, depth) for name, one in properties.items()}
    return [f"{name}{'?' if _is_optional(properties[name]) else ''}:{kind}" for name, kind in kinds.items()]


def _tensor(spec: Any, what: str) -> str:
    dtype, shape = (spec.get("dtype"), spec.get("shape")) if isinstance(spec, Mapping) else (None, None)
    if not isinstance(dtype, str) or not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise Unclear(f"MLmodel: {what} of the signature has a tensor without dtype and shape")
    return f"tensor({dtype})[{','.join(map(str, shape))}]"
