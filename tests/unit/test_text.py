"""Text of strangers is made visible, by a short way where it already is."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.text import _escaped, visible

PRINTABLE_ASCII = st.text(string.ascii_letters + string.digits + string.punctuation + " ")
LIMITS = st.integers(1, 40)


@given(PRINTABLE_ASCII | st.text() | st.text(st.characters(max_codepoint=0xFF)), LIMITS)
def test_the_short_way_shows_what_the_long_way_shows(text: str, limit: int) -> None:
    assert visible(text, limit) == _escaped(text, limit)
