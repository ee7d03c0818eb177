"""Names of people: which text is one, and when two of them are one person's.

A name comes from a login and ends in decisions, logs and tags: two that look the same must not be two people.
"""

from __future__ import annotations

import string
import unicodedata
from typing import Final

LONGEST_NAME: Final = 256

_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
# Shown as nothing, or as a blank, and yet printable to Python: joiners, fillers, variation selectors.
_INVISIBLE: Final = frozenset(
    map(
        chr,
        (
            0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0,
            *range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0),
        ),
    )
)  # fmt: skip
# Canonical classes from here on are marks above and below a letter, such as accents; below it are parts of a script.
_FIRST_ACCENT: Final = 200


def is_name(text: str) -> bool:
    """Whether a proxy may name somebody so: a comma is how servers join headers that were sent twice."""
    return (
        bool(text)
        and text == text.strip()
        and len(text) <= LONGEST_NAME
        and "," not in text
        and text.isprintable()
        and not _INVISIBLE.intersection(text)
    )


def same_but_for_case(name: str, other: str) -> bool:
    """Without regard to the case of ASCII letters: with Unicode's, the sign for kelvin would be a k."""
    return name.translate(_LOWER) == other.translate(_LOWER)


def folded(name: str) -> str:
    """What spellings that somebody might take for one another have in common.

    Databases and providers fold names in many ways (accents, the dotless i, ligatures, blanks); this is all of them.
    """
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).upper().casefold())
    kept = (mark for mark in decomposed if unicodedata.combining(mark) < _FIRST_ACCENT and mark not in _INVISIBLE)
    return "".join("".join(kept).split())
