"""The number of the engine that judges today, apart from the engine: whoever reads decisions loads no check."""

from __future__ import annotations

from typing import Final

# Stored with each decision. Whoever changes what a check finds, or how findings become a verdict, raises it and keeps
# the old engine in `evaluate.ENGINES`: an old verdict is never rewritten.
ENGINE: Final = 1
