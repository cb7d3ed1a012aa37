"""What every source does. Subclass `SourceContract`, say what is read, and run pytest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.engine import connect, literal
from penstock.model import Json, Slice, Window
from penstock.pipeline import Load, Stream
from penstock.ports import Claims, Piece, Source


@dataclass(frozen=True, slots=True)
class Sample:
    """A source with something to read, and how many rows that is."""

    source: Source
    stream: Stream
    rows: int


def stream_of(name: str, source: str, **read: object) -> Stream:
    """A stream that reads from `source` what the keywords say, and appends."""
    return Stream(name, source, Load("main", name, "append"), **read)  # type: ignore[arg-type]


class SourceContract:
    """The tests of a source. `sample` is a fixture that gives a Sample with at least two rows.

    Why these: a reader that is killed goes on from a piece's position, and what it reads then has
    to be what it would have read (rules 4 and 5 of the protocol).
    """

    @pytest.fixture
    def sample(self) -> Iterator[Sample]:
        raise NotImplementedError("make a fixture `sample` of your source")

    def test_it_says_who_it_is(self, sample: Sample) -> None:
        assert sample.source.check().strip()

    def test_it_describes_the_columns_that_it_reads(self, sample: Sample, tmp_path: Path) -> None:
        described = {field.name for field in sample.source.describe(sample.stream).fields}
        for part in window(sample).slices:
            for piece in sample.source.read(sample.stream, part, None, tmp_path):
                assert {field.name for field in piece.fields} <= described

    def test_a_full_read_gives_every_row_once(self, sample: Sample, tmp_path: Path) -> None:
        rows = [row for part in window(sample).slices for row in read_all(sample, part, tmp_path)]
        assert len(rows) == sample.rows

    def test_the_last_piece_of_a_slice_says_so_and_no_other(
        self, sample: Sample, tmp_path: Path
    ) -> None:
        for part in window(sample).slices:
            last = [piece.last for piece in sample.source.read(sample.stream, part, None, tmp_path)]
            assert last == [False] * (len(last) - 1) + [True]

    def test_a_piece_holds_as_many_rows_as_it_says(self, sample: Sample, tmp_path: Path) -> None:
        for part in window(sample).slices:
            for piece in sample.source.read(sample.stream, part, None, tmp_path):
                assert len(rows_of(piece, tmp_path)) == piece.rows

    def test_reading_goes_on_at_any_position(self, sample: Sample, tmp_path: Path) -> None:
        for part in window(sample).slices:
            if not part.resumable:
                continue
            pieces = list(sample.source.read(sample.stream, part, None, tmp_path))
            whole = [row for piece in pieces for row in rows_of(piece, tmp_path)]
            seen = 0
            for piece in pieces[:-1]:
                seen += piece.rows
                assert read_all(sample, part, tmp_path, piece.position) == whole[seen:]

    def test_a_slice_reads_alike_twice(self, sample: Sample, tmp_path: Path) -> None:
        for part in window(sample).slices:
            first, second = read_all(sample, part, tmp_path), read_all(sample, part, tmp_path)
            assert sorted(map(repr, first)) == sorted(map(repr, second))


def window(sample: Sample, cursor: Json = None) -> Window:
    """What the source would read now."""
    return sample.source.plan(sample.stream, "increment", cursor, Claims())


def read_all(
    sample: Sample, part: Slice, folder: Path, position: Json = None
) -> list[tuple[object, ...]]:
    """The rows of a slice after `position`."""
    return [
        row
        for piece in sample.source.read(sample.stream, part, position, folder)
        for row in rows_of(piece, folder)
    ]


def rows_of(piece: Piece, folder: Path) -> list[tuple[object, ...]]:
    """The rows of a piece, as text, so that any two compare."""
    with connect([folder, piece.path.parent]) as connection:
        sql = f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM read_parquet({literal(str(piece.path))})"
        return connection.execute(sql).fetchall()
