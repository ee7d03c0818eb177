from __future__ import annotations

from tests.store.conftest import engine

__all__ = ["engine"]
