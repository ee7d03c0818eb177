"""When two names are one person's: the rights of a name are narrow, and the refusal of one's own request is wide."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pytest

from reconciler.mlflow_app.identity import Identity
from reconciler.mlflow_app.login import Caller, Login, load_login
from reconciler.mlflow_app.names import LONGEST_NAME, is_name
from reconciler.mlflow_app.options import Options, read_options
from tests.mlflow_app.logins import proxied

# Unicode's Default_Ignorable_Code_Point without what is in no use: nothing is drawn for them.
IGNORABLE = [
    0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x2010),
    *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x3164, *range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0,
    *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE0080), *range(0xE0100, 0xE01F0),
]  # fmt: skip


@pytest.fixture
def login(tmp_path: Path) -> Login:
    variables = proxied(tmp_path)
    made = load_login(read_options(variables), variables)
    assert made is not None
    return made


def test_no_name_has_a_character_that_is_not_drawn() -> None:
    assert [hex(code) for code in [*IGNORABLE, 0x2800] if is_name(f"mia{chr(code)}")] == []


def test_no_name_has_a_control_or_a_blank_but_the_plain_one() -> None:
    passed = [chr(code) for code in range(sys.maxunicode + 1) if is_name(f"m{chr(code)}a")]
    assert [char for char in passed if unicodedata.category(char)[0] in "CZ"] == [" "]
    assert "," not in passed


def test_a_name_is_not_blank_or_padded_or_endless() -> None:
    assert not any(is_name(name) for name in ("", " ", " mia", "mia ", "mia\n", "m" * (LONGEST_NAME + 1)))
    assert is_name("m" * LONGEST_NAME)
    assert is_name("José de la Cruz+ml@example.com")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("mia@example.com", "MIA@Example.com"),
        ("jos\u00e9", "jose\u0301"),
        ("jos\u00e9", "jose"),
        ("\u0130lker", "ilker"),
        ("\u0131lker", "ILKER"),
        ("stra\u00dfe", "STRASSE"),
        ("\u03c3\u03c2", "\u03a3\u03a3"),
        ("\ufb01n", "fin"),
        ("\uff4dia", "mia"),
        ("\u212aate", "kate"),
        ("mia root", "mia  root"),
        ("mia", "mia\ufe0f"),
    ],
    ids=ascii,
)
def test_nobody_approves_their_own_request_by_a_spelling_that_something_folds(
    login: Login, name: str, other: str
) -> None:
    assert login.may_be_same(name, other)
    assert login.may_be_same(other, name)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("\u212aate", "kate"),
        ("jos\u00e9", "jose"),
        ("\u0131lker", "ilker"),
        ("jos\u00e9", "JOS\u00c9"),
        ("ro\u043et", "root"),
        ("mia+x@example.com", "mia@example.com"),
    ],
    ids=ascii,
)
def test_rights_go_to_no_name_that_only_looks_alike(login: Login, name: str, other: str) -> None:
    assert not login.is_same(name, other)
    identity = Identity(Options(frozenset(), "header", approvers=frozenset([other])), login)
    assert not identity.may_approve(Caller(name), "m")
    assert identity.may_approve(Caller(other), "m")


@pytest.mark.parametrize(
    ("name", "other"),
    [("mia+x@example.com", "mia@example.com"), ("mia", "mia.b"), ("\u0915\u093f", "\u0915\u0941"), ("ada", "adam")],
    ids=ascii,
)
def test_two_people_may_decide_about_one_another(login: Login, name: str, other: str) -> None:
    assert not login.may_be_same(name, other)
