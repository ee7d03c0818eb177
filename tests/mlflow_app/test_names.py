"""Which names are one person's: rights go by one comparison of names, and what is refused to oneself by a wider one."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.mlflow_app.identity import Identity
from reconciler.mlflow_app.login import Caller, Level, load_login
from reconciler.mlflow_app.options import read_options
from tests.mlflow_app.logins import proxied

KELVIN = "\N{KELVIN SIGN}ate@example.com"


def behind_a_proxy(directory: Path, **more: str) -> Identity:
    variables = proxied(directory) | {f"TRANSITION_REQUESTS_{name}": value for name, value in more.items()}
    options = read_options(variables)
    return Identity(options, load_login(options, variables))


@pytest.mark.parametrize(
    ("name", "may"),
    [
        ("kate@example.com", True),
        ("KATE@Example.COM", True),
        (KELVIN, False),
        ("kate@example.com.", False),
        ("kate@example", False),
        ("", False),
    ],
)
def test_an_approver_is_one_whatever_the_case_of_ascii_letters(tmp_path: Path, name: str, may: bool) -> None:
    identity = behind_a_proxy(tmp_path, APPROVERS="kate@example.com")
    assert identity.may_approve(Caller(name), "fraud") is may
    assert identity.is_own("kate@example.com", Caller(name)) is may


@pytest.mark.parametrize("name", ["Kate@example.com", KELVIN, "\uff4bate@example.com"])
def test_nobody_approves_a_request_of_a_name_that_folds_to_theirs(tmp_path: Path, name: str) -> None:
    identity = behind_a_proxy(tmp_path)
    assert identity.approves_own("kate@example.com", Caller(name))
    assert identity.approves_own(name, Caller("kate@example.com"))
    assert not identity.approves_own("mia@example.com", Caller(name))


def test_without_approvers_administrators_approve_and_nobody_else(tmp_path: Path) -> None:
    identity = behind_a_proxy(tmp_path, APPROVERS="", APPROVER_GROUPS="")
    assert identity.may_approve(Caller("root@example.com", admin=True), "fraud")
    assert not identity.may_approve(Caller("mia@example.com", groups=frozenset({"approvers"})), "fraud")


def test_a_group_is_compared_as_it_is_written(tmp_path: Path) -> None:
    identity = behind_a_proxy(tmp_path, APPROVERS="")
    assert identity.may_approve(Caller("mia", groups=frozenset({"x", "approvers"})), "fraud")
    assert not identity.may_approve(Caller("mia", groups=frozenset({"Approvers", "approvers2"})), "fraud")


def test_nobody_has_no_level_behind_a_login_and_an_administrator_without_a_name_is_none(tmp_path: Path) -> None:
    identity = behind_a_proxy(tmp_path)
    assert identity.level(Caller(""), "fraud") is Level.NONE
    assert identity.level(Caller("", admin=True), "fraud") is Level.NONE


def test_the_daemon_is_believed_as_a_named_approver(tmp_path: Path) -> None:
    identity = behind_a_proxy(tmp_path)
    assert identity.user_may_approve("Mia@example.com", "fraud")
    assert not identity.user_may_approve("svc@example.com", "fraud")
