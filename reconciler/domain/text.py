"""The one boundary between text that strangers wrote and everything that shows or stores it.

Stock MLflow accepts NUL, newlines, ESC and bidirectional overrides in names, tags and comments. PostgreSQL
refuses NUL, terminals obey ESC, a newline forges a second log line. The policy sees raw text; audit columns,
logs, registry comments and reports see `visible` text.
"""

from __future__ import annotations

import hashlib
import shlex
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import urlsplit

NAME_LIMIT = 256
TEXT_LIMIT = 4096

# Formatting characters that reorder or hide what is beside them (bidi controls, zero-width, BOM, tags).
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str, limit: int = TEXT_LIMIT) -> str:
    """`text` on one line, with every control, bidi and surrogate character escaped, at most `limit` long.

    Idempotent. A backslash stays a backslash, so the result is for reading; where the exact text matters the
    raw value is stored as JSON beside it.
    """
    # Most texts are plain, and need no look at each character.
    if text.isascii() and text.isprintable():
        return text if len(text) <= limit else text[: limit - 1] + "…"
    return _escaped(text, limit)


def _escaped(text: str, limit: int) -> str:
    shown = "".join(_escape(character) for character in text[: limit + 1])
    return shown if len(text) <= limit and len(shown) <= limit else shown[: limit - 1] + "…"


def _escape(character: str) -> str:
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    if unicodedata.category(character) in _HIDDEN_CATEGORIES:
        code = ord(character)
        return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
    return character


def quoted(name: str) -> str:
    """A visible name in quotes, with its escapes as they are: `repr` would double their backslashes."""
    return f"'{visible_name(name)}'"


def visible_name(name: str) -> str:
    """A model name, version, tag key or person, as it may be shown and stored."""
    return visible(name, NAME_LIMIT)


def cut_at_word(text: str, limit_bytes: int, note: str = " […]") -> str:
    """`text` in at most `limit_bytes` UTF-8 bytes, cut between words, with `note` where something is missing."""
    if len(text.encode("utf-8", "replace")) <= limit_bytes:
        return text
    room = limit_bytes - len(note.encode())
    kept = text.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
    at_word, _, rest = kept.rpartition(" ")
    return (at_word if at_word and len(rest) < 80 else kept) + note


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 rule`, `2 rules`, `0 rules`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def number_text(number: float) -> str:
    """The number as people write it: `0.9`, `1e+06`; with all its digits where fewer would be another number."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number).removesuffix(".0")


def number_beside(number: float, limit: float | None) -> str:
    """A computed number in six digits, unless these would be on the other side of the limit."""
    short = f"{number:.6g}"
    tells = limit is None or [number < limit, number > limit] == [float(short) < limit, float(short) > limit]
    return short if tells else number_text(number)


def named_place(registry: str, workspace: str) -> str:
    """A registry, and the workspace where it has several."""
    return registry + (f", workspace {workspace}" if workspace else "")


def command_line(command: str, *names: str) -> str:
    """One of our commands as a person may paste it into bash; names are quoted, and visible."""
    # A name such as -rf would be taken for an option.
    ends_options = ["--"] if any(name.startswith("-") for name in names) else []
    return " ".join(["mlflow-reconciler", command, *ends_options, *map(_shell_word, names)])


def _shell_word(name: str) -> str:
    """`fraud`, `'two words'`, or `$'two\\nlines'`, which bash reads as the name itself."""
    if len(name) > NAME_LIMIT or visible(name, len(name)) == name:
        return shlex.quote(visible_name(name))
    quoted = (f"\\{character}" if character in "\\'" else _escape(character) for character in name)
    return f"$'{''.join(quoted)}'"


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """A registry text as evidence: the first 4,096 characters, and what proves the rest. `length` is in characters."""

    head: str
    length: int
    _sha256: str = ""

    @classmethod
    def of(cls, raw: str) -> Text:
        if len(raw) <= TEXT_LIMIT:
            return cls(raw, len(raw))
        return cls(raw[:TEXT_LIMIT], len(raw), _sha256_of(raw))

    @classmethod
    def stored(cls, head: str, length: int, sha256: str) -> Text:
        """As it was kept in evidence."""
        return cls(head, length, sha256)

    def to_data(self) -> dict[str, str | int]:
        """The inverse of `stored`."""
        return {"head": self.head, "length": self.length, "sha256": self.sha256}

    @property
    def sha256(self) -> str:
        """Over the UTF-8 bytes of the whole text (lone surrogates replaced)."""
        # Of thousands of texts that a list shows hardly any is asked for its hash.
        return self._sha256 or _sha256_of(self.head)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash((self.head, self.length, "" if self.whole else self._sha256))

    @property
    def _identity(self) -> tuple[str, int, str]:
        return self.head, self.length, self.sha256

    @property
    def whole(self) -> bool:
        return self.length <= TEXT_LIMIT


# Letters that show nothing: those with Unicode's Default_Ignorable (Hangul fillers), and blanks among hieroglyphs. What
# else shows nothing, such as U+200B, U+00AD or U+2800, is neither a letter nor a digit.
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\U00013441\U00013442")


def letters_and_digits(text: Text) -> int:
    """How many the text shows, as far as it is kept."""
    return sum(character.isalnum() and character not in _BLANK_LETTERS for character in text.head)


def counted_letters(count: int) -> str:
    return "1 letter or digit" if count == 1 else f"{count} letters and digits"


def is_address(text: str, *schemes: str) -> bool:
    """Whether it is an address of the web that a browser would open; `schemes`: http and https without any."""
    try:
        parts = urlsplit(text)
        # To read a port that is none raises, too.
        host, _ = parts.hostname or "", parts.port
        is_host = _is_ipv6(host) if ":" in host else _may_be_name_or_ipv4(host)
    except ValueError:
        return False
    allowed = schemes or ("http", "https")
    return parts.scheme in allowed and is_host and text.isprintable() and " " not in text


def _is_ipv6(host: str) -> bool:
    """Raises ValueError where it is none."""
    return bool(IPv6Address(host))


def _may_be_name_or_ipv4(host: str) -> bool:
    """Whether there may be a host of this name or number; nobody is asked."""
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdecimal():
        return len(labels) == 4 and all(label.isascii() and label.isdecimal() and int(label) < 256 for label in labels)
    return len(host) < 255 and all(map(_may_be_label, labels))


def _may_be_label(label: str) -> bool:
    """Letters and digits of any script, with - and _ within: names of a company's own network have both."""
    fits = all(character in "-_" or unicodedata.category(character)[0] in "LMN" for character in label)
    return fits and len(label) < 64 and any(map(str.isalnum, label)) and label[0] != "-" and label[-1] != "-"


def _sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
