"""The configuration: where it comes from, and how its mistakes are told."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.registry.credentials import resolve_auth
from reconciler.settings.errors import SettingsError
from reconciler.settings.load import load_settings, refuse_writable_by_others


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("registry: {uri: https://file.test, timeout: 5s}\npolicy: policy.yaml\nmode: enforce\n")
    return path


def test_variables_win_over_the_file_and_the_file_over_the_defaults(
    monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    monkeypatch.setenv("RECONCILER_REGISTRY__URI", "https://variable.test/")
    settings = load_settings(config)
    assert settings.registry_uri() == "https://variable.test"
    assert settings.registry.timeout == timedelta(seconds=5)
    assert settings.policy_path() == config.parent / "policy.yaml"
    assert (settings.mode, settings.mode_is_set, settings.schedule.interval) == ("enforce", True, timedelta(seconds=60))


def test_nothing_set_is_observe_and_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    assert (settings.mode, settings.mode_is_set) == ("observe", False)
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_URI"):
        settings.registry_uri()
    with pytest.raises(SettingsError, match="RECONCILER_POLICY"):
        settings.policy_path()


def test_an_empty_policy_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text('policy: ""\n')
    assert load_settings(tmp_path / "c.yaml").policy is None
    monkeypatch.setenv("RECONCILER_POLICY", "")
    assert load_settings().policy is None


def test_mlflows_variables_name_the_registry_and_where_its_runs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://runs.test")
    assert load_settings().registry_uri() == "https://runs.test"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "https://registry.test")
    settings = load_settings()
    assert (settings.registry_uri(), settings.tracking_uri()) == ("https://registry.test", "https://runs.test")


def test_secrets_come_from_files_and_from_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "registry.token").write_text("from-systemd\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    token = load_settings().registry.token
    assert token is not None
    assert token.get_secret_value() == "from-systemd"
    (tmp_path / "named").write_text("from-file\n")
    monkeypatch.setenv("RECONCILER_REGISTRY__TOKEN_FILE", str(tmp_path / "named"))
    settings = load_settings()
    assert settings.registry.token is not None
    assert settings.registry.token.get_secret_value() == "from-file"
    assert "from-file" not in repr(settings)


def test_every_mistake_is_told_with_its_key_and_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECONCILER_REGISTRY__URI", "https://me:s3cret@host")
    monkeypatch.setenv("RECONCILER_AUDIT__URL", "mysql://me:s3cret@host")
    monkeypatch.setenv("RECONCILER_MODE", "enforced")
    (tmp_path / "c.yaml").write_text("schedule: {interval: 0}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "c.yaml")
    told = caught.value.problems
    assert [line.split(": ")[0] for line in told] == [
        "RECONCILER_REGISTRY__URI", "RECONCILER_AUDIT__URL", "RECONCILER_MODE", f"{tmp_path}/c.yaml",
    ]  # fmt: skip
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "hint"),
    [("RECONCILER_MOD", "RECONCILER_MODE"), ("RECONCILER_REGISTRY__URL", "RECONCILER_REGISTRY__URI")],
)
def test_a_variable_that_is_none_is_refused_with_a_hint(
    monkeypatch: pytest.MonkeyPatch, variable: str, hint: str
) -> None:
    monkeypatch.setenv(variable, "x")
    with pytest.raises(SettingsError, match=f"{variable}: unknown setting: did you mean {hint}"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("registry: {timout: 3}", "registry.timout: unknown setting: did you mean registry.timeout"),
        ("mod: x", "mod: unknown setting: did you mean mode"),
        ("a: [", ":1:5: invalid YAML"),
        ("- 1", "not a mapping"),
        ("registry: 3", "registry: 3: must be a section with keys"),
        ("mode: enforced", "mode: 'enforced': must be 'observe', 'approve-only' or 'enforce'"),
        ("registry: {budget: 0}", "registry.budget: 0: must be greater than 0"),
        ("mode: observe\nmode: enforce", ":2:1: mode: duplicate key: remove one of the two"),
        ("registry: {uri: a, uri: b}", ":1:20: registry.uri: duplicate key: remove one of the two"),
        ('registry: {uri: "http://127.0.0.1:1\\n2"}', "registry.uri: contains a blank or a control character"),
        ("audit: {url: 'sqlite:///audit.db?mode=ro&zz=1'}", "audit.url: has options behind a `?`"),
    ],
)
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "c.yaml")
    assert says in str(caught.value)


def test_a_named_file_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECONCILER_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(SettingsError, match="cannot read the file: No such file or directory: name another"):
        load_settings()


@pytest.mark.parametrize("host", ["localhost:5000", "127.0.0.1", "127.9.9.9:80", "[::1]:5000"])
def test_plain_text_is_for_this_host_only(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("RECONCILER_REGISTRY__URI", f"http://{host}")
    assert load_settings().registry_uri() == f"http://{host}"


def test_plain_text_to_another_host_needs_to_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_REGISTRY__URI", "http://mlflow.test")
    with pytest.raises(SettingsError, match="registry.allow_plaintext"):
        load_settings().registry_uri()
    monkeypatch.setenv("RECONCILER_REGISTRY__ALLOW_PLAINTEXT", "true")
    assert load_settings().registry_uri() == "http://mlflow.test"


def test_postgresql_addresses_get_the_driver_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_AUDIT__URL", "postgres://u:p@h/d")
    assert load_settings().audit.url.get_secret_value() == "postgresql+psycopg://u:p@h/d"


def test_of_several_state_directories_the_first_holds_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/mlflow-reconciler:/var/lib/mlflow-reconciler/reports")
    assert load_settings().audit.url.get_secret_value() == "sqlite:////var/lib/mlflow-reconciler/audit.db"


def test_a_lease_that_an_act_may_outlast_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_REGISTRY__TIMEOUT", "60s")
    with pytest.raises(SettingsError, match=r"^schedule.lease: shorter than an act may take: use at least 4m 10s$"):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RECONCILER_REGISTRY__TOKEN", "s3c\nret"),
        ("RECONCILER_REGISTRY__TOKEN", "s3c€ret"),
        ("RECONCILER_REGISTRY__PASSWORD", "s3c\udcffret"),
        ("RECONCILER_REGISTRY__USERNAME", "s3c\udcffret"),
        ("RECONCILER_REGISTRY__WORKSPACE", "s3c\nret"),
        ("RECONCILER_AUDIT__URL", "sqlite:///s3c\udcffret"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_its_name_and_never_told(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{variable}: cannot be sent: ")
    assert "4 is not" in str(caught.value)
    assert "s3c" not in str(caught.value)


def test_a_token_of_two_lines_is_told_with_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tok").write_text("s3c\nret\n")
    monkeypatch.setenv("RECONCILER_REGISTRY__TOKEN_FILE", str(tmp_path / "tok"))
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{tmp_path / 'tok'}: registry.token: cannot be sent: a line break")
    assert "s3c" not in str(caught.value)


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"])
def test_so_are_mlflows_own_credentials(variable: str) -> None:
    environ = {"MLFLOW_TRACKING_USERNAME": "me", variable: "s3c\n\udcffret"}
    with pytest.raises(SettingsError, match="cannot be sent") as caught:
        resolve_auth(load_settings().registry, environ)
    assert variable in str(caught.value)
    assert "s3c" not in str(caught.value)


@pytest.mark.parametrize("variable", ["RECONCILER_AUDIT__URL_FILE", "CREDENTIALS_DIRECTORY"])
def test_an_empty_variable_names_no_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str) -> None:
    (tmp_path / "cred").mkdir()
    (tmp_path / "c.yaml").write_text("credentials_directory: cred\n")
    monkeypatch.setenv(variable, "")
    with pytest.raises(SettingsError, match="has no such credential"):
        load_settings(tmp_path / "c.yaml")


def test_a_wrong_credential_is_told_with_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cred").mkdir()
    (tmp_path / "cred/audit.url").write_text("nonsense")
    (tmp_path / "c.yaml").write_text("credentials_directory: cred\n")
    with pytest.raises(SettingsError, match=f"^{tmp_path / 'cred/audit.url'}: audit.url: is not a database address"):
        load_settings(tmp_path / "c.yaml")
    (tmp_path / "url").write_text("nonsense")
    monkeypatch.setenv("RECONCILER_AUDIT__URL_FILE", str(tmp_path / "url"))
    with pytest.raises(SettingsError, match=f"^{tmp_path / 'url'}: audit.url: is not a database address"):
        load_settings(tmp_path / "c.yaml")


def test_a_credential_of_blanks_is_none(tmp_path: Path) -> None:
    (tmp_path / "cred").mkdir()
    for name in ("audit.url", "registry.token"):
        (tmp_path / "cred" / name).write_text(" \n")
    (tmp_path / "c.yaml").write_text("credentials_directory: cred\n")
    settings = load_settings(tmp_path / "c.yaml")
    assert (settings.registry.token, settings.audit.url.get_secret_value().split(":")[0]) == (None, "sqlite")


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "null\n"])
def test_an_empty_file_is_a_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    assert load_settings(tmp_path / "c.yaml").mode == "observe"


def test_a_line_break_behind_an_address_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text('registry: {uri: "http://127.0.0.1:1\\n"}\n')
    assert load_settings(tmp_path / "c.yaml").registry_uri() == "http://127.0.0.1:1"


def test_a_directory_is_no_policy_and_no_advice_follows_about_its_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(SettingsError, match=f"^{tmp_path}: is a directory: name a file$"):
        refuse_writable_by_others(tmp_path)
    with pytest.raises(SettingsError, match=f"^{tmp_path}: is a directory: name a file$"):
        load_settings(tmp_path)


def test_a_pipe_is_no_configuration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match="pipe: is not a regular file: name a file$"):
        load_settings(tmp_path / "pipe")


def test_a_variable_that_is_like_no_other_gets_no_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_FOO", "x")
    with pytest.raises(SettingsError, match=r"^RECONCILER_FOO: unknown setting: see docs/configuration.md"):
        load_settings()


@pytest.mark.parametrize(("value", "names"), [("", ()), ("owner", ("owner",)), ("owner, pii_*,", ("owner", "pii_*"))])
def test_what_is_kept_out_of_the_evidence_is_a_list_or_names_with_commas(
    monkeypatch: pytest.MonkeyPatch, value: str, names: tuple[str, ...]
) -> None:
    monkeypatch.setenv("RECONCILER_EVIDENCE__EXCLUDE", value)
    assert load_settings().evidence.exclude == names
