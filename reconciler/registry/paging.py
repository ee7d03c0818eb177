"""The one way to read a paged list: to its end, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reconciler.ports import Unavailable

Row = Mapping[str, Any]


def rows_in_pages(ask: Callable[[Mapping[str, str]], Any], field: str) -> Iterator[Row]:
    """Every row of a list.

    A page may be short or empty and still not be the last: basic-auth filters rows after the query.

    Args:
        ask: reads one page. Its argument is added to the query: nothing first, then the page token.
        field: the field of a page that holds its rows.

    Raises:
        Unavailable: a page token was repeated, so the list would never end, or would end without some of its rows.
    """
    token, seen = "", set()
    while True:
        page = ask({"page_token": token} if token else {})
        yield from rows_of(page, field)
        token = page.get("next_page_token") or ""
        if not token:
            return
        if token in seen:
            raise Unavailable(f"the list of {field} cannot be read to its end: the server repeats a page token")
        seen.add(token)


def rows_of(answer: Any, field: str) -> list[Row]:
    """The list under `field`; absent means empty, since proto JSON omits empty lists."""
    rows = answer.get(field, []) if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unavailable(f"the registry's answer lacks the list {field!r}")
    return rows
