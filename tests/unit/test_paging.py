"""A list is read to its end, or there is no list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.ports import Unavailable
from reconciler.registry.paging import rows_in_pages

Pages = Mapping[str, Any]


def server(pages: Pages, asked: list[str]) -> Callable[[Mapping[str, str]], Any]:
    """Answers each token with its page, and notes what it was asked; "" stands for no token."""

    def answer(more: Mapping[str, str]) -> Any:
        asked.append(more.get("page_token", ""))
        assert len(asked) < 100, "it does not end"
        return pages[asked[-1]]

    return answer


@given(st.lists(st.lists(st.integers(), max_size=4), min_size=1, max_size=6))
def test_the_rows_of_every_page_come_once_and_in_order_and_empty_pages_do_not_end_the_list(
    numbers: list[list[int]],
) -> None:
    pages = {
        str(place or ""): {"rows": [{"n": one} for one in page], "next_page_token": str(place + 1)}
        for place, page in enumerate(numbers)
    }
    pages[str(len(numbers) - 1 or "")].pop("next_page_token")
    asked: list[str] = []
    read = [row["n"] for row in rows_in_pages(server(pages, asked), "rows")]
    assert read == [one for page in numbers for one in page]
    assert len(asked) == len(numbers)


@pytest.mark.parametrize(
    "pages",
    [
        {"": {"rows": [{}], "next_page_token": "a"}, "a": {"rows": [{}], "next_page_token": "a"}},
        {"": {"next_page_token": "a"}, "a": {"next_page_token": "a"}},
        {"": {"next_page_token": "a"}, "a": {"next_page_token": "b"}, "b": {"rows": [{}], "next_page_token": "a"}},
    ],
    ids=["a token that repeats", "an empty page that repeats its token", "two tokens that take turns"],
)
def test_a_token_that_comes_twice_is_an_error_and_not_the_end(pages: Pages) -> None:
    asked: list[str] = []
    with pytest.raises(Unavailable, match="the list of rows cannot be read to its end: the server repeats a page"):
        list(rows_in_pages(server(pages, asked), "rows"))
    assert len(asked) == len(set(asked))
