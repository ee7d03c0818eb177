"""Behind a firewall: a forward proxy, a private CA, client certificates, IPv6, a token that rotates. All for real."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from tests.acceptance.conftest import Product
from tests.databricks_double import Workspace, workspace
from tests.operations.conftest import product_on


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def server_context(authority: trustme.CA, *, clients: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    if clients:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def asked(held: Workspace) -> None:
    held.ask("m", held.version("m", "0.95"))


def test_a_private_ca_is_trusted_when_it_is_named_and_refused_when_not(
    authority: trustme.CA, bundle: str, tmp_path: Path
) -> None:
    with workspace(server_context(authority)) as held:
        asked(held)
        product = product_on(held.uri, tmp_path)
        refused = product.run("once")
        assert (refused.returncode, "TLS failed" in refused.stderr) == (69, True)
        assert "FAIL tls: the certificate is not trusted" in product.run("check").stdout
        product.variables["MLFLOW_TRACKING_SERVER_CERT_PATH"] = bundle
        product.ok("once")
        assert "OK   tls: the chain is trusted; the certificate expires in" in product.run("check").stdout
        assert held.models["m"]["1"].stage == "Production"


def test_an_expired_certificate_is_told_as_expiry_with_its_date(
    authority: trustme.CA, bundle: str, tmp_path: Path
) -> None:
    ended = datetime.now(UTC) - timedelta(days=3, hours=1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_before=ended - timedelta(days=90), not_after=ended).configure_cert(context)
    with workspace(context) as held:
        product = product_on(held.uri, tmp_path)
        product.variables["MLFLOW_TRACKING_SERVER_CERT_PATH"] = bundle
        said = f"the certificate of 127.0.0.1 expired on {ended:%Y-%m-%d} (3d 1h ago): renew it"
        refused = product.run("once")
        assert (refused.returncode, said in refused.stderr) == (69, True), refused.stderr
        assert f"FAIL tls: {said}" in product.run("check").stdout
        assert "to its CA" not in refused.stderr


def test_a_certificate_for_another_host_is_told_as_that(authority: trustme.CA, bundle: str, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mlflow.example.com").configure_cert(context)
    with workspace(context) as held:
        product = product_on(held.uri, tmp_path)
        product.variables["MLFLOW_TRACKING_SERVER_CERT_PATH"] = bundle
        assert "the certificate is not for 127.0.0.1" in product.run("once").stderr


def test_a_client_certificate_is_shown_where_the_server_asks_for_one(
    authority: trustme.CA, bundle: str, tmp_path: Path
) -> None:
    client = tmp_path / "client.pem"
    authority.issue_cert("reconciler@example.com").private_key_and_cert_chain_pem.write_to_path(str(client))
    with workspace(server_context(authority, clients=True)) as held:
        asked(held)
        product = product_on(held.uri, tmp_path)
        product.variables["MLFLOW_TRACKING_SERVER_CERT_PATH"] = bundle
        assert product.run("once").returncode == 69
        product.variables["MLFLOW_TRACKING_CLIENT_CERT_PATH"] = str(client)
        product.ok("once")
        assert held.models["m"]["1"].stage == "Production"


def test_ipv6_is_an_address_like_any_other(tmp_path: Path) -> None:
    with workspace(host="::1") as held:
        asked(held)
        product_on(held.uri, tmp_path).ok("once")
        assert held.models["m"]["1"].stage == "Production"


class Tunnel(socketserver.StreamRequestHandler):
    """CONNECT of a forward proxy."""

    seen: list[str]

    def handle(self) -> None:
        line = self.rfile.readline().decode()
        while self.rfile.readline().strip():
            pass
        self.seen.append(line.split()[1])
        host, _, port = line.split()[1].rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with contextlib.suppress(OSError):
                self._shovel(there)

    def _shovel(self, there: socket.socket) -> None:
        pairs = {self.connection: there, there: self.connection}
        while True:
            for one in select.select(list(pairs), [], [])[0]:
                if not (data := one.recv(65536)):
                    return
                pairs[one].sendall(data)


@contextlib.contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), type("Seen", (Tunnel,), {"seen": seen}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()


def test_a_forward_proxy_is_used_unless_no_proxy_says_otherwise(
    authority: trustme.CA, bundle: str, tmp_path: Path
) -> None:
    with workspace(server_context(authority)) as held, proxy() as (address, seen):
        asked(held)
        product = product_on(held.uri, tmp_path)
        product.variables |= {"MLFLOW_TRACKING_SERVER_CERT_PATH": bundle, "HTTPS_PROXY": address}
        product.ok("once")
        assert set(seen) == {held.uri.removeprefix("https://")}
        assert f"OK   proxy: {address.removeprefix('http://')}" in product.run("check").stdout
        before = len(seen)
        product.variables["NO_PROXY"] = "127.0.0.1"
        product.ok("once")
        assert len(seen) == before


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("https_proxy", "::::", "is not the address of a proxy: use http://HOST:PORT"),
        ("HTTPS_PROXY", "http://ada:s3cret@proxy:none", "is not the address of a proxy: use http://HOST:PORT"),
        ("ALL_PROXY", "ftp://proxy:3128", "is not the address of a proxy: use http://HOST:PORT"),
        ("https_proxy", "socks5://ada:s3cret@proxy:1080", "names a SOCKS proxy: `pip install pysocks`"),
    ],
)
def test_a_variable_that_names_no_usable_proxy_is_named(product: Product, variable: str, value: str, said: str) -> None:
    product.variables |= {"RECONCILER_REGISTRY__URI": "https://mlflow.example.com", variable: value}
    refused, checked = product.run("once"), product.run("check")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (78, 1), refused.stderr
    assert refused.stderr.startswith(f"{variable}: {said}")
    assert checked.returncode == 1, checked.stderr
    assert f"FAIL proxy: {variable}: {said}" in checked.stdout
    assert "SKIP registry: not tried (see proxy)" in checked.stdout
    assert "s3cret" not in refused.stderr + checked.stdout + checked.stderr


def test_a_client_certificate_that_is_none_is_told_by_its_variable(product: Product, tmp_path: Path) -> None:
    product.variables |= {"RECONCILER_REGISTRY__URI": "https://127.0.0.1:1"}
    for path in (tmp_path, tmp_path / "policy.yaml"):
        product.variables["MLFLOW_TRACKING_CLIENT_CERT_PATH"] = str(path)
        refused, checked = product.run("once"), product.run("check")
        assert (refused.returncode, len(refused.stderr.splitlines())) == (78, 1), refused.stderr
        assert refused.stderr.startswith(f"MLFLOW_TRACKING_CLIENT_CERT_PATH: {path} ")
        assert f"FAIL tls: MLFLOW_TRACKING_CLIENT_CERT_PATH: {path} " in checked.stdout


class SpeaksHttp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(1024)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_an_audit_url_that_leads_to_no_postgresql_says_which_part_to_look_at(product: Product) -> None:
    product.variables["RECONCILER_AUDIT__URL"] = "postgresql://nosuch.invalid/audit"
    refused = product.run("once")
    assert (refused.returncode, "is the host in audit.url correct" in refused.stderr) == (69, True), refused.stderr
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), SpeaksHttp) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for query in ("", "?sslmode=disable"):
            url = f"postgresql://127.0.0.1:{server.server_address[1]}/audit{query}"
            product.variables["RECONCILER_AUDIT__URL"] = url
            refused = product.run("once")
            assert refused.returncode == 69
            assert "is the port in audit.url the one of PostgreSQL?" in refused.stderr
        server.shutdown()


def test_a_token_file_that_is_replaced_is_read_again_after_one_refusal(held: Workspace, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    token.chmod(0o600)
    asked(held)
    product = product_on(held.uri, tmp_path)
    product.variables["RECONCILER_REGISTRY__TOKEN_FILE"] = str(token)
    held.accepts = "Bearer old"

    def rotate(method: str, path: str) -> None:
        if path.endswith("/approve"):
            held.accepts = "Bearer new"
            token.write_text("new\n")

    held.after = rotate
    product.ok("once")
    held.ask("m", held.version("m", "0.95"))
    held.after = lambda method, path: None
    product.ok("once")
    assert [version.stage for version in held.models["m"].values()] == ["Production", "Production"]


def test_a_token_that_is_refused_twice_is_refused(held: Workspace, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    product = product_on(held.uri, tmp_path)
    product.variables["RECONCILER_REGISTRY__TOKEN_FILE"] = str(token)
    held.accepts = "Bearer another"
    assert product.run("once").returncode == 69
    assert len(held.authorizations) == 1


def test_a_databricks_profile_names_workspace_and_credentials(held: Workspace, tmp_path: Path) -> None:
    profiles = tmp_path / "databrickscfg"
    profiles.write_text(f"[work]\nhost = {held.uri}\ntoken = dapi-of-this-test\n")
    held.accepts = "Bearer dapi-of-this-test"
    asked(held)
    product = product_on("databricks://work", tmp_path)
    product.variables["DATABRICKS_CONFIG_FILE"] = str(profiles)
    product.ok("once")
    [row] = product.decisions()
    assert (row["outcome"], row["registry"], row["requester_assurance"]) == ("applied", held.uri, "authenticated")
    unknown = product_on("databricks://nobody", tmp_path)
    unknown.variables["DATABRICKS_CONFIG_FILE"] = str(profiles)
    refused = unknown.run("once")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (78, 1)
    assert "no Databricks credentials" in refused.stderr


def test_nothing_of_databricks_is_loaded_for_another_registry(held: Workspace, tmp_path: Path) -> None:
    product = product_on(held.uri, tmp_path)
    code = (
        "import sys; from reconciler.bootstrap.cycles import run_once; "
        "from reconciler.settings.load import load_settings; run_once(load_settings(), True, print); "
        "sys.exit(any(name.partition('.')[0] in {'databricks', 'mlflow'} for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=product.environment(), check=False)
    assert done.returncode == 0
