"""The transport against servers that misbehave, on loopback."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from requests.auth import AuthBase

from reconciler.ports import Conflict, Invalid, NotFound, Refused, RegistryError, Unavailable
from reconciler.registry.credentials import HeaderAuth, basic, resolve_auth, tls
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.errors import NoEndpoint, TooLarge
from reconciler.registry.replies import mlflow_error
from reconciler.registry.transport import Limits, Timing, Transport
from reconciler.registry.understanding import Number
from reconciler.settings.errors import SettingsError
from reconciler.settings.model import RegistrySettings

Answer = Callable[[BaseHTTPRequestHandler], None]
USUAL = Limits()
TEN_MINUTES = Limits(timeout=600, retries=0)


class Server:
    def __init__(self, uri: str, seen: list[dict[str, str]]) -> None:
        self.uri = uri
        self.seen = seen


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            seen.append({"method": self.command, "path": self.path, **dict(self.headers)})
            self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                answer(self)

        do_GET = do_POST = do_DELETE = do_PATCH = handle_one

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_address[1]}", seen)
    finally:
        server.shutdown()
        server.server_close()


def replying(status: int, body: str | bytes = "{}", **headers: str) -> Answer:
    raw = body.encode() if isinstance(body, str) else body

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        handler.wfile.write(raw)

    return answer


def resetting(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.close()
    handler.close_connection = True


def begin_a_million(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()


def dripping(handler: BaseHTTPRequestHandler) -> None:
    begin_a_million(handler)
    stopped = threading.Event()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        stopped.wait(0.1)


def transport(
    uri: str,
    limits: Limits = USUAL,
    *,
    auth: AuthBase | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Transport:
    endpoint = Endpoint(uri, auth) if auth is not None else Endpoint(uri)
    return Transport(endpoint, limits, timing=Timing(clock, sleep=lambda seconds: None))


def test_a_number_keeps_the_text_it_was_read_as() -> None:
    with serving(replying(200, '{"value": 0.90, "big": 1e400, "none": NaN}')) as server:
        got = transport(server.uri).get("/x")
    assert isinstance(got["value"], Number)
    assert [got[name].text for name in ("value", "big", "none")] == ["0.90", "1e400", "NaN"]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, '{"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}', Invalid),
        (401, "Permission denied", Refused),
        (403, "<html>", Refused),
        (404, '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "gone"}', NotFound),
        (404, "<!doctype html>", NoEndpoint),
        (409, "{}", Conflict),
        (429, "{}", Unavailable),
        (500, "{}", Unavailable),
        (503, "{}", Unavailable),
        (200, "<html>login</html>", Unavailable),
        (200, "", Unavailable),
        (200, "[" * 100_000, Unavailable),
        (302, "", Unavailable),
    ],
)
def test_an_answer_has_its_error_in_one_line(status: int, body: str, error: type[RegistryError]) -> None:
    with serving(replying(status, body, Location="http://elsewhere.test/?token=x")) as server:
        with pytest.raises(error) as caught:
            transport(server.uri, Limits(retries=0)).get("/api/x")
        assert "GET /api/x" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "token" not in str(caught.value)
        assert len(server.seen) == 1


@pytest.mark.parametrize("answer", [replying(500), replying(429, Retry_After="1"), resetting])
def test_a_read_is_tried_three_times_and_a_write_is_sent_once(answer: Answer) -> None:
    with serving(answer) as server:
        client = transport(server.uri)
        for call, times in [
            (lambda: client.get("/x"), 3),
            (lambda: client.search("/x", {}), 3),
            (lambda: client.post("/x", {}), 1),
            (lambda: client.delete("/x", {}), 1),
        ]:
            server.seen.clear()
            with pytest.raises(Unavailable):
                call()
            assert len(server.seen) == times


def test_a_long_retry_after_is_not_obeyed() -> None:
    with serving(replying(503, Retry_After="600")) as server:
        with pytest.raises(Unavailable):
            transport(server.uri).get("/x")
        assert len(server.seen) == 1


@contextlib.contextmanager
def drops(client: list[Transport], count: int) -> Iterator[Server]:
    """A body of a million bytes, of which `count` come: each when the client has read the one before it."""
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        begin_a_million(handler)
        for number in range(count):
            handler.wfile.write(b" ")
            while client[0].bytes_read <= number and not over.is_set():
                time.sleep(0.001)
        over.wait()

    with serving(drip) as server:
        try:
            yield server
        finally:
            over.set()


def test_a_dripping_body_is_cut_at_the_first_byte_after_the_deadline() -> None:
    client: list[Transport] = []
    with drops(client, 100) as server:
        # A hundred seconds pass with each byte that is read.
        client.append(transport(server.uri, TEN_MINUTES, clock=lambda: 100 * client[0].bytes_read))
        with pytest.raises(
            Unavailable, match=rf"reply from {server.uri} was not complete within 600 s: .*registry.timeout"
        ):
            client[0].get("/x")
        assert client[0].bytes_read == 6


def test_the_next_byte_is_not_awaited_longer_than_the_deadline_leaves() -> None:
    client: list[Transport] = []
    with drops(client, 1) as server:
        # The first byte leaves a tenth of a second; a wait that began anew with it would not end for ten minutes.
        client.append(transport(server.uri, TEN_MINUTES, clock=lambda: 599.9 * client[0].bytes_read))
        with pytest.raises(Unavailable, match="no answer .* within 600 s"):
            client[0].get("/x")
        assert client[0].bytes_read == 1


def test_a_body_over_the_cap_is_not_read_to_its_end() -> None:
    with serving(replying(200, b" " * 5_000_000)) as server:
        client = transport(server.uri, Limits(max_bytes=1_000_000))
        with pytest.raises(TooLarge, match="registry.max_bytes"):
            client.get("/x")
        assert client.bytes_read < 2_000_000


def test_after_the_cycles_deadline_nothing_is_asked() -> None:
    with serving(replying(200)) as server:
        now = [1000.0]
        client = transport(server.uri, clock=lambda: now[0])
        client.begin(10)
        client.get("/x")
        now[0] += 10
        with pytest.raises(Unavailable, match="deadline has passed"):
            client.get("/x")
        assert (client.calls, len(server.seen)) == (1, 1)


def test_netrc_does_not_replace_the_credential(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login thief password thief\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(replying(200)) as server:
        transport(server.uri, auth=HeaderAuth("Bearer", "mine")).get("/x")
        transport(server.uri).get("/x")
    assert [one.get("Authorization") for one in server.seen] == ["Bearer mine", None]


def test_nobody_listening_is_told_with_the_address_and_what_to_look_at() -> None:
    with pytest.raises(Unavailable, match=r"^GET /x: connection refused \(http://127.0.0.1:1\): nothing listens there"):
        transport("http://127.0.0.1:1").get("/x")


def test_a_host_that_no_name_server_knows_is_named() -> None:
    with pytest.raises(Unavailable, match=r"\(http://mlflow.invalid\): no name server (knows|answers)"):
        transport("http://mlflow.invalid").get("/x")


def test_what_a_server_says_comes_out_on_one_line() -> None:
    said = json.dumps({"error_code": "X", "message": "a\n\x1b[31m" + "b" * 1000})
    with serving(replying(400, said)) as server, pytest.raises(Invalid) as caught:
        transport(server.uri).get("/x")
    assert "a\\n\\u001b[31m" in str(caught.value)
    assert len(str(caught.value)) < 400


# --- credentials ---------------------------------------------------------------------------------------------


def header(settings: RegistrySettings, environ: dict[str, str]) -> str | None:
    with serving(replying(200)) as server:
        transport(server.uri, auth=resolve_auth(settings, environ)).get("/x")
    return server.seen[0].get("Authorization")


def test_credentials_come_from_our_settings_then_from_where_mlflow_users_keep_them(tmp_path: Path) -> None:
    mlflow = {"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p", "MLFLOW_TRACKING_TOKEN": "t"}
    nothing = RegistrySettings()
    assert header(RegistrySettings.model_validate({"token": "ours"}), mlflow) == "Bearer ours"
    assert header(nothing, mlflow) == "Basic dTpw"
    assert header(nothing, {"MLFLOW_TRACKING_TOKEN": "t"}) == "Bearer t"
    (tmp_path / ".mlflow").mkdir()
    stored = "[mlflow]\nmlflow_tracking_username = u\nmlflow_tracking_password = p\n"
    (tmp_path / ".mlflow" / "credentials").write_text(stored)
    assert header(nothing, {"HOME": str(tmp_path)}) == "Basic dTpw"
    assert header(nothing, {}) is None


def test_a_plugin_that_is_not_installed_is_an_error_and_not_a_request_without_credentials() -> None:
    with pytest.raises(SettingsError, match="no installed plugin is named 'nowhere'"):
        resolve_auth(RegistrySettings(), {"MLFLOW_TRACKING_AUTH": "nowhere"})


def test_credentials_do_not_show_themselves() -> None:
    assert "s3cret" not in repr(basic("u", "s3cret")) + repr(RegistrySettings.model_validate({"token": "s3cret"}))


def test_tls_settings_that_contradict_or_name_no_file_are_refused(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    assert tls({"MLFLOW_TRACKING_SERVER_CERT_PATH": str(bundle)}) == (str(bundle), None)
    assert tls({"MLFLOW_TRACKING_INSECURE_TLS": "true"}) == (False, None)
    with pytest.raises(SettingsError, match="mutually exclusive"):
        tls({"MLFLOW_TRACKING_INSECURE_TLS": "true", "MLFLOW_TRACKING_SERVER_CERT_PATH": str(bundle)})
    for name in ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE"):
        with pytest.raises(SettingsError, match=f"^{name}: .*none.pem: no such file: name the CA"):
            tls({name: str(tmp_path / "none.pem")})
    for path, reason in ((tmp_path / "none.pem", "No such file"), (tmp_path, "Is a directory"), (bundle, "no cert")):
        with pytest.raises(
            SettingsError, match=f"^MLFLOW_TRACKING_CLIENT_CERT_PATH: {path} .*{reason}.*: name one PEM"
        ):
            tls({"MLFLOW_TRACKING_CLIENT_CERT_PATH": str(path)})


@pytest.mark.parametrize(
    ("settings", "lacking"), [({"username": "svc"}, "password"), ({"password": "s3cret"}, "username")]
)
def test_half_a_login_is_refused_and_not_replaced_by_another(settings: dict[str, str], lacking: str) -> None:
    elsewhere = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "p"}
    with pytest.raises(SettingsError, match=f"is set without registry.{lacking}: set both") as caught:
        resolve_auth(RegistrySettings.model_validate(settings), elsewhere)
    assert "s3cret" not in str(caught.value)
    assert header(RegistrySettings.model_validate(settings | {"token": "ours"}), {}) == "Bearer ours"


@pytest.mark.parametrize(
    ("status", "asked"),
    [(502, "does the proxy in front"), (503, "is the server still starting"), (504, "is the server overloaded")],
)
def test_an_answer_of_a_server_that_is_not_ready_says_what_to_look_at(status: int, asked: str) -> None:
    with serving(replying(status, "<html>")) as server, pytest.raises(Unavailable) as caught:
        transport(server.uri, Limits(retries=0)).get("/x")
    assert f"GET /x: {status} " in str(caught.value)
    assert f" from {server.uri}: {asked}" in str(caught.value)
    assert str(caught.value).endswith("?")


def test_a_renewed_token_answers_like_the_first_with_text_too() -> None:
    def only_new(handler: BaseHTTPRequestHandler) -> None:
        known = handler.headers["Authorization"] == "Bearer new"
        replying(200 if known else 401, "3.17.2")(handler)

    class Renewing(HeaderAuth):
        def renew(self) -> bool:
            self._value = "new"
            return True

    with serving(only_new) as server:
        assert transport(server.uri, auth=Renewing("Bearer", "old")).text("/version") == "3.17.2"


@pytest.mark.parametrize(
    ("settings", "environ", "named"),
    [
        ({"token": "s3cret"}, {}, "the server refused registry.token: is it correct"),
        ({"username": "svc", "password": "s3cret"}, {}, "user svc with the password of registry.password"),
        ({}, {"MLFLOW_TRACKING_TOKEN": "s3cret"}, "the token of MLFLOW_TRACKING_TOKEN"),
        ({}, {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "s3cret"},
         "user me of MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        ({}, {}, "no credentials were sent"),
    ],
)  # fmt: skip
def test_a_401_says_which_credential_was_used(settings: dict[str, str], environ: dict[str, str], named: str) -> None:
    auth = resolve_auth(RegistrySettings(**settings), environ)  # type: ignore[arg-type]
    with serving(replying(401, "no")) as server, pytest.raises(Refused) as caught:
        transport(server.uri, auth=auth).get("/x")
    assert named in str(caught.value)
    assert f"from {server.uri}" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_of_a_long_message_the_end_is_told_too() -> None:
    body = json.dumps({"error_code": "E", "message": f"Invalid value '{'x' * 9000}': the end is what matters"}).encode()
    _, told = mlflow_error(body)
    assert told.startswith("Invalid value 'xxx")
    assert told.endswith("the end is what matters")
    assert len(told) < 310


@pytest.mark.parametrize(
    ("kind", "says"),
    [("application/json", "JSON that is broken or cut off"), ("text/html", "text/html instead of JSON")],
)
def test_a_broken_body_is_told_by_what_it_was_to_be(kind: str, says: str) -> None:
    with serving(replying(200, '{"model_versions": [', Content_Type=kind)) as server:
        with pytest.raises(Unavailable) as caught:
            transport(server.uri).get("/x")
        assert f"answered with {says}: " in str(caught.value)
