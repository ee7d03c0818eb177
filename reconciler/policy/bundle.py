"""One text that holds all files of a policy: the audit keeps it, and its digest is the policy's.

A policy of one file is its own text. Of several files the text is a line that says how many, and for each of them a
line with its name and size in bytes, its bytes, and a line feed: the policy itself first, then what it includes, in the
order in which it is named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_FIRST = re.compile(rb"# mlflow-reconciler policy of ([1-9][0-9]{0,3}) files\n")
_EACH = re.compile(rb"# file ([1-9][0-9]{0,3}): ([^\n\r]{0,4000}), ([0-9]{1,8}) bytes\n")
# What stands for the name of the policy itself, which may lie anywhere.
ITSELF = "the policy"


class Part(NamedTuple):
    """A file of a policy. `label`: its path from the policy's folder, with /; "" for the policy itself."""

    label: str
    text: str


class Damaged(ValueError):
    """The text begins as one of several files, and is not."""


def bundled(parts: Sequence[Part]) -> str:
    """The text that is kept: of one file its own, else one that holds all."""
    if len(parts) == 1:
        return parts[0].text
    lines = [f"# mlflow-reconciler policy of {len(parts)} files\n"]
    for number, part in enumerate(parts, 1):
        size = len(part.text.encode())
        lines.append(f"# file {number}: {part.label or ITSELF}, {size} bytes\n{part.text}\n")
    return "".join(lines)


def parts_of(text: str) -> list[Part]:
    """The inverse of `bundled`.

    Raises:
        Damaged: it begins as a text of several files, and is not exactly what `bundled` makes.
    """
    raw = text.encode("utf-8", "surrogatepass")
    first = _FIRST.match(raw)
    if first is None:
        return [Part("", text)]
    parts: list[Part] = []
    at = first.end()
    while at < len(raw):
        each = _EACH.match(raw, at)
        if each is None:
            raise Damaged(f"byte {at}: here a line must begin with `# file {len(parts) + 1}: `")
        end = each.end() + int(each.group(3))
        name = each.group(2).decode("utf-8", "replace")
        parts.append(Part("" if name == ITSELF else name, raw[each.end() : end].decode("utf-8", "replace")))
        at = end + 1
    labels = [part.label for part in parts]
    if len(parts) < 2 or labels[0] or "" in labels[1:] or len(set(labels)) < len(labels) or bundled(parts) != text:
        raise Damaged("not the text that this product writes for a policy of several files")
    return parts
