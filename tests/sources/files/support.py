"""What the tests of the files source share: a folder, a source over it, and all that it reads."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from penstock.engine import quote
from penstock.model import Field, Kind
from penstock.pipeline import Load, SourceConfig, Stream
from penstock.ports import Claims, Piece
from penstock.sources.files import FilesSource

RESERVED = ("_penstock_line", "_penstock_error", "_penstock_raw")


def source_over(folder: Path, block_bytes: int | None = None, **options: Any) -> FilesSource:
    config = SourceConfig("uploads", "files", {"url": str(folder), **options})
    source = FilesSource.from_config(config, Path())
    if block_bytes is not None:
        source._block_bytes = block_bytes
    return source


def stream_of(files: str, **more: Any) -> Stream:
    return Stream("sales", "uploads", Load("main", "sales", "append"), files=files, **more)


@dataclass(slots=True)
class Read:
    """Every piece of one read, and their rows in order."""

    pieces: list[Piece] = field(default_factory=list)
    good: list[dict[str, Any]] = field(default_factory=list)
    bad: list[tuple[int, str, str | None]] = field(default_factory=list)
    """(line, error, raw text) of each record that could not be read."""

    @property
    def fields(self) -> tuple[Field, ...]:
        return self.pieces[0].fields

    @property
    def values(self) -> list[tuple[Any, ...]]:
        """The good rows without their lines."""
        return [tuple(v for k, v in row.items() if k not in RESERVED) for row in self.good]

    @property
    def lines(self) -> list[int]:
        return [row["_penstock_line"] for row in self.good]


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a raw file; times with a zone as text (fetching them needs pytz)."""
    with duckdb.connect() as connection:
        file = [str(path)]
        columns = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", file).fetchall()
        names = [column[0] for column in columns]
        selected = ", ".join(
            f"{quote(name)}::VARCHAR" if "ZONE" in kind else quote(name)
            for name, kind, *_ in columns
        )
        rows = connection.execute(f"SELECT {selected} FROM read_parquet(?)", file).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]


def read_all(
    source: FilesSource,
    stream: Stream,
    position: Any = None,
    claims: Claims | None = None,
    kind: Kind = "increment",
) -> Read:
    """All slices of a plan, read; each ends with one last piece."""
    read = Read()
    with tempfile.TemporaryDirectory() as name:
        for part in source.plan(stream, kind, None, claims or Claims()).slices:
            pieces = list(source.read(stream, part, position, Path(name)))
            assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
            for piece in pieces:
                add_piece(read, piece)
        assert not list(Path(name).glob("*.block"))
        assert not list(Path(name).glob("*.copy"))
    return read


def add_piece(read: Read, piece: Piece) -> None:
    read.pieces.append(piece)
    rows = rows_of(piece.path)
    assert len(rows) == piece.rows
    for row in rows:
        if row.get("_penstock_error") is not None:
            read.bad.append((row["_penstock_line"], row["_penstock_error"], row["_penstock_raw"]))
        else:
            read.good.append(row)


def read_text(
    folder: Path, content: bytes, name: str = "x.csv", block_bytes: int | None = None, **fmt: Any
) -> Read:
    """One file with this content, read."""
    (folder / name).write_bytes(content)
    return read_all(source_over(folder, block_bytes), stream_of("*", format=fmt))
