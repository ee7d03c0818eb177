"""The verifier's own Ed25519 and its reading of heads: the vectors of RFC 8032, and the opinion of `cryptography`."""

from __future__ import annotations

import base64
import os
import random
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from reconciler.audit.log.signing import PublicKey, Signer, UnusablePublicKey, key_id
from reconciler.domain.proofs.checkpoint import Head, heads_in
from tests.history import key_pair
from tests.verifier import VERIFIER, Differs

# RFC 8032, section 7.1: public key, message, signature.
VECTORS = [
    ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
     "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
     "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
     "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
]  # fmt: skip
HEAD = Head.of("mlflow-reconciler/0011223344556677", 12, b"r" * 32, 1, "2026-11-24T09:28:30.123Z")


@pytest.mark.parametrize(("public", "message", "signature"), VECTORS)
def test_the_vectors_of_rfc_8032_are_accepted_and_no_neighbour_of_them_is(
    public: str, message: str, signature: str
) -> None:
    key, said, signed = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert VERIFIER.ed25519(key, signed, said)
    assert not VERIFIER.ed25519(key, signed, said + b"x")
    assert not VERIFIER.ed25519(key, signed[:-1], said)
    # The same signature with another number for the same scalar.
    larger = int.from_bytes(signed[32:], "little") + VERIFIER.Q
    assert not VERIFIER.ed25519(key, signed[:32] + larger.to_bytes(32, "little"), said)
    chance = random.Random(7)
    for at in chance.sample(range(64), 8):
        changed = signed[:at] + bytes([signed[at] ^ (1 << chance.randrange(8))]) + signed[at + 1 :]
        assert not VERIFIER.ed25519(key, changed, said)


def test_it_agrees_with_cryptography() -> None:
    for length in (0, 1, 64, 300):
        private, said = Ed25519PrivateKey.generate(), os.urandom(length)
        assert VERIFIER.ed25519(private.public_key().public_bytes_raw(), private.sign(said), said)
        assert not VERIFIER.ed25519(
            Ed25519PrivateKey.generate().public_key().public_bytes_raw(), private.sign(said), said
        )


def test_both_read_the_same_heads_and_keys(tmp_path: Path) -> None:
    pem, public = key_pair(tmp_path)
    signed = Signer.of(pem).signed(HEAD)
    raw = PublicKey.of(public.read_text()).raw
    named = f"{HEAD.origin}+{key_id(HEAD.origin, raw).hex()}+{base64.b64encode(bytes([1]) + raw).decode()}"
    for text in (public.read_text(), named):
        assert PublicKey.of(text).signed(signed)
        assert not PublicKey.of(text).signed(HEAD)
        [head], torn = VERIFIER.heads_in(signed.note)
        assert (VERIFIER.signed(head, VERIFIER.public_key(text)), torn) == (True, 0)
    other = named.replace("0011223344556677", "8811223344556677")
    with pytest.raises(UnusablePublicKey):
        PublicKey.of(other)
    with pytest.raises(VERIFIER.Unusable):
        VERIFIER.public_key(other)
    [forged], _ = VERIFIER.heads_in(signed.note.replace("\n12\n", "\n13\n"))
    with pytest.raises(Differs, match="the signature is wrong"):
        VERIFIER.signed(forged, VERIFIER.public_key(named))


@pytest.mark.parametrize(
    ("text", "heads", "torn"),
    [
        ("", 0, 0),
        (HEAD.note, 1, 0),
        (HEAD.note + "\n" + HEAD.note + "\n", 2, 0),
        (HEAD.note + "\n\n\n\n" + HEAD.note, 2, 0),
        (HEAD.note[:-20], 1, 0),  # a cut extension line is a head all the same: its root is whole
        (HEAD.note[:60], 0, 1),
        (HEAD.note.replace("\n12\n", "\n012\n"), 0, 1),
        (HEAD.note.replace("\n12\n", "\n-12\n"), 0, 1),
        (HEAD.note.replace("\n12\n", "\n\N{ARABIC-INDIC DIGIT ONE}\n"), 0, 1),
        (HEAD.note.replace("\n12\n", "\n0\n"), 0, 1),
        ("\N{EM DASH} name AAAAAAAA\n", 0, 1),
        (HEAD.note + "\n\N{EM DASH} name no-base64\n", 1, 1),
        (HEAD.note.replace("cnI=", "cnJ="), 0, 1),  # another text for the same bytes
    ],
)
def test_what_is_a_head_and_what_is_torn(text: str, heads: int, torn: int) -> None:
    found = heads_in(text)
    assert (len(found.heads), found.torn) == (heads, torn)
    theirs, their_torn = VERIFIER.heads_in(text)
    assert [(head.origin, head.size, head.root, head.body) for head in theirs] == [
        (head.origin, head.size, head.root, head.body) for head in found.heads
    ]
    assert their_torn == torn
