"""Heads of the log as C2SP checkpoints: what one tree looked like at one size, in a form that can be kept anywhere.

The lines are the origin, the size and the root; then extension lines of ours, `epoch N` and `time …`. A signed one is a
C2SP note: a blank line and signatures follow. In a file, a blank line ends each head.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

# Before it a line may have what journalctl or our own lines begin with, and nothing that a stranger can name.
_BEGINS = r"(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8} \S+ [^\s\[\]]+\[\d+\]: )?(?:\d\S+Z INFO )?"
# Begins the line of a log that holds a head, with its line breaks written as \n.
LOGGED: Final = "log head: "
_LOGGED = re.compile(rf"^{_BEGINS}{LOGGED}(\S.*?)(?: \[cycle [0-9a-f]+\])?$", re.MULTILINE)
_BREAKS = re.compile(r"\n{2,}")
_SIGNATURE = "\u2014 "
_SIZE = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_EPOCH = re.compile(r"^epoch ([1-9][0-9]{0,8})$", re.ASCII | re.MULTILINE)
_TIME = re.compile(r"^time (.+)$", re.MULTILINE)
# How many characters of the hash of the first entry name a log.
_NAME_LENGTH = 16


def origin_of(first_leaf: bytes) -> str:
    """The name of a log: its first entry names it, so that nobody has to."""
    return f"mlflow-reconciler/{first_leaf.hex()[:_NAME_LENGTH]}"


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature line of a note: the name of a key, four bytes that tell keys of one name apart, the signature."""

    name: str
    key_id: bytes
    content: bytes

    def line(self) -> str:
        return f"{_SIGNATURE}{self.name} {base64.b64encode(self.key_id + self.content).decode()}\n"


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a log. `more`: the extension lines, each ended."""

    origin: str
    size: int
    root: bytes
    more: str = ""
    signatures: tuple[Signature, ...] = ()

    @classmethod
    def of(cls, origin: str, size: int, root: bytes, epoch: int, time: str) -> Head:
        return cls(origin, size, root, f"epoch {epoch}\ntime {time}\n")

    @property
    def body(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n{self.more}"

    @property
    def note(self) -> str:
        signatures = "".join(signature.line() for signature in self.signatures)
        return self.body + (f"\n{signatures}" if signatures else "")

    @property
    def epoch(self) -> int:
        found = _EPOCH.search(self.more)
        return int(found.group(1)) if found else 1

    @property
    def time(self) -> str:
        """When it was taken, by the database's clock; "" where it does not say."""
        found = _TIME.search(self.more)
        return found.group(1) if found else ""


@dataclass(frozen=True, slots=True)
class Heads:
    """What a file of heads holds, in its order. `torn`: how many parts of it are no head."""

    heads: tuple[Head, ...]
    torn: int


def heads_in(text: str) -> Heads:
    """The heads in a text: a file of them, one note, or the lines of a log."""
    heads: list[Head] = []
    torn = 0
    text = _LOGGED.sub(lambda line: "\n" + line.group(1).replace("\\n", "\n") + "\n", text)
    signable = False
    for block in _BREAKS.split(text.strip("\n")):
        if block.startswith(_SIGNATURE):
            signatures = _signatures(block)
            if signable and signatures:
                heads[-1] = Head(*_parts(heads[-1]), signatures)
            else:
                torn += 1
            signable = False
            continue
        head = _head(block)
        signable = head is not None
        if head is not None:
            heads.append(head)
        else:
            torn += bool(block)
    return Heads(tuple(heads), torn)


def _parts(head: Head) -> tuple[str, int, bytes, str]:
    return head.origin, head.size, head.root, head.more


def _head(block: str) -> Head | None:
    origin, *lines = block.split("\n")
    if len(lines) < 2 or not origin or not _SIZE.fullmatch(lines[0]):
        return None
    root = _decoded(lines[1])
    if root is None or len(root) != 32:
        return None
    return Head(origin, int(lines[0]), root, "".join(f"{line}\n" for line in lines[2:]))


def _signatures(block: str) -> tuple[Signature, ...]:
    """The signatures of a block of lines; none where a line is no signature."""
    found = []
    for line in block.split("\n"):
        name, _, encoded = line.removeprefix(_SIGNATURE).partition(" ")
        content = _decoded(encoded)
        if not line.startswith(_SIGNATURE) or not name or content is None or len(content) < 5:
            return ()
        found.append(Signature(name, content[:4], content[4:]))
    return tuple(found)


def _decoded(text: str) -> bytes | None:
    """None where it is no Base64, or not written as it would be: a changed character must change what it says."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if base64.b64encode(content).decode() == text else None
