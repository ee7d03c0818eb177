"""The number of the current engine, apart from the engine, so that reading decisions loads no check."""

from __future__ import annotations

from typing import Final

# Stored with each decision. Raise it when what a check finds, or how findings become a verdict, changes, and keep the
# old engine in `evaluate.ENGINES`: an old verdict is never rewritten.
ENGINE: Final = 5
