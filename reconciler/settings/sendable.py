"""What can be sent to a server: the rules of HTTP headers, told without the value."""

from __future__ import annotations


def in_a_header(value: str) -> str:
    """`value`, which a header can carry. Raises ValueError, which does not repeat it."""
    for position, character in enumerate(value, 1):
        if ord(character) > 0xFF or not (character.isprintable() or character in "\t\xa0\xad"):
            found = "a line break" if character in "\r\n" else "a character"
            raise ValueError(f"cannot be sent: {found} at position {position} is not allowed in an HTTP header")
    return value


def as_utf8(value: str) -> str:
    """`value`, which is text throughout. Raises ValueError, which does not repeat it."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"cannot be sent: the character at position {error.start + 1} is not UTF-8") from None
    return value
