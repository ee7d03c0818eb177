"""What a YAML text says otherwise than it reads: numbers of another base, and characters that no editor shows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

import yaml

from reconciler.domain.text import visible
from reconciler.policy.problems import Problem

_NUMBERS: Final = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
# As people read them. YAML 1.1 also has 010, which is 8, 0x10, 0b10, 1_0, and 1:30, which is 90.
_PLAIN = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|nan)", re.IGNORECASE)
# What begins a new line for YAML and for few editors, what turns the order of letters, and what shows nothing.
_HIDDEN = re.compile("\r(?!\n)|[\x85\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e"
                     "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]")  # fmt: skip
# Between letters of some scripts, and within emoji, they are spelling.
_JOINERS: Final = "\u200c\u200d"
_MOST_TOLD: Final = 20


def misread(node: yaml.ScalarNode, value: Any) -> str:
    """What is wrong with a number that people read as another one, or not as a number; "" where nothing is."""
    if node.tag not in _NUMBERS or _PLAIN.fullmatch(node.value):
        return ""
    return f"{visible(node.value, 60)} is read as {value!r}: write that, or put it in quotes where it is a text"


def hidden_characters(text: str) -> Iterator[Problem]:
    """Where the text has characters that hide what it says."""
    if text.isascii() and "\r" not in text:
        return
    found = (match for match in _HIDDEN.finditer(text, text.startswith("\ufeff")) if not _is_spelling(text, match))
    for match, _ in zip(found, range(_MOST_TOLD), strict=False):
        at = match.start()
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        character = visible(match.group())
        what = "a line that ends in \\r alone" if character == "\\r" else f"the invisible character {character}"
        yield Problem(line, column, "", f"{what} makes it say something else than it shows: remove it")


def _is_spelling(text: str, match: re.Match[str]) -> bool:
    beside = text[max(match.start() - 1, 0)] + text[min(match.end(), len(text) - 1)]
    return match.group() in _JOINERS and not any(character.isascii() for character in beside)


def mixed_words(text: str) -> Iterator[str]:
    """Words that have Latin letters, and letters of another script that look like them."""
    if text.isascii():
        return
    for word in re.findall(r"\w+", text):
        others = [letter for letter in word if _script(letter) in {"CYRILLIC", "GREEK", "CHEROKEE", "ARMENIAN"}]
        if others and any(_script(letter) == "LATIN" for letter in word):
            yield f"{visible(word, 60)} mixes Latin letters with {unicodedata.name(others[0])} (U+{ord(others[0]):04X})"


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]
