"""Moments and durations as people write them."""

from __future__ import annotations

import pytest

from reconciler.domain.times import parse_iso


@pytest.mark.parametrize("text", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"])
def test_a_moment_that_utc_has_no_year_for_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="lies outside"):
        parse_iso(text)
