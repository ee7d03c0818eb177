"""Whoever edits decision tags on a plain server makes a witness that disagrees; whoever renames a model does not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.conftest import DECISION, Product, Server

Name = Callable[[str], str]
_EDITED = "on a server without the app anybody with write access can"


@dataclass
class Told:
    """A version about which two decisions were told, its tag before and after the second; and the tag of another."""

    server: Server
    product: Product
    model: str
    other: str
    first_text: str
    text: str
    others_text: str
    first: str
    newest: str

    def verified(self) -> tuple[int, list[str], str]:
        """How `audit verify --registry` ends, its differences about these models, and what else it says."""
        done = self.product.run("audit", "verify", "--registry")
        lines = [line for line in done.stdout.splitlines() if self.model in line or self.other in line]
        return done.returncode, lines, done.stderr


@pytest.fixture
def told(product: Product, name: Name) -> Iterator[Told]:
    server, model, other = Server(product.uri), name("fraud"), name("churn")
    server.version(model, metric=0.97)
    server.version(other, metric=0.97)
    server.ask(model)
    product.ok("once")
    first_text = server.shown(model)["tags"][DECISION]
    server.call("POST", "model-versions/transition-stage", json={
        "name": model, "version": "1", "stage": "None", "archive_existing_versions": False})  # fmt: skip
    server.ask(model, "again")
    server.ask(other)
    product.ok("once")
    mine = [row["decision_id"] for row in product.decisions() if row["model"] == model]
    texts = [server.shown(one)["tags"][DECISION] for one in (model, other)]
    yield Told(server, product, model, other, first_text, *texts, first=mine[1], newest=mine[0])
    for one in (model, other):
        server.call("POST", "model-versions/set-tag", json={"name": one, "version": "1", "key": DECISION, "value": "."})


def of_release_0_1_0(text: str, id: str) -> str:
    return f"Approved fraud/1/Production (decision {id}, policy abababababab): all checks passed."


EDITS: dict[str, Callable[[Told], str]] = {
    "hash not hex": lambda told: re.sub("sha256:..", "sha256:zz", told.text),
    "hash in capitals": lambda told: re.sub("sha256:([0-9a-f]+)", lambda m: f"sha256:{m[1].upper()}", told.text),
    "hash cut": lambda told: re.sub("(sha256:[0-9a-f]{40})[0-9a-f]{24}", r"\1", told.text),
    "hash gone": lambda told: re.sub(", log entry [0-9]+ sha256:[0-9a-f]+", "", told.text),
    "number gone": lambda told: re.sub("log entry [0-9]+", "log entry", told.text),
    "id cut": lambda told: told.text.replace(told.newest, told.newest[:-1]),
    "id in capitals": lambda told: told.text.replace(told.newest, told.newest.upper()),
    "the tag of before": lambda told: told.first_text,
    "some text": lambda told: "approved, trust me",
    "as release 0.1.0 wrote": lambda told: of_release_0_1_0(told.text, told.newest),
    "the tag of another version": lambda told: told.others_text,
}


def test_a_tag_that_was_edited_is_a_difference_that_does_not_accuse_the_database(told: Told) -> None:
    differences: dict[str, list[str]] = {}
    assert told.verified()[1] == []
    for edit, text in EDITS.items():
        told.server.tag(told.model, text(told), DECISION)
        code, differences[edit], _ = told.verified()
        assert code == 1, edit
    told.server.call("DELETE", "model-versions/delete-tag", json={"name": told.model, "version": "1", "key": DECISION})
    code, differences["no tag"], _ = told.verified()
    assert code == 1
    for edit, lines in differences.items():
        assert any(told.newest in line and _EDITED in line for line in lines), (edit, lines)
        assert not any("database or that text" in line or "not in the database" in line for line in lines), (
            edit,
            lines,
        )
    told.server.tag(told.model, told.text, DECISION)
    assert told.verified()[1] == []


def test_a_model_that_was_renamed_deleted_or_made_anew_is_no_difference(told: Told, tmp_path: Path) -> None:
    server = told.server
    new_name = {"name": told.model, "new_name": f"{told.model}-renamed"}
    server.call("POST", "registered-models/rename", json=new_name)
    assert told.verified()[1] == []
    server.call("POST", "registered-models/rename", json={"name": new_name["new_name"], "new_name": told.model})
    server.call("DELETE", "registered-models/delete", json={"name": told.other})
    assert told.verified()[1] == []
    # Another version with the name and the number of the one that was decided about.
    server.version(told.other, metric=0.97)
    assert told.verified()[1] == []


def test_the_tag_of_another_model_is_a_difference_while_that_model_is_there(told: Told) -> None:
    told.server.tag(told.other, told.text, DECISION)
    code, lines, _ = told.verified()
    assert code == 1
    assert any(told.newest in line and f"is about {told.model} version 1" in line for line in lines)
