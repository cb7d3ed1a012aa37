"""Raw Parquet: the one shape in which every format leaves (docs/architecture.md, "Raw files")."""

from __future__ import annotations

import csv
import dataclasses
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.engine import RESERVED, literal, quote
from penstock.model import Field, Json

if TYPE_CHECKING:
    import duckdb

RAW_TEXT_CHARACTERS = 4096
NULL = "\0"
"""How NULL is written between us and DuckDB: records that hold a NUL are errors anyway."""
LINE = f"{RESERVED}line"
ROW_GROUP_ROWS = 20_480
"""Small row groups stay in the cache: wide text is written 15 % faster than in 122,880."""
BLOCK_BYTES = 16 << 20
SAMPLE_BYTES = 256 << 10
MAX_RECORD_BYTES = 16 << 20
TOO_LONG = f"record longer than {MAX_RECORD_BYTES >> 20} MiB"
LINE_COLUMNS = {LINE: "BIGINT"}
ERROR_COLUMNS = {f"{RESERVED}error": "VARCHAR", f"{RESERVED}raw": "VARCHAR"}


@dataclass(frozen=True, slots=True)
class Part:
    """A block of one file as raw Parquet. `resume` is where the next starts; None: file done.

    Shape: `format` is what was found out, as the keys of a stream's `format`.
    """

    path: Path
    rows: int
    fields: tuple[Field, ...]
    resume: dict[str, Json] | None
    format: Mapping[str, Json] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Extra:
    """A column that every row of a file has alike: a `{…}` part of its path."""

    field: Field
    text: str

    @property
    def sql(self) -> str:
        return f"CAST({literal(self.text)} AS {self.field.type}) AS {quote(self.field.name)}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that could not be read."""

    line: int
    error: str
    text: str = ""


class RawWriter:
    """Makes raw Parquet files in `folder`, through DuckDB, with the file's extra columns."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        folder: Path,
        extras: Sequence[Extra] = (),
        limit_rows: int | None = None,
    ) -> None:
        self.connection, self.folder, self.extras = connection, folder, tuple(extras)
        self.limit_rows = limit_rows

    def new_path(self, suffix: str) -> Path:
        """A path in the folder that nothing else has."""
        return self.folder / f"{uuid.uuid4().hex}{suffix}"

    def copy(self, query: str, parameters: Sequence[object] = ()) -> tuple[Path, int]:
        """The rows of `query`, and the extra columns, as a raw Parquet file; how many there are."""
        path = self.new_path(".parquet")
        extras = "".join(f", {extra.sql}" for extra in self.extras)
        limit = "" if self.limit_rows is None else f" LIMIT {self.limit_rows}"
        answer = self.connection.execute(
            f"COPY (SELECT *{extras} FROM ({query}){limit}) TO {literal(str(path))}"
            f" (FORMAT parquet, COMPRESSION lz4, ROW_GROUP_SIZE {ROW_GROUP_ROWS})",
            list(parameters),
        ).fetchone()
        assert answer is not None
        return path, int(answer[0])

    def limited(self, rows: int) -> int:
        """How many of `rows` rows a file gets."""
        return rows if self.limit_rows is None else min(rows, self.limit_rows)

    def fields(self, own: Iterable[Field]) -> tuple[Field, ...]:
        return (*own, *(extra.field for extra in self.extras))

    def names(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The names as columns: none empty, none twice (in any case), none an extra column's."""
        taken = {extra.field.name.lower() for extra in self.extras}
        names: list[str] = []
        for number, name in enumerate(wanted, 1):
            name = name if name.strip() else f"column_{number}"
            unique, count = name, 1
            while unique.lower() in taken:
                count += 1
                unique = f"{name}_{count}"
            taken.add(unique.lower())
            names.append(unique)
        return tuple(names)

    def failures(self, failures: Sequence[Failure], names: Sequence[str]) -> tuple[Path, int]:
        """A raw file of records that could not be read, and nothing else."""
        with Table(self, names) as table:
            for failure in failures:
                table.fail(failure)
        return table.copy()


class Table:
    """A block of records taken apart in Python, on its way to DuckDB: the careful path.

    Shape: line, error, raw text, then the columns, all quoted, NULL as a NUL character.
    """

    def __init__(self, writer: RawWriter, names: Sequence[str]) -> None:
        self._writer, self._names = writer, tuple(names)
        self._blank = [NULL] * len(self._names)
        self._path = writer.new_path(".block")
        self.rows = 0
        self._longest = self._line_bytes = 0

    def __enter__(self) -> Table:
        self._file = self._path.open("w", encoding="utf-8", newline="")
        self._csv: Any = csv.writer(self._file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, line: int, values: Sequence[str], text: str) -> None:
        """A good record; `text` is how it stands in its file."""
        self._csv.writerow((line, NULL, NULL, *values))
        self.rows += 1
        if len(text) > self._longest:
            self._longest = len(text)
            self._line_bytes = 2 * len(text.encode()) + 8 * len(values)

    def fail(self, failure: Failure) -> None:
        self._csv.writerow((failure.line, failure.error, shown(failure.text) or NULL, *self._blank))
        self.rows += 1

    def copy(self) -> tuple[Path, int]:
        """The records as raw Parquet."""
        columns = {**LINE_COLUMNS, **ERROR_COLUMNS, **dict.fromkeys(self._names, "VARCHAR")}
        longest = max(2 << 20, self._line_bytes + 65536)
        query = read_csv(
            self._path,
            columns,
            delimiter=",",
            quote_character='"',
            nulls=[NULL],
            more=f", allow_quoted_nulls=true, maximum_line_size={longest}"
            f", buffer_size={max(8 << 20, longest)}",
        )
        try:
            path, rows = self._writer.copy(f"SELECT * FROM {query}")
        finally:
            self._path.unlink()
        assert rows == self._writer.limited(self.rows), (rows, self.rows)
        return path, rows


def read_csv(
    path: Path,
    columns: dict[str, str],
    *,
    delimiter: str,
    quote_character: str,
    nulls: Sequence[str],
    more: str = "",
) -> str:
    """The table function that reads a block whose dialect is known."""
    types = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns.items())
    null_list = ", ".join("chr(0)" if null == NULL else literal(null) for null in nulls)
    return (
        f"read_csv({literal(str(path))}, columns={{{types}}}, auto_detect=false, header=false,"
        f" delim={literal(delimiter)}, quote={literal(quote_character)},"
        f" escape={literal(quote_character)}, nullstr=[{null_list}], new_line='\\n',"
        f" strict_mode=true, null_padding=false{more})"
    )


def duckdb_error() -> type[Exception]:
    """The error that DuckDB raises for data it cannot read."""
    import duckdb

    return duckdb.Error


def lossy(data: bytes) -> str:
    """Text of bytes that may be none."""
    return data.decode("utf-8", "replace")


def shown(text: str) -> str:
    """The text of a bad record as quarantine keeps it: printable, and of bounded size."""
    clean = text.rstrip("\r\n").replace("\0", "␀").encode("utf-8", "replace").decode("utf-8")
    if len(clean) > RAW_TEXT_CHARACTERS:
        clean = f"{clean[:RAW_TEXT_CHARACTERS]}… ({len(clean)} characters)"
    return clean
