"""A start that is wrong ends the command with one sentence, before any worker starts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.demo.server import ServerFailed, mlflow_server
from reconciler.mlflow_app.login import Login, load_login
from reconciler.mlflow_app.options import OptionsError, logins, read_options
from tests import forker
from tests.mlflow_app.logins import APP, COMMON, proxied, secret_file
from tests.servers import app_beside, python_of

KEY = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test"}
AUTH, HEADER = "TRANSITION_REQUESTS_AUTH", "header:X-Forwarded-Email"
TAGS = "TRANSITION_REQUESTS_PROTECTED_TAGS"


def loaded(variables: Mapping[str, str]) -> Login | None:
    return load_login(read_options(variables), variables)


def sentence(directory: Path, *arguments: str, variables: Mapping[str, str]) -> str:
    """What `mlflow server` says at last, when it has ended; it shows no traceback."""
    with pytest.raises(ServerFailed), mlflow_server(directory, *APP, *arguments, variables=variables):
        pass
    log = (directory / "mlflow-server.log").read_text()
    assert "Traceback" not in log
    assert [line for line in log.splitlines() if line.startswith("Error: ")] == [log.splitlines()[-1]]
    return log.splitlines()[-1].removeprefix("Error: ")


def test_three_logins_come_with_the_app() -> None:
    assert {entry.name for entry in logins()} == {"basic-auth", "header", "oidc-auth"}


@pytest.mark.parametrize("server", [(), ("--gunicorn-opts=",)], ids=["uvicorn", "gunicorn"])
def test_basic_auth_without_the_administrators_first_password(tmp_path: Path, server: tuple[str, ...]) -> None:
    config = tmp_path / "basic_auth.ini"
    config.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{tmp_path}/a.db\nadmin_username = root\n"
    )
    variables = {**KEY, AUTH: "basic-auth", "MLFLOW_AUTH_CONFIG_PATH": str(config)}
    said = sentence(tmp_path, *server, variables=variables)
    assert said.startswith("basic-auth: ")
    assert "MLFLOW_AUTH_ADMIN_PASSWORD" in said


def test_a_secret_file_that_others_may_read(tmp_path: Path) -> None:
    variables = proxied(tmp_path)
    Path(variables["TRANSITION_REQUESTS_PROXY_SECRET_FILE"]).chmod(0o604)
    assert "other users of this machine may read or change it" in sentence(tmp_path, variables=variables)


def test_a_login_whose_package_is_not_installed(tmp_path: Path) -> None:
    said = sentence(tmp_path, variables={**COMMON, AUTH: "oidc-auth"})
    assert said == "oidc-auth needs mlflow-oidc-auth: pip install 'mlflow-reconciler[oidc]'"


def put_beside(directory: Path, module: str) -> dict[str, str]:
    """A package that calls itself mlflow-oidc-auth, on the path of the server."""
    (directory / "mlflow_oidc_auth").mkdir(parents=True)
    (directory / "mlflow_oidc_auth" / "__init__.py").write_text(module)
    info = directory / "mlflow_oidc_auth-11.0.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mlflow-oidc-auth\nVersion: 11.0.2\n")
    return {**COMMON, AUTH: "oidc-auth", "PYTHONPATH": str(directory)}


def test_a_login_whose_package_cannot_be_imported(tmp_path: Path) -> None:
    said = sentence(
        tmp_path, variables=put_beside(tmp_path / "fake", "raise ValueError('mutable default\\nof a field')")
    )
    assert said.startswith("oidc-auth: mlflow-oidc-auth cannot be imported: ValueError: mutable default of a field")


def test_single_sign_on_under_gunicorn(tmp_path: Path) -> None:
    said = sentence(tmp_path, "--gunicorn-opts=", variables=put_beside(tmp_path / "fake", ""))
    assert said == "oidc-auth runs under uvicorn only: leave --gunicorn-opts out"


@pytest.mark.parametrize("server", ["gunicorn", "waitress"])
def test_groups_are_not_read_where_the_server_joins_repeated_headers(tmp_path: Path, server: str) -> None:
    said = sentence(tmp_path, f"--{server}-opts=", variables=proxied(tmp_path))
    assert said.startswith(f"TRANSITION_REQUESTS_GROUP_HEADER needs uvicorn: {server} joins")


@pytest.mark.parametrize("version", ["2.22.5", "3.1.4"])
def test_an_older_mlflow_is_told_which_one_is_needed(tmp_path: Path, version: str) -> None:
    """The app beside an old server, as pip would have put it there had it been made to."""
    python = python_of(version)
    beside = app_beside(tmp_path / "path")
    command = [str(python), "-m", "mlflow", "server", *APP, "--port", "1", "--backend-store-uri", "sqlite:///m.db"]
    for more, said in (
        ({}, f"transition requests: needs MLflow 3.17, and {version} is installed"),
        ({"TRANSITION_REQUESTS_ACCEPT_MLFLOW": version}, f"transition requests: MLflow {version} lacks what the app"),
    ):
        variables = {**os.environ, **beside, **more}
        done = subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith(f"Error: {said}")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({AUTH: "ldap"}, "unknown value 'ldap': use basic-auth or header or oidc-auth"),
        ({AUTH: "basic-auth:x"}, "use basic-auth, which takes nothing after a colon"),
        ({AUTH: "basic-auth", "TRANSITION_REQUESTS_ADMINISTRATORS": "zoe"}, "basic-auth has its own administrators"),
        ({AUTH: "basic-auth", "TRANSITION_REQUESTS_APPROVER_GROUPS": "x"}, "basic-auth knows no groups"),
        ({AUTH: "basic-auth", "TRANSITION_REQUESTS_PROXY_SECRET_FILE": "x"}, "basic-auth asks no proxy"),
        ({AUTH: "oidc-auth", "TRANSITION_REQUESTS_GROUP_HEADER": "x"}, "oidc-auth reads no header"),
        ({"TRANSITION_REQUESTS_ADMINISTRATORS": "zoe"}, "requires authentication"),
        ({"TRANSITION_REQUESTS_PROXY_SECRET_FILE": "x"}, "requires authentication"),
        ({AUTH: "header"}, "names no header: use one such as header:X-Forwarded-Email"),
        ({AUTH: "header:X_Forwarded_Email"}, "may have letters, digits and hyphens"),
        ({AUTH: "header:X-Mail\r\nX"}, "may have letters, digits and hyphens"),
        ({AUTH: "header:Authorization"}, "Authorization has another meaning"),
        ({AUTH: "header:x-transition-requests-secret"}, "has another meaning"),
        ({AUTH: HEADER}, "nobody could approve"),
        ({AUTH: HEADER, "TRANSITION_REQUESTS_APPROVER_GROUPS": "x"}, "needs TRANSITION_REQUESTS_GROUP_HEADER"),
        ({AUTH: HEADER, "TRANSITION_REQUESTS_APPROVERS": "mia"}, "needs TRANSITION_REQUESTS_PROXY_SECRET_FILE"),
        ({AUTH: HEADER, "TRANSITION_REQUESTS_ADMINISTRATORS": "m\u202eia"}, "is not a name that a proxy can send"),
        ({AUTH: HEADER, "TRANSITION_REQUESTS_GROUP_HEADER": "X-forwarded-EMAIL"}, "must not be the header that names"),
        ({AUTH: HEADER, "TRANSITION_REQUESTS_ADMINISTRATORS": "mia\u3164"}, "is not a name that a proxy can send"),
        ({AUTH: "header:Upgrade"}, "Upgrade has another meaning"),
        ({AUTH: "header:If-None-Match"}, "If-None-Match has another meaning"),
        (
            {AUTH: "basic-auth", "TRANSITION_REQUESTS_APPROVERS": " , "},
            "TRANSITION_REQUESTS_APPROVERS: ' , ' names noth",
        ),
        ({TAGS: "tier"}, "TRANSITION_REQUESTS_PROTECTED_TAGS requires authentication"),
        ({AUTH: "basic-auth", TAGS: ","}, "TRANSITION_REQUESTS_PROTECTED_TAGS: ',' names nothing"),
        ({AUTH: "basic-auth", TAGS: "tier,validated.*"}, "'validated.*' is not a tag key: name each key in full"),
        ({AUTH: "basic-auth", TAGS: "x" * 251}, "is not a tag key"),
        ({AUTH: "basic-auth", TAGS: "Transition_Request.x"}, "'Transition_Request.x' is protected already"),
        ({AUTH: "basic-auth", TAGS: "mlflow.prompt.is_prompt"}, "is protected already: leave it out"),
        ({"TRANSITION_REQUESTS_TARGETS": ","}, "TRANSITION_REQUESTS_TARGETS: ',' names nothing: leave it unset"),
    ],
)
def test_each_variable_that_is_wrong_is_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(OptionsError) as failed:
        loaded(KEY | variables)
    assert message in str(failed.value)
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize("key", [{}, {"MLFLOW_FLASK_SERVER_SECRET_KEY": " \n"}], ids=["unset", "blank"])
@pytest.mark.parametrize("auth", ["basic-auth", "oidc-auth", HEADER])
def test_every_login_needs_the_key_that_seals_who_asked(auth: str, key: dict[str, str]) -> None:
    with pytest.raises(OptionsError, match="needs MLFLOW_FLASK_SERVER_SECRET_KEY"):
        loaded({AUTH: auth, "TRANSITION_REQUESTS_APPROVERS": "mia"} | key)


def test_protected_tags_are_read_as_they_are_spelled() -> None:
    given = " tier ,validated.at,,Risk review, geprüft,"
    read = read_options({AUTH: "basic-auth", TAGS: given}).protected_tags
    assert read == {"tier", "validated.at", "Risk review", "geprüft"}
    assert read_options({TAGS: ""}).protected_tags == frozenset()


@pytest.mark.parametrize("text", ["", None])
def test_without_a_list_of_targets_production_is_protected(text: str | None) -> None:
    """An empty variable, as `docker compose` makes of one that is not set, does not open the server."""
    variables = {} if text is None else {"TRANSITION_REQUESTS_TARGETS": text}
    assert [str(target) for target in read_options(variables).targets] == ["Production"]


@pytest.mark.parametrize(
    "url",
    [
        "https://[x", "https://a:99999", "https://a:port", "https://user:word@host", "https://ho st", "https://host\n",
        " https://host", "https://b\u00fccher.example", "https://a,https://b", "https://*", "https://", "https:///x",
    ],
    ids=ascii,
)  # fmt: skip
def test_an_address_that_no_browser_could_send_as_an_origin_is_refused(url: str) -> None:
    with pytest.raises(OptionsError, match="TRANSITION_REQUESTS_PUBLIC_URL: .* is not a URL"):
        read_options({"TRANSITION_REQUESTS_PUBLIC_URL": url})


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://MLflow.example.com/ui/", "https://mlflow.example.com"),
        ("https://mlflow.example.com:443", "https://mlflow.example.com"),
        ("http://mlflow.example.com:80/x?y", "http://mlflow.example.com"),
        ("http://mlflow.example.com:443", "http://mlflow.example.com:443"),
        ("https://[::1]:5000", "https://[::1]:5000"),
    ],
)
def test_an_address_becomes_the_origin_that_browsers_send(url: str, origin: str) -> None:
    assert read_options({"TRANSITION_REQUESTS_PUBLIC_URL": url}).public_origin == origin


def test_a_registry_in_files_ends_the_command_before_there_are_workers(tmp_path: Path) -> None:
    variables = {"MLFLOW_ALLOW_FILE_STORE": "true"}
    said = sentence(tmp_path, "--registry-store-uri", str(tmp_path / "mlruns"), variables=variables)
    assert said.startswith("transition requests need a model registry in a database: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("short", "must hold one secret of at least 32"),
        ("two secrets of more than thirty-two characters", "must hold one secret"),
        ("é" * 40, "must hold one secret"),
        ("x" * 5000, "must hold one secret"),
        ("", "must hold one secret"),
    ],
)
def test_a_secret_file_holds_one_long_secret_which_no_message_quotes(
    tmp_path: Path, content: str, message: str
) -> None:
    variables = proxied(tmp_path)
    path = Path(variables["TRANSITION_REQUESTS_PROXY_SECRET_FILE"])
    path.write_text(content)
    with pytest.raises(OptionsError, match=message) as failed:
        loaded(variables)
    assert not content or content not in str(failed.value)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o666])
def test_a_secret_file_is_nothing_to_other_users(tmp_path: Path, mode: int) -> None:
    variables = proxied(tmp_path)
    secret_file(tmp_path).chmod(mode)
    with pytest.raises(OptionsError, match="other users of this machine"):
        loaded(variables)


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo"])
def test_a_secret_file_is_a_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "place"
    if kind == "folder":
        path.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(OptionsError, match="No such file|not a file|directory"):
        loaded(proxied(tmp_path) | {"TRANSITION_REQUESTS_PROXY_SECRET_FILE": str(path)})


def test_another_package_may_bring_a_login(tmp_path: Path) -> None:
    """An entry point is all that it takes."""
    (tmp_path / "own_login.py").write_text(
        "from reconciler.mlflow_app.login import Caller, Level, Login\n"
        "class Own(Login):\n"
        "    def stack(self, app, routes): return app\n"
        "    def caller(self): return Caller('zoe')\n"
        "    def level(self, caller, model, is_prompt): return Level.READ\n"
    )
    info = tmp_path / "own_login-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-login\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[mlflow_reconciler.login]\nown = own_login:Own\n")
    code = "from reconciler.mlflow_app import serving; print(serving._LOGIN.caller().name)"
    variables = {**os.environ, **KEY, AUTH: "own", "PYTHONPATH": str(tmp_path)}
    done = forker.run(forker.MLFLOW, "-c", code, environment=variables)
    assert done.stdout.strip() == "zoe"
