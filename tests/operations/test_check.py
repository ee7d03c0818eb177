"""`check` says OK only of what it tried, each failure once, and leaves everything as it was."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import create_engine, inspect

from reconciler.audit.append_only import APPEND_ONLY
from tests.acceptance.conftest import Product
from tests.command import COMMAND
from tests.databricks_double import Workspace, workspace
from tests.operations.conftest import POLICY, product_on

API = "/api/2.0/mlflow"
DAY = timedelta(days=1)


def findings(product: Product) -> dict[str, tuple[str, str]]:
    told = json.loads(product.run("check", "--json").stdout)
    return {one["name"]: (one["level"], one["detail"]) for one in told}


def levels(product: Product) -> dict[str, str]:
    return {name: level for name, (level, _) in findings(product).items()}


# --- the metrics file ----------------------------------------------------------------------------------------


def test_a_metrics_file_that_cannot_be_written_has_a_line_that_says_why(product: Product, tmp_path: Path) -> None:
    assert "metrics" not in findings(product)
    absent = tmp_path / "absent/m.prom"
    for path, level, said in (
        (absent, "WARN", f"metrics.path: there is no folder {absent.parent}: create it"),
        (tmp_path, "FAIL", f"metrics.path: {tmp_path} is a folder: name a file in it"),
    ):
        product.variables["RECONCILER_METRICS__PATH"] = str(path)
        told = findings(product)["metrics"]
        assert (told[0], told[1].startswith(said)) == (level, True), told
    assert not list(tmp_path.rglob("m.prom"))


def test_a_metrics_file_that_the_daemon_wrote_is_in_order_whoever_looks(product: Product, tmp_path: Path) -> None:
    path = tmp_path / "m.prom"
    product.variables["RECONCILER_METRICS__PATH"] = str(path)
    path.write_text("")
    assert findings(product)["metrics"] == ("OK", f"{path} was written in the last ten minutes")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("mode", "level", "said"), [
    (0o777, "OK", "can be written by this user"), (0o755, "WARN", "this user may not write to"),
])  # fmt: skip
def test_a_user_is_told_whether_he_may_write_the_metrics_file_and_root_is_told_nothing(
    mode: int, level: str, said: str
) -> None:
    code = (
        "import os, sys; from pathlib import Path; from reconciler.doctor.files import metrics;"
        "from reconciler.settings.model import MetricsSettings, Settings;"
        "settings = Settings(metrics=MetricsSettings(path=Path(sys.argv[1])));"
        "[root] = metrics(settings); os.setuid(65534); [nobody] = metrics(settings);"
        "print(root.level, nobody.level, nobody.detail)"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(mode)
        command = [sys.executable, "-c", code, f"{folder}/m.prom"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.startswith(f"SKIP {level} ")
    assert said in done.stdout


# --- the configuration first ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "once"])
def test_with_nothing_configured_the_configuration_is_told_before_the_database(command: str, tmp_path: Path) -> None:
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [COMMAND, command], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120, check=False
    )
    said = "no policy is configured: set policy or RECONCILER_POLICY to the path of a policy file\n"
    assert (done.returncode, done.stderr) == (78, said)
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "policy.yaml").chmod(0o644)
    variables["RECONCILER_POLICY"] = str(tmp_path / "policy.yaml")
    done = subprocess.run([COMMAND, command], env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.startswith("no registry is configured: set registry.uri")) == (78, True)


# --- nothing to try it on ------------------------------------------------------------------------------------


def test_rights_in_a_database_without_tables_are_not_said_to_be_in_order(product: Product, audit_url: str) -> None:
    if audit_url.startswith("sqlite"):
        audit_url = audit_url.replace("audit.db", "empty.db")
    product.variables["RECONCILER_AUDIT__URL"] = audit_url
    told = findings(product)
    assert told["database"][0] == "FAIL"
    for name in ("rights", "append-only"):
        level, detail = told[name]
        assert (level, detail.startswith("not tried: ")) == ("SKIP", True)
        assert detail.endswith("run `mlflow-reconciler db upgrade`")
    product.ok("db", "upgrade")
    assert levels(product)["rights"] == "OK"
    engine = create_engine(audit_url.replace("postgresql://", "postgresql+psycopg://"))
    assert inspect(engine).has_table("decisions")
    engine.dispose()


def test_looking_creates_no_database(product: Product, tmp_path: Path) -> None:
    product.variables["RECONCILER_AUDIT__URL"] = f"sqlite:///{tmp_path}/mistyped.db"
    codes = {command: product.run(command).returncode for command in ("check", "status", "once")}
    assert codes == {"check": 1, "status": 69, "once": 78}
    assert not (tmp_path / "mistyped.db").exists()


def test_of_empty_tables_only_the_triggers_are_told(product: Product) -> None:
    before = findings(product)["append-only"][1]
    assert before == f"{len(APPEND_ONLY)} tables without rows to try it on; the triggers exist"
    product.ok("once")
    after = findings(product)["append-only"][1]
    assert after == (
        "5 tables refused UPDATE and DELETE of one row (rolled back); "
        f"{len(APPEND_ONLY) - 5} tables without rows to try it on; the triggers exist"
    )


def test_in_an_empty_registry_nothing_is_ok_that_needs_a_version(held: Workspace, product: Product) -> None:
    told = levels(product)
    assert {told[name] for name in ("requests", "versions", "runs", "permissions")} == {"SKIP"}
    assert told["registry"] == "OK"
    held.ask("m", held.version("m", "0.95"))
    told = levels(product)
    assert {told[name] for name in ("requests", "versions", "runs", "permissions")} == {"OK"}
    asked = {(method, path.removeprefix(f"{API}/")) for method, path, _ in held.calls}
    assert asked >= {
        ("GET", "registered-models/search"), ("GET", "model-versions/search"), ("GET", "transition-requests/list"),
        ("GET", "model-versions/get"), ("POST", "experiments/search"), ("POST", "runs/search"), ("GET", "runs/get"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("refused", "line"),
    [("model-versions/get", "versions"), ("runs/get", "runs"), ("runs/search", "runs"),
     ("databricks/registered-models/get", "permissions")],
)  # fmt: skip
def test_a_call_that_is_refused_is_one_fail_and_the_others_are_tried(
    held: Workspace, product: Product, refused: str, line: str
) -> None:
    held.ask("m", held.version("m", "0.95"))
    denied = 403, {"error_code": "PERMISSION_DENIED", "message": "no"}
    held.before = lambda method, path: denied if path == f"{API}/{refused}" else None
    told = findings(product)
    assert [name for name, (level, _) in told.items() if level == "FAIL"] == [line]
    assert f"{refused}: 403 PERMISSION_DENIED" in told[line][1]


# --- the way there -------------------------------------------------------------------------------------------


def only_failure(product: Product) -> tuple[str, str]:
    [(name, detail)] = [(name, detail) for name, (level, detail) in findings(product).items() if level == "FAIL"]
    assert levels(product)["permissions"] == "SKIP"
    return name, detail


def test_a_server_that_cannot_be_reached_is_told_once(product: Product) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for scheme in ("http", "https"):
        product.variables["RECONCILER_REGISTRY__URI"] = f"{scheme}://127.0.0.1:{port}"
        name, detail = only_failure(product)
        assert (name, "connection refused" in detail) == ("registry", True)


def test_a_server_that_is_lost_halfway_is_told_once(held: Workspace, product: Product) -> None:
    held.ask("m", held.version("m", "0.95"))
    held.wire = lambda method, path: None if path.endswith("transition-requests/list") else "reset before"
    name, detail = only_failure(product)
    assert (name, "closed" in detail or "reset" in detail) == ("registry", True)
    told = findings(product)
    assert {told[one] for one in ("versions", "runs")} == {("SKIP", f"not tried: {held.uri} cannot be reached")}


def test_plain_text_to_a_port_that_speaks_tls_is_told_as_that(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with workspace(context) as held:
        uri = held.uri.replace("https://", "http://")
        said = f"{uri} speaks TLS but was called in plain text: use https:// (registry.uri)"
        told_by_once_and_check(product_on(uri, tmp_path), said, "registry")


def test_tls_to_a_port_that_speaks_plain_text_is_told_as_that(held: Workspace, tmp_path: Path) -> None:
    uri = held.uri.replace("http://", "https://")
    said = f"{uri} was called by TLS but answers in plain text: use http:// (registry.uri)"
    told_by_once_and_check(product_on(uri, tmp_path), said, "tls")


def told_by_once_and_check(product: Product, said: str, line: str) -> None:
    assert said in product.run("once").stderr
    name, detail = only_failure(product)
    assert (name, said in detail) == (line, True)


def test_a_proxy_that_says_the_port_is_one_for_tls_is_believed(held: Workspace, product: Product) -> None:
    """As nginx does, in an answer of its own and in plain text."""
    said = {"message": "400 The plain HTTP request was sent to HTTPS port"}
    held.before = lambda method, path: (400, said)
    assert "speaks TLS but was called in plain text: use https:// (registry.uri)" in product.run("once").stderr


def authority(name: str, ends: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(ends - 90 * DAY)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return made.sign(key, hashes.SHA256()), key


def test_an_expired_ca_is_told_and_not_the_servers_own_certificate(tmp_path: Path) -> None:
    ended = datetime.now(UTC) - 3 * DAY - timedelta(hours=1)
    root, root_key = authority("Our Root", ended)
    pem = serialization.Encoding.PEM
    (tmp_path / "ca.pem").write_bytes(root.public_bytes(pem))
    key = root_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signed = trustme.CA.from_pem(root.public_bytes(pem), key)
    signed.issue_cert("127.0.0.1", not_after=datetime.now(UTC) + 30 * DAY).configure_cert(context)
    with workspace(context) as held:
        product = product_on(held.uri, tmp_path)
        product.variables["MLFLOW_TRACKING_SERVER_CERT_PATH"] = str(tmp_path / "ca.pem")
        said = (
            f"the CA certificate Our Root, which signed that of 127.0.0.1, expired on {ended:%Y-%m-%d} (3d 1h ago): "
            "renew the CA certificate, and set MLFLOW_TRACKING_SERVER_CERT_PATH to the new one"
        )
        assert said in product.run("once").stderr
        assert only_failure(product) == ("tls", said)
