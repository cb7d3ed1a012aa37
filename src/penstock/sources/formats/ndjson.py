"""NDJSON in blocks: a line is a record, kept as its text, with the fields found in it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.engine import RESERVED, literal
from penstock.model import Field, Json
from penstock.sources.formats.bytestream import ByteStream
from penstock.sources.formats.jsonfields import fields_of, json_path, objects, structure_of
from penstock.sources.formats.jsontext import MAX_DEPTH, fault_of
from penstock.sources.formats.options import Format
from penstock.sources.formats.raw import (
    LINE,
    MAX_RECORD_BYTES,
    SAMPLE_BYTES,
    TOO_LONG,
    Failure,
    Part,
    RawWriter,
    Table,
    duckdb_error,
    lossy,
    read_csv,
)
from penstock.sources.formats.text import UTF8_BOM, canonical, encoding_by_bom, to_utf8

if TYPE_CHECKING:
    import duckdb

JSON = f"{RESERVED}json"
SEPARATOR = "\x1f"
STRICT = r"(?i),\s*[\]}]|[:\[,]\s*-?(nan|inf|infinity)\s*[,}\]]|\\u0000"
"""Where DuckDB is kinder than RFC 8259 allows, or a text may hold what no column can."""
NOT_A_RECORD = (
    # each step shields the next: json_type fails on what is not JSON, and all of them on depth
    f"{JSON} IS NOT NULL AND CASE"
    f" WHEN strlen({JSON}) > {2 * MAX_DEPTH} AND strlen({JSON})"
    f" - strlen(replace(replace({JSON}, '{{', ''), '[', '')) > {MAX_DEPTH} THEN true"
    f" WHEN NOT json_valid({JSON}) THEN true"
    f" WHEN json_type({JSON}) <> 'OBJECT' THEN true"
    f" ELSE regexp_matches({JSON}, ?) END"
)


@dataclass(frozen=True, slots=True)
class Item:
    """A record's text and its number in the file, or why it is none."""

    number: int
    text: str
    error: str | None = None


class JsonBlock:
    """Turns the JSON records of a block into a part."""

    def __init__(self, writer: RawWriter) -> None:
        self._writer = writer

    def regular(self, block: bytes, first: int) -> tuple[Path, int, tuple[Field, ...]] | None:
        """The block read by DuckDB; None unless every line is a good record."""
        text = block.replace(b"\r\n", b"\n")
        if b"\r" in text or b"\0" in text or not text:
            return None
        lines = text.count(b"\n") + (not text.endswith(b"\n"))
        source = self._writer.new_path(".block")
        source.write_bytes(text)
        query = read_csv(
            source, {JSON: "VARCHAR"}, delimiter=SEPARATOR, quote_character="", nulls=["\x1e"]
        )
        try:
            path, rows = self._writer.copy(
                f"SELECT row_number() OVER () + {first - 1} AS {LINE}, {JSON} FROM {query}"
            )
        except duckdb_error():
            return None
        finally:
            source.unlink()
        fields = self._fields(path) if rows == self._writer.limited(lines) else None
        if fields is None:
            path.unlink()
            return None
        return path, rows, fields

    def careful(self, items: Iterable[Item]) -> tuple[Path, int, tuple[Field, ...]]:
        """Records looked at one by one; those that are none are rows with an error."""
        with Table(self._writer, (JSON,)) as table:
            for item in items:
                error = item.error or fault_of(item.text)
                if error is None:
                    table.add(item.number, [item.text], item.text)
                else:
                    table.fail(Failure(item.number, error, item.text))
        path, rows = table.copy()
        fields = self._fields(path)
        assert fields is not None
        return path, rows, fields

    def _fields(self, path: Path) -> tuple[Field, ...] | None:
        """The fields of the records; None if one of them is no object, or not strictly JSON."""
        connection, table = self._writer.connection, f"read_parquet({literal(str(path))})"
        if _count(connection, f"SELECT count(*) FROM {table} WHERE {NOT_A_RECORD}", [STRICT]):
            return None
        structures = connection.execute(
            f"SELECT DISTINCT json_structure({JSON}::JSON)::VARCHAR FROM {table}"
            f" WHERE {JSON} IS NOT NULL"
        ).fetchall()
        structure = structure_of([text for (text,) in structures])
        doubles = (
            f"SELECT count(*) FROM (SELECT unnest(json_keys({JSON}, ?)) AS keys FROM {table})"
            " WHERE len(keys) <> len(list_distinct(keys))"
        )
        paths = [json_path(keys) for keys in objects(structure or {})]
        if _count(connection, doubles, [paths]):
            return None
        own = fields_of(connection, table, structure)
        names = self._writer.names([field.name for field in own])
        return self._writer.fields(
            Field(name, field.type, field.path) for name, field in zip(names, own, strict=True)
        )


def _count(connection: duckdb.DuckDBPyConnection, query: str, values: list[object]) -> int:
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return int(row[0])


class NdjsonReader:
    """Reads one file from a place on; every block becomes one part.

    Units: `offset` counts bytes of the decompressed text in UTF-8; `line` is the next line.
    """

    def __init__(
        self,
        stream: ByteStream,
        fmt: Format,
        writer: RawWriter,
        at: dict[str, Json] | None,
        block_bytes: int,
    ) -> None:
        self._stream, self._writer, self._block_bytes = stream, writer, block_bytes
        self._offset: int = at["offset"] if at else 0
        self._line: int = at["line"] if at else 1
        self._encoding: str | None = at["encoding"] if at else fmt.encoding
        self._block = JsonBlock(writer)

    def parts(self) -> Iterator[Part]:
        """The blocks after the place; at least one, which may have no rows."""
        self._start()
        rest, first = b"", True
        while True:
            block = rest + self._stream.read(self._block_bytes)
            final = self._stream.at_end
            damage = self._stream.damage if final else None
            used = len(block) if final and damage is None else block.rfind(b"\n") + 1
            if not used and not final and len(block) > MAX_RECORD_BYTES:
                yield self._endless(block)
                rest = b""
                continue
            block, rest = block[:used], block[used:]
            if block or (first and damage is None):
                yield self._part(block, done=final and damage is None)
            if damage is not None:
                yield self._failed(Failure(self._line, damage, lossy(rest)), None)
            if final:
                return
            first = False

    def _start(self) -> None:
        start = self._stream.read(SAMPLE_BYTES)
        self._stream.push_back(start)
        if self._encoding is None:
            self._encoding = encoding_by_bom(start) or "utf-8"
        self._encoding = canonical(self._encoding)
        if self._encoding != "utf-8":
            self._stream = ByteStream(to_utf8(self._stream, self._encoding))
        self._stream.skip(self._offset)
        if self._offset == 0:
            bom = self._stream.read(len(UTF8_BOM))
            if bom == UTF8_BOM:
                self._offset = len(bom)
            else:
                self._stream.push_back(bom)

    def _part(self, block: bytes, *, done: bool) -> Part:
        read = self._block.regular(block, self._line)
        lines = block.count(b"\n") + (not block.endswith(b"\n") and block != b"")
        if read is None:
            read = self._block.careful(self._items(block))
        self._line += lines
        self._offset += len(block)
        path, rows, fields = read
        return Part(path, rows, fields, None if done else self._at())

    def _items(self, block: bytes) -> Iterator[Item]:
        for number, line in enumerate(io.BytesIO(block), self._line):
            if not line.strip():
                continue
            try:
                text = line.strip().decode()
            except UnicodeDecodeError:
                yield Item(number, lossy(line), "bytes that are not utf-8")
                continue
            bad = self._encoding != "utf-8" and "\ufffd" in text
            yield Item(number, text, f"bytes that are not {self._encoding}" if bad else None)

    def _endless(self, block: bytes) -> Part:
        passed = len(block)
        while data := self._stream.read(SAMPLE_BYTES):
            end = data.find(b"\n") + 1
            passed += end or len(data)
            if end:
                self._stream.push_back(data[end:])
                break
        failure = Failure(self._line, TOO_LONG, lossy(block[:SAMPLE_BYTES]))
        self._offset += passed
        self._line += 1
        return self._failed(failure, self._at())

    def _failed(self, failure: Failure, resume: dict[str, Json] | None) -> Part:
        path, rows = self._writer.failures([failure], (JSON,))
        return Part(path, rows, self._writer.fields(()), resume)

    def _at(self) -> dict[str, Json]:
        return {"offset": self._offset, "line": self._line, "encoding": self._encoding}
