"""Rows of a catalogue as they could be: extremes of numbers, hard names, none."""

from typing import Any

from hypothesis import strategies as st
from sqlalchemy import Column, Integer, LargeBinary, SmallInteger, Table

from n2s_core.catalogue import schema

SMALL = 1 << 15
NUMBERS = st.integers(-(2**63), 2**63 - 1)
BYTES = st.binary(max_size=40) | st.sampled_from([b"", b"\0", b"\xff\xfe\n", b"a/b" * 900])
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def values_of(column: "Column[Any]") -> st.SearchStrategy[Any]:
    """What a column can hold, with its extremes."""
    if isinstance(column.type, LargeBinary):
        found: st.SearchStrategy[Any] = BYTES
    elif isinstance(column.type, SmallInteger):
        found = st.integers(-SMALL, SMALL - 1)
    elif type(column.type) is Integer:
        found = st.integers(-(2**31), 2**31 - 1)
    elif column.type.python_type is int:
        found = NUMBERS
    else:
        found = TEXTS
    return found | st.none() if column.nullable else found


def rows_of(table: Table) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    names = [column.name for column in table.columns]
    unique = [
        [names.index(column.name) for column in table.primary_key],
        *([names.index(column.name)] for column in table.columns if column.unique),
    ]
    return st.lists(
        st.tuples(*map(values_of, table.columns)),
        max_size=4,
        unique_by=tuple(
            (lambda row, at=at: tuple(row[one] for one in at))  # type: ignore[misc]
            for at in unique
        ),
    )


@st.composite
def contents(draw: st.DrawFn, without: frozenset[str]) -> dict[str, list[tuple[Any, ...]]]:
    """Rows for all tables but some: a catalogue that never was, with all that could be."""
    return {
        table.name: draw(rows_of(table))
        for table in schema.TABLES.sorted_tables
        if table.name not in without
    }
