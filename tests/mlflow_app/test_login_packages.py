"""Logins that fail: their packages, their configuration, and what they answer while calls are served."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from reconciler.demo.server import mlflow_server
from reconciler.mlflow_app.login import load_login
from reconciler.mlflow_app.options import OptionsError, read_options
from tests import forker
from tests.mlflow_app.conftest import Person
from tests.mlflow_app.logins import APP

KEY = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test"}
AUTH = "TRANSITION_REQUESTS_AUTH"
LOADED = "import click, reconciler.mlflow_app\ntry:\n    import reconciler.mlflow_app.app\n" + (
    "except click.ClickException as error:\n    print('Error:', error.message)\n"
)


def package(directory: Path, code: str) -> dict[str, str]:
    """A package of somebody else with a login `own`, on the path of the server."""
    (directory / "own_login.py").write_text(code)
    info = directory / "own_login-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-login\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[mlflow_reconciler.login]\nown = own_login:Own\n")
    return {**KEY, AUTH: "own", "PYTHONPATH": str(directory)}


def said(variables: dict[str, str], code: str = LOADED) -> str:
    """What the command would say: the only line that loading the app prints. A traceback fails the test."""
    done = forker.run(forker.MLFLOW, "-c", code, environment={**os.environ, **variables})
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    return line


LOGIN = (
    "from reconciler.mlflow_app.login import Caller, Level, Login\n"
    "class Own(Login):\n"
    "    def stack(self, app, routes): return app\n"
    "    def caller(self): return Caller('zoe')\n"
    "    def level(self, caller, model, is_prompt): return Level.READ\n"
)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ValueError('no\\nsuch thing')", "own: cannot be loaded: ValueError: no such thing"),
        ("raise RuntimeError", "own: cannot be loaded: RuntimeError: "),
        ("def f(:", "own: cannot be loaded: SyntaxError: "),
        ("import nothing_of_that_name", "own: cannot be loaded: ModuleNotFoundError: No module named 'nothing_of_that"),
        ("Other = 1", "own: cannot be loaded: AttributeError: "),
        ("Own = 'a text'", "own: cannot be loaded: TypeError: "),
        ("def Own(options, environ): return None", "own: cannot be loaded: own_login:Own makes no Login"),
        (LOGIN + "    def __init__(self, *_): raise KeyError('x')\n", "own: cannot be loaded: KeyError: 'x'"),
        (LOGIN.replace("    def caller", "    def other"), "own: cannot be loaded: TypeError: Can't instantiate"),
    ],
    ids=["value", "no words", "syntax", "import", "name", "text", "nothing", "made", "abstract"],
)
def test_whatever_a_login_of_another_package_raises_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    variables = package(tmp_path, code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_login", raising=False)
    with pytest.raises(OptionsError) as failed:
        load_login(read_options(variables), variables)
    assert str(failed.value).startswith(message)
    assert "\n" not in str(failed.value)


def test_what_such_a_login_raises_while_the_command_prepares_it_is_one_sentence(tmp_path: Path) -> None:
    code = LOGIN + "    def prepare(self, server): raise OSError('no\\nplace')\n"
    assert said(package(tmp_path, code)) == "Error: own: cannot be prepared: OSError: no place"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, "its configuration (CONFIG) cannot be used: KeyError: 'mlflow'"),
        ("garbage", "its configuration (CONFIG) cannot be used: MissingSectionHeaderError: "),
        ("[mlflow]\nauth_cache_ttl_seconds = x", "its configuration (CONFIG) cannot be used: "),
        ("database_uri = sqlite:////proc/nowhere/users.db", "its database (database_uri in its configuration) cannot"),
        ("database_uri = sqlite:///GARBAGE", "its database (database_uri in its configuration) cannot be used: Dat"),
        ("database_uri = sqlite:///USERS\ndefault_permission = ALL", "its default_permission 'ALL' is not a perm"),
        ("database_uri = sqlite:///USERS\nauthorization_function = no.such:thing", "its authorization_function 'no.s"),
    ],
    ids=["missing", "garbage", "number", "folder", "file", "level", "function"],
)
def test_a_configuration_of_basic_auth_that_is_wrong_is_one_sentence(
    tmp_path: Path, lines: str | None, message: str
) -> None:
    config, garbage = tmp_path / "auth.ini", tmp_path / "garbage.db"
    garbage.write_text("no database")
    if lines is not None:
        places = lines.replace("GARBAGE", str(garbage)).replace("USERS", str(tmp_path / "users.db"))
        whole = {"default_permission": "READ", "admin_username": "root"}
        given = "".join(f"{key} = {value}\n" for key, value in whole.items() if key not in lines)
        config.write_text(f"[mlflow]\n{given}{places}\n" if lines.startswith("d") else f"{places}\n")
    variables = {
        **KEY, AUTH: "basic-auth", "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_AUTH_ADMIN_PASSWORD": "a long enough password",
    }  # fmt: skip
    assert said(variables).startswith("Error: basic-auth: " + message.replace("CONFIG", str(config)))


def test_an_administrator_of_basic_auth_is_one_also_while_somebody_else_calls(tmp_path: Path) -> None:
    """The daemon may be one: requesters are warned by what it says that its policy governs, if it decides."""
    config = tmp_path / "auth.ini"
    config.write_text(f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{tmp_path}/users.db\n")
    variables = {
        **KEY, AUTH: "basic-auth", "MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_AUTH_ADMIN_USERNAME": "root",
        "MLFLOW_AUTH_ADMIN_PASSWORD": "a long enough password",
    }  # fmt: skip
    asked = (
        "from reconciler.mlflow_app import serving\nfrom reconciler.mlflow_app.identity import Identity\n"
        "serving.prepare()\nidentity = Identity(serving._OPTIONS, serving._LOGIN)\n"
        "print(identity.user_may_approve('root', 'm'), identity.user_may_approve('nobody', 'm'))\n"
    )
    assert said(variables, asked) == "True False"


ANSWERS = """
from urllib.parse import unquote
from flask import has_request_context, request
from reconciler.mlflow_app.login import Caller, Level, Login, without_login

class Own(Login):
    def stack(self, app, routes):
        return without_login(app)
    def caller(self):
        how = unquote(request.headers.get("X-How", "")) if has_request_context() else ""
        if how == "raises":
            raise RuntimeError("no answer")
        answers = {"nothing": None, "text": "root", "number": Caller(7, True), "unnamed": Caller(None, True)}
        if how in answers:
            return answers[how]
        return Caller(how.removeprefix("admin:"), admin=how.startswith(("admin:", "root")))
    def level(self, caller, model, is_prompt):
        return Level.MANAGE
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("answers")


@pytest.fixture(scope="module")
def uri(directory: Path) -> Iterator[str]:
    """The key that seals who asked is none that UTF-8 could have written."""
    beside = directory / "package"
    beside.mkdir()
    variables = package(beside, ANSWERS) | {"MLFLOW_FLASK_SERVER_SECRET_KEY": os.fsdecode(b"\xff\xfe secret")}
    with mlflow_server(directory, *APP, variables=variables) as served:
        yield served


def somebody(uri: str, how: str) -> Person:
    return Person(uri, how, {"X-How": quote(how)})


@pytest.mark.parametrize(
    "answer", ["raises", "nothing", "text", "number", "unnamed", "", " ", "admin:", "admin: "], ids=repr
)
def test_nothing_is_moved_and_nobody_asks_on_an_answer_that_names_nobody(
    uri: str, directory: Path, answer: str
) -> None:
    root, caller = somebody(uri, "root"), somebody(uri, answer)
    model = root.model(f"m{answer.encode().hex()}")
    body = {"name": model, "version": "1", "stage": "Production"}
    assert caller.send("POST", "transition-requests/create", json=body).status_code in {401, 500}
    assert caller.send("POST", "model-versions/transition-stage", json=body).status_code in {403, 500}
    assert stages(directory, model) == ["None"]


def stages(directory: Path, model: str) -> list[str]:
    """By MLflow's own database."""
    with sqlite3.connect(directory / "mlflow.db") as database:
        rows = database.execute("SELECT current_stage FROM model_versions WHERE name = ?", (model,))
        return [str(row[0]) for row in rows]


@pytest.mark.parametrize("name", ["mia\u202eroot", "mia\nroot", "mia\x00root"], ids=lambda name: ascii(name[:9]))
def test_a_name_that_cannot_be_shown_is_escaped_for_people(uri: str, directory: Path, name: str) -> None:
    """In the decision on the version and in the server's log; programs get it as the login gave it."""
    root = somebody(uri, "root")
    model = root.model(f"n{len(name)}{name.encode().hex()[:12]}")
    body = {"name": model, "version": "1", "stage": "Production"}
    asked = somebody(uri, name).call("POST", "transition-requests/create", json=body)["request"]
    assert asked["user_id"] == name
    somebody(uri, name).send("POST", "model-versions/transition-stage", json=body)
    somebody(uri, "zoe").call("POST", "transition-requests/approve", json=body | {"archive_existing_versions": False})
    assert stages(directory, model) == ["Production"]
    decision = root.shown(model)["tags"]["transition_decision.stage.Production"]
    [refusal] = [
        line for line in (directory / "mlflow-server.log").read_text().splitlines() if f"create {model} " in line
    ]
    for shown in (decision, refusal):
        assert "mia" in shown
        assert shown.isprintable()
