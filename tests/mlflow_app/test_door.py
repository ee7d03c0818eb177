"""The door of a server behind a proxy, by bytes on a socket: what a client sends, and what a server makes of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from reconciler.demo.server import mlflow_server
from reconciler.mlflow_app.logins.door import Keys, NotAdmitted, digest
from tests.mlflow_app.logins import APP, SECRET, behind_a_proxy, mail, on_header, proxied

LIST = "/api/2.0/mlflow/transition-requests/list"
USER, KEY = "X-Forwarded-Email", "X-Transition-Requests-Secret"
MIA = [f"{USER}: {mail('mia')}", f"{KEY}: {SECRET}"]
BOSS = mail("root")


@pytest.fixture(scope="module", params=["uvicorn", "uvicorn with h11", "gunicorn", "waitress"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("door")
    if request.param == "uvicorn":
        with on_header(directory) as scene:
            yield scene.uri
        return
    options = {"uvicorn with h11": "--uvicorn-opts=--http h11", "gunicorn": "--gunicorn-opts=--threads 4"}
    variables = proxied(directory)
    if not request.param.startswith("uvicorn"):
        for name in ("GROUP_HEADER", "APPROVER_GROUPS"):
            del variables[f"TRANSITION_REQUESTS_{name}"]
    with mlflow_server(directory, *APP, options.get(request.param, "--waitress-opts="), variables=variables) as uri:
        yield uri


def sent(server: str, *headers: str, path: str = LIST, method: str = "GET", body: str = "") -> tuple[int, str]:
    """Status and body of one call with exactly these header lines."""
    place = urlsplit(server)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {place.netloc}", "Connection: close", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=60) as client:
        client.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode("utf-8", "surrogateescape"))
        client.settimeout(60)
        reply = b""
        while part := client.recv(65536):
            reply += part
    head, _, rest = reply.partition(b"\r\n\r\n")
    return int(head.split()[1]), rest.decode(errors="replace")


def test_the_proxy_is_let_in(server: str) -> None:
    assert sent(server, *MIA)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [f"{USER}: {BOSS}"],
        [f"{USER}: {BOSS}", f"{KEY}: "],
        [f"{USER}: {BOSS}", f"{KEY}: {SECRET}x"],
        [f"{USER}: {BOSS}", f"{KEY}: {SECRET[:-1]}"],
        [f"{USER}: {BOSS}", f"{KEY}: wrong", f"{KEY}: {SECRET}"],
        [f"{USER}: {BOSS}", f"{KEY}: {SECRET}", f"{KEY}: {SECRET}"],
        [f"{USER}: {BOSS}", f"{KEY.replace('-', '_')}: wrong-wrong-wrong"],
        [f"{KEY}: {SECRET}"],
        [f"{KEY}: {SECRET}", f"{USER}: "],
        [f"{KEY}: {SECRET}", f"{USER}:  \t "],
        [*MIA, f"{USER}: {BOSS}"],
        [f"{USER}: {BOSS}", *MIA],
        [*MIA, f"{USER.lower()}: {BOSS}"],
        [*MIA, f"{USER.upper()}: {mail('mia')}"],
        [f"{KEY}: {SECRET}", f"{USER}: {mail('mia')}, {BOSS}"],
        [f"{KEY}: {SECRET}", f"{USER}: {mail('mia')},"],
        [f"{KEY}: {SECRET}", f"{USER}: ,{BOSS}"],
        [f"{KEY}: {SECRET}", f"{USER}: {'m' * 300}@example.com"],
        [f"{KEY}: {SECRET}", f"{USER}: mia\u202e@example.com"],
        [f"{KEY}: {SECRET}", f"{USER}: mia\udcff@example.com"],
        [f"{KEY}: {SECRET}", f"{USER}: {mail('mia')}\u3164"],
        [f"{KEY}: {SECRET}", f"{USER}: {mail('mia')}\ufe0f"],
        [f"{KEY}: {SECRET}", f"{USER}: \u2800"],
    ],
    ids=str,
)
def test_what_the_proxy_would_not_send_is_401(server: str, headers: list[str]) -> None:
    status, body = sent(server, *headers)
    assert status == 401
    assert SECRET not in body


@pytest.mark.parametrize("spelling", ["X_Forwarded_Email", "X-Forwarded_Email", "x_forwarded-email"])
def test_a_name_that_is_spelt_with_underscores_makes_nobody_an_administrator(server: str, spelling: str) -> None:
    """uvicorn passes it on, so it is refused; gunicorn and waitress drop it."""
    body = '{"name": "no-such-model", "version": "1", "stage": "Production"}'
    path = "/api/2.0/mlflow/model-versions/transition-stage"
    for headers in ([*MIA, f"{spelling}: {BOSS}"], [f"{spelling}: {BOSS}", *MIA]):
        assert sent(server, *headers, path=path, method="POST", body=body)[0] in {401, 403}
    assert sent(server, f"{spelling}: {BOSS}", f"{KEY}: {SECRET}")[0] == 401


@pytest.mark.parametrize(
    "path",
    [
        "/health/", "//health", "/health/..", "/./health", "/health/../api/2.0/mlflow/transition-requests/list",
        "/%2e/health", "/HEALTH", "/health%00", "/health;x=1", "/ajax-api/../health", "/api/health", "/version",
        "/metrics", "/docs", "/openapi.json", "/", "/static-files/index.html", "/.well-known/databricks-config/x",
        "/.well-known/other",
    ],
)  # fmt: skip
def test_no_spelling_of_an_open_path_opens_another(server: str, path: str) -> None:
    status, body = sent(server, path=path)
    # waitress makes one slash of two before anybody sees them: then it is the open path.
    assert status in {401, 400} or (path == "//health" and body == "OK")


def test_an_open_path_is_open_for_reading_only(server: str) -> None:
    assert [sent(server, path="/health", method=method)[0] for method in ("GET", "HEAD")] == [200, 200]
    assert {sent(server, path="/health", method=method)[0] for method in ("POST", "PUT", "DELETE")} == {401}


def test_a_call_in_absolute_form_or_to_another_script_name_passes_no_door(server: str) -> None:
    for path in (f"{server}{LIST}", f"http://evil.example{LIST}"):
        assert sent(server, path=path)[0] in {400, 401}
    for header in ("SCRIPT_NAME: /api", "Script-Name: /api", "PATH_INFO: /health", "X-Original-URL: /health"):
        assert sent(server, header)[0] in {400, 401, 500}


@pytest.mark.parametrize(
    "first",
    [
        "HEAD {path} HTTP/1.1\r\nHost: {host}\r\n\r\n",
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}",
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}\r\n{body}\r\n0\r\n\r\n",
    ],
    ids=["HEAD", "a body that is a call", "a chunk that is a call"],
)
def test_what_follows_a_refused_call_is_not_taken_for_another(server: str, first: str) -> None:
    host = urlsplit(server).netloc
    body = f"GET {LIST} HTTP/1.1\r\nHost: {host}\r\n{MIA[0]}\r\n{MIA[1]}\r\n\r\n"
    whole = first.format(path=LIST, host=host, body=body, length=len(body), chunk=f"{len(body):x}")
    whole += f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    place = urlsplit(server)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=60) as client:
        client.sendall(whole.encode())
        client.settimeout(60)
        reply = b""
        while part := client.recv(65536):
            reply += part
    statuses = [line.split()[1] for line in reply.split(b"\r\n") if line.startswith(b"HTTP/1.")]
    assert statuses in ([b"401", b"200"], [b"401"])
    assert b'"requests"' not in reply


def test_two_calls_on_one_connection_are_each_asked_who_they_are(server: str) -> None:
    """What the proxy's first call said of itself is forgotten at the second."""
    with requests.Session() as connection:
        mia = behind_a_proxy(server, mail("mia"))
        for _ in range(3):
            assert connection.get(server + LIST, headers=mia.headers, timeout=60).status_code == 200
            assert connection.get(server + LIST, timeout=60).status_code == 401
            assert connection.get(server + "/health", timeout=60).status_code == 200


def test_callers_at_the_same_time_are_not_taken_for_one_another(server: str) -> None:
    root = behind_a_proxy(server, BOSS)
    model = root.model(f"many-{urlsplit(server).port}", versions=1)

    def asked(number: int) -> tuple[str, str]:
        person = behind_a_proxy(server, f"person{number}@example.com")
        alias = f"@a{number}"
        return person.user, person.request("create", model, stage=alias)["request"]["user_id"]

    with ThreadPoolExecutor(8) as people:
        assert all(name == taken for name, taken in people.map(asked, range(16)))


def keys() -> Keys:
    return Keys(USER, "X-Forwarded-Groups", digest(SECRET.encode()))


HEADER_NAMES = st.sampled_from([USER, KEY, "X-Forwarded-Groups", "Accept"]).flatmap(
    lambda name: st.lists(st.booleans(), min_size=len(name), max_size=len(name)).map(
        lambda upper: "".join(char.upper() if up else char.lower() for char, up in zip(name, upper, strict=True))
    )
)
SPELT = st.one_of(HEADER_NAMES, HEADER_NAMES.map(lambda name: name.replace("-", "_", 1)))
VALUES = st.one_of(st.sampled_from([SECRET, mail("mia"), BOSS, f"{BOSS},x", "", " "]), st.text(max_size=8))


@given(st.lists(st.tuples(SPELT, VALUES), max_size=6))
def test_whoever_is_let_in_was_named_once_by_one_who_knows_the_secret(headers: list[tuple[str, str]]) -> None:
    """The rule in other words: each of the three at most once, hyphens only, the secret whole, one name."""
    try:
        caller = keys().admit((name, value.encode("utf-8", "surrogatepass")) for name, value in headers)
    except NotAdmitted:
        return
    watched = [USER.lower(), KEY.lower(), "x-forwarded-groups"]
    given = [(name.lower(), value) for name, value in headers if name.lower().replace("_", "-") in watched]
    assert len({name for name, _ in given}) == len(given)
    assert all("_" not in name for name, _ in given)
    assert dict(given)[KEY.lower()].strip(" \t") == SECRET
    assert dict(given)[USER.lower()].strip(" \t") == caller.name
    assert caller.name
    assert "," not in caller.name


@pytest.mark.parametrize(
    ("sent_groups", "groups"),
    [
        (" approvers ,\tstaff,,", ["approvers", "staff"]),
        ("\u00a0approvers", ["\u00a0approvers"]),
        ("approvers\u2003", ["approvers\u2003"]),
        ("Approvers;staff approvers", ["Approvers;staff approvers"]),
        (" , ", []),
    ],
    ids=ascii,
)
def test_a_group_is_what_stands_between_commas_and_no_other_group_is_it(sent_groups: str, groups: list[str]) -> None:
    """A group that a provider lets anybody found, and that differs in a blank of another kind, has no rights."""
    headers = [(KEY, SECRET), (USER, mail("mia")), ("X-Forwarded-Groups", sent_groups)]
    assert keys().admit((name, value.encode()) for name, value in headers).groups == set(groups)


def test_the_log_says_why_and_quotes_nothing_that_was_sent(tmp_path: Path) -> None:
    with on_header(tmp_path) as scene:
        sent(scene.uri, f"{USER}: {BOSS}", f"{KEY}: a-wrong-secret-of-somebody")
        sent(scene.uri, *MIA, f"{USER}: {BOSS}")
        sent(scene.uri, *MIA, f"X_Forwarded_Email: {BOSS}")
        log = scene.log.read_text()
    refusals = [line.partition("transition requests: ")[2] for line in log.splitlines() if ": 401 for" in line]
    assert refusals == [
        f"401 for GET {LIST}: X-Transition-Requests-Secret is missing or wrong",
        f"401 for GET {LIST}: x-forwarded-email is sent more than once",
        f"401 for GET {LIST}: x-forwarded-email is also sent with underscores in its name",
    ]
    assert "a-wrong-secret-of-somebody" not in log
    assert BOSS not in log
