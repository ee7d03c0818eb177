"""The key that signs heads of the log: where it is found, who may read it, and what is said where it is of no use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.bootstrap.audit_logs import signer_of
from reconciler.cli.service import _let_read
from reconciler.doctor.files import heads
from reconciler.domain.proofs.checkpoint import Head
from reconciler.settings.errors import SettingsError
from reconciler.settings.load import load_settings
from reconciler.settings.secret_files import UnreadableSecret
from tests import command
from tests.history import key_pair

HEAD = Head("mlflow-reconciler/0011223344556677", 3, b"r" * 32)


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "audit.url").write_text(f"sqlite:///{tmp_path}/audit.db")
    monkeypatch.setenv("RECONCILER_CREDENTIALS_DIRECTORY", str(folder))
    monkeypatch.delenv("RECONCILER_AUDIT__URL", raising=False)
    return folder


def test_without_a_key_and_with_a_blank_one_nothing_is_signed(credentials: Path) -> None:
    assert signer_of(load_settings()) is None
    (credentials / "audit.signing_key").write_text("\n")
    assert signer_of(load_settings()) is None
    assert "not signed (audit.signing_key)" in heads(load_settings()).detail


@pytest.mark.parametrize("where", ["credentials_directory", "systemd", "a variable"])
def test_a_key_is_found_where_other_secrets_are(
    credentials: Path, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem, _ = key_pair(tmp_path)
    folder = credentials if where == "credentials_directory" else tmp_path
    (folder / "audit.signing_key").write_text(pem)
    if where == "systemd":
        (folder / "audit.url").write_text(f"sqlite:///{tmp_path}/audit.db")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    elif where == "a variable":
        monkeypatch.setenv("RECONCILER_AUDIT__SIGNING_KEY_FILE", str(folder / "audit.signing_key"))
    signer = signer_of(load_settings())
    assert signer is not None
    assert len(signer.signed(HEAD).signatures) == 1
    assert "appended to" in heads(load_settings()).detail
    assert ", signed" in heads(load_settings()).detail


RSA = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VuBCIEIKD/////////////////////////////////////////
-----END PRIVATE KEY-----
"""


@pytest.mark.parametrize("content", ["nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", RSA])
def test_what_is_no_key_for_ed25519_is_refused_in_one_line_that_does_not_repeat_it(
    credentials: Path, content: str
) -> None:
    (credentials / "audit.signing_key").write_text(content)
    with pytest.raises(SettingsError) as refused:
        signer_of(load_settings())
    assert str(refused.value).startswith("audit.signing_key: is not a")
    assert "openssl genpkey" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "AAAA" not in str(refused.value)


def test_a_key_that_cannot_be_read_is_never_taken_for_none(credentials: Path) -> None:
    (credentials / "audit.signing_key").mkdir()
    with pytest.raises(UnreadableSecret, match="audit.signing_key: cannot read the file"):
        signer_of(load_settings())


def test_commands_that_sign_nothing_do_not_read_the_key(credentials: Path, tmp_path: Path) -> None:
    (credentials / "audit.signing_key").write_text("nonsense")
    environment = {**os.environ, "RECONCILER_CREDENTIALS_DIRECTORY": str(credentials)}
    assert command.run("db", "upgrade", environment=environment).returncode == 0
    assert command.run("pause", "--reason", "a test", environment=environment).returncode == 0
    assert command.run("audit", "verify", environment=environment).returncode == 0


def test_an_operators_group_may_read_the_other_credentials_and_not_the_key(credentials: Path) -> None:
    (credentials / "audit.signing_key").write_text("a key")
    (credentials / "audit.signing_key").chmod(0o600)
    _let_read(credentials, "operators", os.getgid(), dry_run=False)
    modes = {path.name: path.stat().st_mode & 0o777 for path in credentials.iterdir()}
    assert modes == {"audit.url": 0o640, "audit.signing_key": 0o600}


def test_a_place_that_is_no_file_and_a_folder_that_is_missing_are_told_before_the_daemon_runs(
    credentials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_AUDIT__HEADS", str(tmp_path))
    assert (heads(load_settings()).level, "not a regular file" in heads(load_settings()).detail) == ("FAIL", True)
    monkeypatch.setenv("RECONCILER_AUDIT__HEADS", str(tmp_path / "missing" / "audit.heads"))
    assert heads(load_settings()).level == "WARN"
    monkeypatch.setenv("RECONCILER_AUDIT__HEADS", "")
    assert "journal only" in heads(load_settings()).detail
