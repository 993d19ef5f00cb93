"""The statements of the catalogue in the words of PostgreSQL.

Most are the same. What differs: parameters have numbers, lists of numbers are asked otherwise, and
temporary tables have another schema and other types. And paths: a path may be longer than what an
entry of an index can hold, so indexes have its beginning alone, and a digest that makes it unique.
Every comparison and order of paths names the beginning first, so that the index answers it.
"""

import re
from functools import cache
from zlib import crc32

INDEXED = 2048
"""So many bytes of a path are in an index; PostgreSQL takes less than 2700 altogether."""
PATH = "path"

_PARAMETER = re.compile(r"\?(\d*)")
_LIST = re.compile(r"SELECT value FROM json_each\((\$\d+)\)")
_TEMPORARY_INDEX = re.compile(r"CREATE INDEX temp\.(\w+) ON (\w+)")
_EQUAL = re.compile(r"((?:\w+\.)?path) = (\$\d+|\w+\.path)")
_RANGE = re.compile(r"((?:\w+\.)?path) (>=|<) (\$\d+)")
_ROWS = re.compile(r"\(dataset_no, path, valid_from\) > \((\$\d+), (\$\d+), (\$\d+)\)")
_ORDER = re.compile(r"ORDER BY (?:(?! LIMIT| OFFSET|\)).)+")
_ORDERED = re.compile(r"\b((?:\w+\.)?path)\b( DESC)?")
_TARGET = re.compile(r"ON CONFLICT \(([^)]*\bpath\b[^)]*)\)")
_INSERT = re.compile(r"INSERT INTO (\w+) \(([\w, ]+)\) VALUES \([?, ]+\)( .*)?")
_KEY = re.compile(r"ON CONFLICT \(([\w, ]+)\) DO UPDATE")


def beginning(path: str) -> str:
    """The part of a path that is in indexes; its order is that of paths."""
    return f"substring({path}, 1, {INDEXED})"


def key_of(path: str) -> str:
    """Two expressions that are the same for no two paths."""
    rest = f"CASE WHEN length({path}) > {INDEXED} THEN sha256({path}) ELSE ''::bytea END"
    return f"{beginning(path)}, ({rest})"


@cache
def translated(statement: str) -> str:
    """A statement with `?` as PostgreSQL takes it, with `$1`."""
    text = _numbered(statement)
    if "temp." in text or " TEMP " in text:
        text = _temporary(text)
    text = _LIST.sub(r"SELECT value::bigint FROM json_array_elements_text(\1::json) AS value", text)
    return _paths(text) if PATH in text else text


def _numbered(statement: str) -> str:
    count = 0

    def number(found: re.Match[str]) -> str:
        nonlocal count
        if found[1]:
            return f"${found[1]}"
        count += 1
        return f"${count}"

    return _PARAMETER.sub(number, statement)


def _temporary(text: str) -> str:
    text = _TEMPORARY_INDEX.sub(r"CREATE INDEX \1 ON pg_temp.\2", text)
    if text.startswith("CREATE TEMP TABLE"):
        text = text.replace(" INTEGER", " BIGINT").removesuffix(" WITHOUT ROWID")
    return text.replace("temp.", "pg_temp.").replace("pg_pg_temp.", "pg_temp.")


def _paths(text: str) -> str:
    text = _ROWS.sub(
        lambda found: (
            f"(dataset_no, {beginning(PATH)}, path, valid_from)"
            f" > ({found[1]}, {beginning(found[2])}, {found[2]}, {found[3]})"
        ),
        text,
    )
    text = _EQUAL.sub(
        lambda found: (
            f"({found[1]} = {found[2]} AND {beginning(found[1])} = {beginning(found[2])})"
        ),
        text,
    )
    text = _RANGE.sub(
        lambda found: (
            f"({beginning(found[1])}, {found[1]}) {found[2]} ({beginning(found[3])}, {found[3]})"
        ),
        text,
    )
    text = _ORDER.sub(lambda found: _ORDERED.sub(_in_order, found[0]), text)
    return _TARGET.sub(lambda found: f"ON CONFLICT ({found[1].replace(PATH, key_of(PATH))})", text)


def _in_order(found: re.Match[str]) -> str:
    down = found[2] or ""
    return f"{beginning(found[1])}{down}, {found[1]}{down}"


class Insertion:
    """An INSERT of values, taken apart: so that many rows can come in one go.

    `staged` takes them from the table `stage`; `key` are the positions of the columns of which no
    two of these rows may have the same, None when it does not matter.
    """

    def __init__(self, table: str, columns: str, ending: str) -> None:
        self.table = table
        self.columns = columns
        self.stage = f"stage_{table}_{crc32(columns.encode()):08x}"
        names = columns.split(", ")
        none = f"SELECT {columns} FROM {table} WITH NO DATA"  # noqa: S608 - of our own statements
        self.made = f"CREATE TEMP TABLE IF NOT EXISTS {self.stage} ON COMMIT DELETE ROWS AS {none}"
        found = _KEY.search(ending)
        self.key = None if found is None else [names.index(one) for one in found[1].split(", ")]
        self.staged = translated(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {self.stage}{ending}"  # noqa: S608 - same
        )


@cache
def insertion(statement: str) -> Insertion | None:
    """The parts of an INSERT of plain values; None of anything else."""
    found = _INSERT.fullmatch(statement)
    if found is None or found[1].startswith("temp"):
        return None
    return Insertion(found[1], found[2], found[3] or "")
