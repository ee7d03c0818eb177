"""Metrics that are shares of one, by their names."""

from __future__ import annotations

import re

Bounds = tuple[float, float]

# A value outside [0, 1] is not a good model but a broken measurement.
_SHARES = frozenset({"accuracy", "acc", "precision", "recall", "auc", "f1"})
# `validationAccuracy` and `ROCScore` are two words each, as `val_acc` and `val/acc` are.
_WORD = re.compile(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*")

# MLflow stores infinities as the largest double (1.7976931348623157e308) and serves them as that number.
_AS_GOOD_AS_INFINITE = 1.797e308


def bounds_of(name: str) -> Bounds | None:
    """[0, 1] where a word of the metric's name is a share's, such as `val_acc`."""
    return (0.0, 1.0) if _SHARES.intersection(map(str.lower, _WORD.findall(name))) else None


def is_finite(value: float) -> bool:
    """False for NaN, and for infinities as MLflow serves them."""
    return abs(value) < _AS_GOOD_AS_INFINITE
