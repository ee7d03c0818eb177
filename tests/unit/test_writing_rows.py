"""Rows are written column by column, and read as if each had been written by itself."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.shown.columns import parts_of
from reconciler.cli.shown.output import Format, Shape, row_writer

CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)
ROWS = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        st.lists(st.text(), min_size=width, max_size=width, unique=True),
        st.lists(st.lists(CELLS, min_size=width, max_size=width).map(tuple), max_size=5),
    )
)


def written(format: Format, fields: list[str], rows: list[tuple[Any, ...]], *, at_once: bool) -> str:
    stream = io.StringIO()
    writer = row_writer(Shape(format), stream)
    writer.begin(fields)
    if at_once:
        writer.write_parts(parts_of(rows))
    else:
        writer.write_all(dict(zip(fields, row, strict=True)) for row in rows)
    writer.end()
    return stream.getvalue()


@pytest.mark.parametrize("format", [Format.JSON, Format.JSONL])
@given(ROWS)
def test_rows_as_values_are_written_as_rows_with_names(
    format: Format, given_rows: tuple[list[str], list[tuple[Any, ...]]]
) -> None:
    fields, rows = given_rows
    text = written(format, fields, rows, at_once=True)
    assert text == written(format, fields, rows, at_once=False)
    assert text.isascii()


def test_of_many_rows_none_is_lost_where_parts_meet() -> None:
    rows = [(number, str(number) if number % 7 else None) for number in range(1_501)]
    found = json.loads(written(Format.JSON, ["number", "50 %s"], rows, at_once=True))
    assert found == [{"number": number, "50 %s": text} for number, text in rows]


def test_a_row_with_a_cell_too_few_is_a_defect() -> None:
    with pytest.raises((TypeError, ValueError)):
        written(Format.JSON, ["one", "two"], [(1, 2), (1,)], at_once=True)
