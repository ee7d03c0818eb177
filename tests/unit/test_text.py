"""Text of strangers is made visible, by a short way where it already is."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.text import _escaped, number_beside, number_text, visible

PRINTABLE_ASCII = st.text(string.ascii_letters + string.digits + string.punctuation + " ")
LIMITS = st.integers(1, 40)


@given(PRINTABLE_ASCII | st.text() | st.text(st.characters(max_codepoint=0xFF)), LIMITS)
def test_the_short_way_shows_what_the_long_way_shows(text: str, limit: int) -> None:
    assert visible(text, limit) == _escaped(text, limit)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_told_so_that_it_is_read_again_as_the_same(number: float) -> None:
    assert float(number_text(number)) == number


def test_numbers_as_people_write_them_stay_as_they_are() -> None:
    assert [number_text(one) for one in (0.9, 100.0, 1e-10, 0.9999999, 9007199254740992.0)] == [
        "0.9", "100", "1e-10", "0.9999999", "9007199254740992",
    ]  # fmt: skip


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_computed_number_is_told_on_its_own_side_of_the_limit(number: float, limit: float) -> None:
    told = float(number_beside(number, limit))
    assert (told < limit, told > limit) == (number < limit, number > limit)
