"""A product on the Databricks double: quick, and it fails on demand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.audit import schema
from tests.acceptance.conftest import Product
from tests.builders import accuracy_policy
from tests.databricks_double import Workspace, workspace

POLICY = accuracy_policy()


@pytest.fixture
def held() -> Iterator[Workspace]:
    with workspace() as held:
        yield held


def product_on(uri: str, place: Path) -> Product:
    product = Product(uri, place)
    product.variables |= {"RECONCILER_REGISTRY__BUDGET": "500", "RECONCILER_REGISTRY__TIMEOUT": "5s"}
    product.policy(POLICY)
    (place / "policy.yaml").chmod(0o644)
    schema.upgrade(f"sqlite:///{place}/audit.db")
    return product


@pytest.fixture
def product(held: Workspace, tmp_path: Path) -> Product:
    return product_on(held.uri, tmp_path)
