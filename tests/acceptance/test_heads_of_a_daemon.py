"""Heads of the log from the running daemon: where they go by themselves, and what is seen when they have no place."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from reconciler.domain.proofs.checkpoint import heads_in
from tests.acceptance.conftest import Product, Server
from tests.acceptance.test_daemon import daemon, ended, until
from tests.history import key_pair

Name = Callable[[str], str]


def test_heads_lie_beside_the_database_signed_and_the_last_one_covers_the_end_of_the_daemon(
    product: Product, name: Name, tmp_path: Path
) -> None:
    server = Server(product.uri)
    pem, public = key_pair(tmp_path)
    (tmp_path / "key").write_text(pem)
    product.variables["RECONCILER_AUDIT__SIGNING_KEY_FILE"] = str(tmp_path / "key")
    server.version(name("fraud"), metric=0.94)
    server.ask(name("fraud"))
    log, heads = tmp_path / "log", tmp_path / "audit.heads"
    with daemon(product, log) as process:
        until(lambda: server.shown(name("fraud"))["current_stage"] == "Production", "the version in Production")
        until(lambda: heads.exists() and bool(heads.read_text()), "the first head")
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    found = heads_in(heads.read_text())
    assert found.torn == 0
    assert product.ok("audit", "verify").startswith(f"intact: {found.heads[-1].size} entries, root ")
    said = product.ok("audit", "verify", "--head", str(heads), "--key", str(public))
    assert f"{len(found.heads)} head" in said
    assert [head.root for head in heads_in(log.read_text()).heads] == [head.root for head in found.heads]


def test_a_place_that_cannot_be_written_stops_no_act_and_is_seen_in_status_until_it_can_be(
    product: Product, name: Name, tmp_path: Path
) -> None:
    server = Server(product.uri)
    folder = tmp_path / "elsewhere"
    product.variables["RECONCILER_AUDIT__HEADS"] = str(folder / "audit.heads")
    server.version(name("fraud"), metric=0.94)
    server.ask(name("fraud"))
    log = tmp_path / "log"
    with daemon(product, log):
        until(lambda: server.shown(name("fraud"))["current_stage"] == "Production", "the version in Production")
        until(lambda: "acts go on" in product.run("status").stdout, "the problem in status")
        assert "audit.heads: " in log.read_text()
        folder.mkdir()
        until(lambda: (folder / "audit.heads").exists(), "the heads that waited")
        until(lambda: "acts go on" not in product.run("status").stdout, "the problem gone")
    kept = heads_in((folder / "audit.heads").read_text()).heads
    assert [head.size for head in kept] == sorted({head.size for head in kept})
    assert product.run("audit", "verify", "--head", str(folder / "audit.heads")).returncode == 0
