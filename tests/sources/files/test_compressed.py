"""Compression and Parquet: what can be read is read, and damage is one error."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from penstock.sources.formats.bytestream import ByteStream, Damaged, decompressed

from .support import read_text

ROWS = [(str(i), f"text number {i * 7919 % 10_007}") for i in range(20_000)]
TEXT = ("id,note\n" + "".join(f"{a},{b}\n" for a, b in ROWS)).encode()


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def zstd(content: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    compressed: bytes = zstandard.ZstdCompressor().compress(content)
    return compressed


COMPRESSORS = {"gz": gzip.compress, "zst": zstd, "zip": lambda b: zipped(("x.csv", b))}


@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("block_bytes", [None, 100_000])
def test_compressed_files_read_as_what_is_in_them(
    tmp_path: Path, suffix: str, block_bytes: int | None
) -> None:
    content = COMPRESSORS[suffix](TEXT)
    read = read_text(tmp_path, content, f"x.csv.{suffix}", block_bytes=block_bytes)
    assert (read.values, read.bad) == (ROWS, [])
    assert read.lines == list(range(2, 20_002))


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_the_first_bytes_count_not_the_name(tmp_path: Path, suffix: str) -> None:
    read = read_text(tmp_path, COMPRESSORS[suffix](TEXT), "x.csv")
    assert read.values == ROWS
    (tmp_path / "x.csv").unlink()
    read = read_text(tmp_path, TEXT, f"x.csv.{suffix}")
    assert read.values == ROWS


def test_members_of_one_gzip_file_are_one_text(tmp_path: Path) -> None:
    content = gzip.compress(TEXT[:3000]) + gzip.compress(TEXT[3000:]) + b"\0" * 512
    assert read_text(tmp_path, content, "x.csv.gz").values == ROWS


def test_members_of_a_zip_file_are_files_of_their_own(tmp_path: Path) -> None:
    content = zipped(
        ("b.csv", b"a,b\n1,2\n"),
        ("__MACOSX/b.csv", b"junk"),
        ("deep/er/c.csv", b"a;c\n3;4\n"),
        ("d.json", b'[{"x":1}]'),
        ("empty.csv", b""),
    )
    read = read_text(tmp_path, content, "x.zip")
    assert [[f.name for f in piece.fields] for piece in read.pieces] == [
        ["a", "b"],
        ["a", "c"],
        ["x"],
        [],
    ]
    assert {piece.origin for piece in read.pieces} == {"x.zip"}
    assert read.values[:2] == [("1", "2"), ("3", "4")]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
@pytest.mark.parametrize("block_bytes", [None, 100_000])
def test_a_truncated_file_gives_what_can_be_read_and_one_error(
    tmp_path: Path, suffix: str, block_bytes: int | None
) -> None:
    content = COMPRESSORS[suffix](TEXT)
    read = read_text(
        tmp_path, content[: len(content) * 2 // 3], f"x.csv.{suffix}", block_bytes=block_bytes
    )
    assert read.values == ROWS[: len(read.good)]
    ((line, error, _),) = read.bad
    assert line == len(read.good) + 2
    kind = {"gz": "gzip", "zst": "zstd"}[suffix]
    assert error.startswith(f"truncated {kind} after byte ")
    assert len(read.good) > 1000


def test_the_record_in_which_a_truncated_file_ends_is_no_row(tmp_path: Path) -> None:
    deflate = zlib.compressobj(wbits=31)
    content = deflate.compress(b"a,b\n1,2\n3,4567") + deflate.flush(zlib.Z_SYNC_FLUSH)
    read = read_text(tmp_path, content, "x.csv.gz")
    assert read.values == [("1", "2")]
    assert read.bad == [(3, "truncated gzip after byte 14", "3,4567")]


def test_a_corrupt_gzip_file_gives_every_byte_before_the_fault() -> None:
    content = bytearray(gzip.compress(TEXT))
    content[-6] ^= 0xFF  # the checksum
    stream = ByteStream(decompressed([bytes(content)], "gzip"))
    assert stream.read(1 << 30) == TEXT
    assert stream.damage is not None
    assert stream.damage.startswith(f"corrupt gzip after byte {len(TEXT)}: ")


def test_a_file_that_is_damaged_from_its_start_is_one_error(tmp_path: Path) -> None:
    broken = {
        "x.csv.gz": b"\x1f\x8b" + b"\0\1\2\3" * 30,
        "x.csv.zst": b"\x28\xb5\x2f\xfd" + b"\xff\1\2\3" * 30,
        "x.zip": b"PK\x03\x04" + b"\0\1\2\3" * 30,
        "y.gz": bytes(range(1, 32)) * 10,
        "x.parquet": b"PAR1" + b"\0\1\2\3" * 30,
        "x.csv": b"%PDF-1.4\0\1\2\3\4\5\6\7" + bytes(range(32)) * 8,
    }
    for name, content in broken.items():
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        read = read_text(folder, content, name)
        assert [line for line, _, _ in read.bad] == [1], name
        assert read.good == [], name


def test_a_corrupt_member_of_a_zip_file_leaves_the_others(tmp_path: Path) -> None:
    content = bytearray(zipped(("a.csv", TEXT), ("b.csv", b"a,b\n1,2\n")))
    content[20_000] ^= 0xFF
    read = read_text(tmp_path, bytes(content), "x.zip")
    assert [error.split(" after ")[0] for _, error, _ in read.bad][-1] == "a.csv: corrupt zip"
    assert read.values[-1] == ("1", "2")


def test_a_bomb_is_read_in_bounded_steps() -> None:
    bomb = gzip.compress(b"\n" * (64 << 20))
    steps = list(decompressed([bomb], "gzip"))
    assert sum(map(len, steps)) == 64 << 20
    assert max(map(len, steps)) <= 1 << 20


def test_a_stream_hands_over_sizes_as_asked_whatever_its_chunks() -> None:
    stream = ByteStream([b"abc", b"", b"d", b"efgh"])
    assert [stream.read(2), stream.read(3)] == [b"ab", b"cde"]
    stream.push_back(b"e")
    assert (stream.read(1), stream.at_end) == (b"e", False)
    assert (stream.read(9), stream.at_end, stream.damage) == (b"fgh", True, None)
    stream = ByteStream([b"abc", b"def"])
    stream.go_to(4)
    assert stream.read(9) == b"ef"
    stream = ByteStream([b"def"], start=3)
    stream.go_to(4)
    assert stream.read(9) == b"ef"

    def damaged() -> object:
        yield b"ab"
        raise Damaged("why")

    stream = ByteStream(damaged())  # type: ignore[arg-type]
    assert (stream.read(9), stream.damage) == (b"ab", "why")


def parquet(folder: Path, query: str, options: str = "") -> bytes:
    path = folder / "made.parquet"
    duckdb.connect().execute(f"COPY ({query}) TO '{path}' (FORMAT parquet {options})")
    content = path.read_bytes()
    path.unlink()
    return content


def test_parquet_keeps_its_types_within_what_every_warehouse_has(tmp_path: Path) -> None:
    content = parquet(
        tmp_path,
        "SELECT 1::UTINYINT u8, 2::USMALLINT u16, 3::UINTEGER u32,"
        " 18446744073709551615::UBIGINT u64,"
        " 12345678901234567890.12::DECIMAL(38,2) d, 1.5::FLOAT f, [1,2] l, {'x': 1} s,"
        " TIMESTAMP_NS '2020-01-01 00:00:00.123456789' t, TIMESTAMPTZ '2020-01-01 00:00:00+02' z,"
        " UUID 'f744d6be-af0f-4caf-9076-4c1ffe724cb4' u, 'a'::ENUM('a','b') e, '\\x00'::BLOB b,"
        " DATE '2020-02-29' AS day, true ok, NULL::VARCHAR AS nothing",
    )
    read = read_text(tmp_path, content, "x.parquet")
    assert {f.name: f.type for f in read.fields} == {
        "u8": "smallint", "u16": "integer", "u32": "bigint", "u64": "decimal(20,0)",
        "d": "decimal(38,2)", "f": "real", "l": "json", "s": "json", "t": "timestamp",
        "z": "timestamptz", "u": "varchar", "e": "varchar", "b": "binary", "day": "date",
        "ok": "boolean", "nothing": "varchar",
    }  # fmt: skip
    row = read.good[0]
    assert row["u64"] == Decimal(18446744073709551615)
    assert row["d"] == Decimal("12345678901234567890.12")
    assert (row["l"], row["s"]) == ("[1,2]", '{"x":1}')
    assert row["t"].microsecond == 123456


def test_parquet_is_read_in_ranges_of_rows(tmp_path: Path) -> None:
    content = parquet(tmp_path, "SELECT i FROM range(600000) r(i)", ", ROW_GROUP_SIZE 50000")
    read = read_text(tmp_path, content, "x.parquet")
    assert [piece.rows for piece in read.pieces] == [250_000, 250_000, 100_000]
    assert read.lines == list(range(1, 600_001))


def test_parquet_without_rows_is_one_piece_that_knows_its_columns(tmp_path: Path) -> None:
    content = parquet(tmp_path, "SELECT 1 a, 'x' b WHERE false")
    read = read_text(tmp_path, content, "x.parquet")
    assert [piece.rows for piece in read.pieces] == [0]
    assert [(f.name, f.type) for f in read.fields] == [("a", "integer"), ("b", "varchar")]


def test_truncated_parquet_is_one_error(tmp_path: Path) -> None:
    content = parquet(tmp_path, "SELECT i FROM range(1000) r(i)")
    read = read_text(tmp_path, content[:-50], "x.parquet")
    ((line, error, _),) = read.bad
    assert line == 1
    assert error.startswith("the Parquet file cannot be read")
    assert str(tmp_path) not in error


def test_a_corrupt_range_of_parquet_is_one_error_and_the_others_are_read(tmp_path: Path) -> None:
    content = bytearray(
        parquet(tmp_path, "SELECT i, hash(i) h FROM range(600000) r(i)", ", ROW_GROUP_SIZE 50000")
    )
    content[1000:30_000] = b"\xff" * 29_000
    read = read_text(tmp_path, bytes(content), "x.parquet")
    ((line, error, _),) = read.bad
    assert line == 1
    assert "rows 1 to " in error
    assert read.lines[-1] == 600_000
