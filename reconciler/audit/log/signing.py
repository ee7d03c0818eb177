"""Ed25519 signatures of heads, as C2SP notes have them. Only who signs or checks one loads `cryptography`."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.domain.errors import ExitCode, ReconcilerError
from reconciler.domain.proofs.checkpoint import Head, Signature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ED25519 = b"\x01"
_GENERATE = "make one with `openssl genpkey -algorithm ed25519`"


class UnusableKey(ReconcilerError):
    """A key that cannot be used; the message never repeats it."""

    exit_code = ExitCode.MISCONFIGURED


def key_id(name: str, public: bytes) -> bytes:
    """What tells keys of one name apart."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


class UnusablePublicKey(UnusableKey):
    """As `UnusableKey`, of a key that was named on the command line."""

    exit_code = ExitCode.USAGE


class Signer:
    """Signs heads. The key's name is the origin of what it signs."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self._public = private.public_key().public_bytes_raw()

    @classmethod
    def of(cls, pem: str) -> Signer:
        """The signer of a private key as `openssl genpkey` writes it. Raises UnusableKey."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            private = load_pem_private_key(pem.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise UnusableKey(
                f"audit.signing_key: is not a private key in PEM without a password: {_GENERATE}"
            ) from None
        if not isinstance(private, Ed25519PrivateKey):
            raise UnusableKey(f"audit.signing_key: is not an Ed25519 key: {_GENERATE}")
        return cls(private)

    def signed(self, head: Head) -> Head:
        signature = Signature(head.origin, key_id(head.origin, self._public), self._private.sign(head.body.encode()))
        return Head(head.origin, head.size, head.root, head.more, (*head.signatures, signature))


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that somebody pinned. `name`: the only origin that it signs; "": any."""

    raw: bytes
    name: str = ""

    @classmethod
    def of(cls, text: str) -> PublicKey:
        """A public key in PEM, or as a C2SP verifier key: `NAME+ID+BASE64`. Raises UnusablePublicKey."""
        text = text.strip()
        return cls._of_pem(text) if text.startswith("-----BEGIN") else cls._of_note(text)

    @classmethod
    def _of_pem(cls, text: str) -> PublicKey:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key = load_pem_public_key(text.encode())
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            remedy = "write the public half of the daemon's key with `openssl pkey -pubout`"
            raise UnusablePublicKey(f"--key: is not an Ed25519 public key: {remedy}")
        return cls(key.public_bytes_raw())

    @classmethod
    def _of_note(cls, text: str) -> PublicKey:
        name, id, encoded = [*text.split("+", 2), "", ""][:3]
        try:
            content = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            content = b""
        if len(content) != 33 or content[:1] != _ED25519 or key_id(name, content[1:]).hex() != id:
            raise UnusablePublicKey("--key: is neither a public key in PEM nor a verifier key such as NAME+ID+BASE64")
        return cls(content[1:], name)

    def claims(self, head: Head) -> bool:
        """Whether a head has a signature that names this key, right or wrong."""
        return bool(self._mine(head))

    def signed(self, head: Head) -> bool:
        """Whether a head has signatures of this key, all of them right."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        mine = self._mine(head)
        try:
            for signature in mine:
                Ed25519PublicKey.from_public_bytes(self.raw).verify(signature.content, head.body.encode())
        except InvalidSignature:
            return False
        return bool(mine)

    def _mine(self, head: Head) -> list[Signature]:
        if self.name not in {"", head.origin}:
            return []
        named = (head.origin, key_id(head.origin, self.raw))
        return [signature for signature in head.signatures if (signature.name, signature.key_id) == named]
