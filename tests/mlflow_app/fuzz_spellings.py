"""Ways to write the same call: spellings of a field, names of fields, forms of a body."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

Fields = dict[str, Any]
# Query string, headers, body.
Form = tuple[str, dict[str, str], bytes]

_JSON = "application/json"


def spelled(chance: random.Random, fields: Mapping[str, Any]) -> Fields:
    """The same call in another spelling, as far as MLflow may accept it."""
    result = {name: _value(chance, name, value) for name, value in fields.items()}
    for often, turn in _TURNS:
        if chance.random() < often:
            result = turn(chance, result)
    return result


def formed(chance: random.Random, fields: Fields) -> Form:
    """One of the ways in which a call can be sent."""
    weights = [weight for weight, _ in _FORMS]
    (form,) = chance.choices([form for _, form in _FORMS], weights)
    return form(fields)


def plainly(fields: Fields) -> Form:
    return "", {"Content-Type": _JSON}, _json(fields)


def path_spelled(chance: random.Random, path: str) -> str:
    """The path of an artifact, quoted: some spellings vary the quoting."""
    if chance.random() < 0.5:
        return quote(path)
    return chance.choice(_PATHS)(path)


# --- values --------------------------------------------------------------------------------------------------


def _version(version: str) -> list[Any]:
    return [
        f" {version}", f"{version} ", f"+{version}", f"0_{version}", f"{version}\n", f"\u00a0{version}", f"0{version}",
        f"00{version}", f"\t{version}", f"{version}.0", f"-{version}",
        chr(0x0660 + int(version)), chr(0xFF10 + int(version)),
        int(version), float(version), "²", f"{version}\u0000", f"\u2003{version}", [version], True, None, 2**70,
    ]  # fmt: skip


def _word(word: str) -> list[Any]:
    return [
        word.lower(), word.upper(), word.title(), word.swapcase(), f"{word} ", f" {word}", f"{word}\n", f"{word}\u0000",
        f"{word}\u00a0", f"\ufeff{word}", word.replace("a", "\u0430"), word.replace("i", "\u0131"),
        word.replace("e", "\u00e9"), f"{word}\u200b", [word], None, "",
    ]  # fmt: skip


def _name(name: str) -> list[Any]:
    return [name.upper(), name.title(), f"{name} ", f" {name}", f"{name}\u0000", f"{name}\ud800", f"./{name}", 7, None]


def _tags(tags: list[Fields]) -> list[Any]:
    """Tags of what is created, one of them spelled anyhow, and a list that names one twice."""
    *others, last = tags
    return [
        *([*others, last | {"key": key}] for key in _word(last["key"])),
        [*tags, last],
        [last | {"value": ""}, *tags],
    ]


def _are_keyed(tags: Any) -> bool:
    return (
        isinstance(tags, list)
        and bool(tags)
        and all(isinstance(tag, dict) and isinstance(tag.get("key"), str) for tag in tags)
    )


def _flag(flag: bool) -> list[Any]:
    return [str(flag).lower(), str(flag), int(flag), "1", "yes", [flag], None]


def _text(text: str) -> list[Any]:
    return [f"{text}\ud800", f"{text}\u0000", f"{text}\u202e", f"{text} ", text * 500, 7, None]


_SPELLINGS: dict[str, tuple[float, Callable[[Any], list[Any]]]] = {
    "version": (0.45, _version),
    "stage": (0.35, _word),
    "alias": (0.35, _word),
    "key": (0.2, _word),
    "name": (0.06, _name),
    "new_name": (0.1, _name),
    "archive_existing_versions": (0.3, _flag),
    "comment": (0.4, _text),
    "value": (0.1, _text),
    "tags": (0.2, _tags),
}


def _value(chance: random.Random, name: str, value: Any) -> Any:
    often, spellings = _SPELLINGS.get(name, (0.0, _text))
    plain = isinstance(value, str | bool) and (name != "version" or str(value).isdecimal())
    if name == "tags":
        plain = _are_keyed(value)
    return chance.choice(spellings(value)) if plain and chance.random() < often else value


# --- names of fields -----------------------------------------------------------------------------------------


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def _camel_case(chance: random.Random, fields: Fields) -> Fields:
    return {_camel(name): value for name, value in fields.items()}


def _both_cases(chance: random.Random, fields: Fields) -> Fields:
    more = {_camel(name): value for name, value in fields.items() if "_" in name}
    if isinstance(fields.get("archive_existing_versions"), bool):
        more["archiveExistingVersions"] = not fields["archive_existing_versions"]
    return fields | more


def _unknown_field(chance: random.Random, fields: Fields) -> Fields:
    return fields | {chance.choice(["unknown", "Version", "NAME", "workspace", "user_id", "request_id"]): "1"}


def _one_less(chance: random.Random, fields: Fields) -> Fields:
    left_out = chance.choice(sorted(fields)) if fields else ""
    return {name: value for name, value in fields.items() if name != left_out}


def _old_run_name(chance: random.Random, fields: Fields) -> Fields:
    return {"run_uuid" if name == "run_id" else name: value for name, value in fields.items()}


_TURNS: list[tuple[float, Callable[[random.Random, Fields], Fields]]] = [
    (0.06, _camel_case),
    (0.06, _both_cases),
    (0.06, _unknown_field),
    (0.04, _one_less),
    (0.2, _old_run_name),
]


# --- forms ---------------------------------------------------------------------------------------------------


def _json(fields: Fields) -> bytes:
    return json.dumps(fields).encode()


def _words(fields: Fields) -> dict[str, str]:
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return {name: text.encode("utf-8", "replace").decode() for name, text in texts.items()}


def _multipart(fields: Fields) -> Form:
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in _words(fields).items()
    ]
    body = ("".join(parts) + "--edge--\r\n").encode()
    return "", {"Content-Type": "multipart/form-data; boundary=edge"}, body


def _half(fields: Fields) -> Form:
    names = sorted(fields)
    in_body = {name: fields[name] for name in names[::2]}
    in_query = {name: fields[name] for name in names[1::2]}
    return urlencode(_words(in_query)), {"Content-Type": _JSON}, _json(in_body)


def _in_query(fields: Fields) -> Form:
    return urlencode(_words(fields)), {}, b""


def _as(content_type: str, encode: Callable[[Fields], bytes] = _json) -> Callable[[Fields], Form]:
    headers = {"Content-Type": content_type} if content_type else {}
    return lambda fields: ("", headers, encode(fields))


def _twice(fields: Fields) -> bytes:
    return json.dumps(json.dumps(fields)).encode()


def _twice_named(fields: Fields) -> bytes:
    """A JSON object that has each field twice; parsers keep the last."""
    pairs = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
    return ("{" + ", ".join([f"{json.dumps(name)}: null" for name in fields] + pairs) + "}").encode()


_FORMS: list[tuple[int, Callable[[Fields], Form]]] = [
    (56, _as(_JSON)),
    (5, _as(f"{_JSON}; charset=utf-8")),
    (2, _as("application/vnd.api+json")),
    (6, _as(_JSON, _twice)),
    (3, _as(_JSON, _twice_named)),
    (5, _as("text/plain")),
    (4, _as("application/x-www-form-urlencoded")),
    (4, _as("application/x-www-form-urlencoded", lambda fields: urlencode(_words(fields)).encode())),
    (4, _as("")),
    (3, _multipart),
    (6, _in_query),
    (4, _half),
    (1, _as(_JSON, lambda fields: b"[" + _json(fields) + b"]")),
    (1, _as(_JSON, lambda fields: b"\xef\xbb\xbf" + _json(fields))),
    (1, _as(_JSON, lambda fields: json.dumps(fields).encode("utf-16"))),
    (1, _as(_JSON, lambda fields: _json(fields)[:-1])),
]


# --- paths ---------------------------------------------------------------------------------------------------


def _deep(path: str) -> str:
    head, _, tail = path.rpartition("/")
    return f"{quote(head)}/not-there/../{quote(tail)}"


_PATHS: list[Callable[[str], str]] = [
    lambda path: quote(path).replace("/", "//"),
    lambda path: "./" + quote(path),
    lambda path: quote(path).replace("/", "/./"),
    lambda path: quote(path).replace("/", "/%2e/"),
    lambda path: quote(path, safe=""),
    lambda path: quote(path, safe="").replace("%2F", "%252F"),
    lambda path: quote(path) + "/",
    lambda path: quote(path) + "/.",
    lambda path: quote(path) + "%20",
    lambda path: quote(path) + "%00",
    lambda path: quote(path).replace("/", "%5C"),
    lambda path: "workspaces/default/" + quote(path),
    lambda path: "workspaces/team-a/" + quote(path),
    lambda path: quote(path).upper(),
    lambda path: "%2F" + quote(path),
    lambda path: "x/../" + quote(path),
    lambda path: "".join(f"%{ord(letter):02x}" if letter.isalpha() else letter for letter in path),
    _deep,
]
