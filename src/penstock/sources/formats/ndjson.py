"""NDJSON in blocks: a line is a record, kept as its text, with the fields found in it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from penstock.engine import RESERVED, literal
from penstock.model import Field, Json
from penstock.sources.formats.bytestream import ByteStream
from penstock.sources.formats.jsonfields import fields_of, json_path, objects, structure_of
from penstock.sources.formats.jsontext import MAX_DEPTH, fault_of, is_loose
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
from penstock.sources.formats.text import UTF8_BOM, canonical, encoding_by_bom, to_utf8, unix_lines

JSON = f"{RESERVED}json"
SEPARATOR = "\x1f"
EMPTY = '"JSON"'
"""What DuckDB calls the structure of an object without keys."""
REFUSED = "not JSON as DuckDB reads it"
STRUCTURE = (
    # a record that nests too deeply must not reach json_structure, which recurses
    f"CASE WHEN strlen({JSON}) > {2 * MAX_DEPTH} AND strlen({JSON})"
    f" - strlen(replace(replace({JSON}, '{{', ''), '[', '')) > {MAX_DEPTH} THEN NULL"
    f" ELSE json_structure(TRY_CAST({JSON} AS JSON))::VARCHAR END"
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
        text = unix_lines(block)
        if b"\r" in text or b"\0" in text or not text or is_loose(text):
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
        looked = [replace(item, error=item.error or fault_of(item.text)) for item in items]
        path, rows = self._table(looked)
        fields = self._fields(path)
        if fields is None:
            # Python takes it for JSON and DuckDB does not: transform could not read it
            refused = self._refused(path)
            path.unlink()
            looked = [
                replace(item, error=item.error or REFUSED) if item.number in refused else item
                for item in looked
            ]
            path, rows = self._table(looked)
            fields = self._fields(path)
        assert fields is not None
        return path, rows, fields

    def _table(self, items: Iterable[Item]) -> tuple[Path, int]:
        with Table(self._writer, (JSON,)) as table:
            for item in items:
                if item.error is None:
                    table.add(item.number, [item.text], item.text)
                else:
                    table.fail(Failure(item.number, item.error, item.text))
        return table.copy()

    def _refused(self, path: Path) -> set[int]:
        rows = self._writer.connection.execute(
            f"SELECT {LINE} FROM read_parquet(?) WHERE {JSON} IS NOT NULL AND {STRUCTURE} IS NULL",
            [str(path)],
        ).fetchall()
        return {line for (line,) in rows}

    def items(self, items: Sequence[Item], block: bytes) -> tuple[Path, int, tuple[Field, ...]]:
        """Records of a block that are already apart: together if all are good, else one by one."""
        if is_loose(block):
            return self.careful(items)
        if any("\0" in item.text for item in items):
            return self.careful(items)
        path, rows = self._table(items)
        fields = self._fields(path)
        if fields is not None:
            return path, rows, fields
        path.unlink()
        return self.careful(items)

    def failed(self, failure: Failure, resume: dict[str, Json] | None) -> Part:
        """A part that is one record that could not be read."""
        path, rows = self._writer.failures([failure], (JSON,))
        return Part(path, rows, self._writer.fields(()), resume)

    def _fields(self, path: Path) -> tuple[Field, ...] | None:
        """The fields of the records; None if one of them is no object, or not strictly JSON."""
        connection, table = self._writer.connection, f"read_parquet({literal(str(path))})"
        found = connection.execute(
            f"SELECT DISTINCT {STRUCTURE} FROM {table} WHERE {JSON} IS NOT NULL"
        ).fetchall()
        structures = [
            "{}" if text == EMPTY else text
            for (text,) in found
            if text is not None and (text == EMPTY or text.startswith("{"))
        ]
        if len(structures) < len(found):
            return None
        structure = structure_of(structures)
        paths = [json_path(keys) for keys in objects(structure or {})]
        key_lists = connection.execute(
            f"SELECT DISTINCT unnest(json_keys({JSON}, ?)) FROM {table}", [paths]
        ).fetchall()
        if any(len(set(keys)) < len(keys) for (keys,) in key_lists if keys):
            return None
        own = fields_of(connection, table, structure)
        names = self._writer.names([field.name for field in own])
        return self._writer.fields(
            Field(name, field.type, field.path) for name, field in zip(names, own, strict=True)
        )


class JsonText:
    """The text of a JSON file in UTF-8, from a place on.

    Units: `offset` counts bytes of the decompressed text in UTF-8.
    """

    def __init__(self, stream: ByteStream, fmt: Format, at: dict[str, Json] | None) -> None:
        self._stream = stream
        self.offset: int = at["offset"] if at else 0
        self.encoding: str | None = at["encoding"] if at else fmt.encoding

    def open(self) -> ByteStream:
        """The stream, standing at the place."""
        if self.encoding is None:
            start = self._stream.read(SAMPLE_BYTES)
            self._stream.push_back(start)
            self.encoding = encoding_by_bom(start) or "utf-8"
        self.encoding = canonical(self.encoding)
        stream = self._stream
        if self.encoding != "utf-8":
            stream = ByteStream(to_utf8(stream, self.encoding))
        stream.go_to(self.offset)
        if self.offset == 0:
            bom = stream.read(len(UTF8_BOM))
            if bom == UTF8_BOM:
                self.offset = len(bom)
            else:
                stream.push_back(bom)
        return stream

    def decoded(self, data: bytes) -> tuple[str, str | None]:
        """The text, and what is wrong with its bytes."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return lossy(data), "bytes that are not utf-8"
        bad = self.encoding != "utf-8" and "\ufffd" in text
        return text, f"bytes that are not {self.encoding}" if bad else None


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
        self._text, self._block_bytes = JsonText(stream, fmt, at), block_bytes
        self._line: int = at["line"] if at else 1
        self._block = JsonBlock(writer)

    def parts(self) -> Iterator[Part]:
        """The blocks after the place; at least one, which may have no rows."""
        stream = self._text.open()
        first, size = True, self._block_bytes
        while True:
            block = stream.read(size)
            final = stream.at_end
            damage = stream.damage if final else None
            used = len(block) if final and damage is None else block.rfind(b"\n") + 1
            size = self._block_bytes
            if not used and not final:
                if len(block) > MAX_RECORD_BYTES:
                    yield self._endless(stream, block)
                else:
                    stream.push_back(block)
                    size = 2 * len(block)
                continue
            block, rest = block[:used], block[used:]
            if not final:
                stream.push_back(rest)
            if block or (first and damage is None):
                yield self._part(block, done=final and damage is None)
            if damage is not None:
                yield self._block.failed(Failure(self._line, damage, lossy(rest)), None)
            if final:
                return
            first = False

    def _part(self, block: bytes, *, done: bool) -> Part:
        read = self._block.regular(block, self._line)
        lines = block.count(b"\n") + (not block.endswith(b"\n") and block != b"")
        if read is None:
            read = self._block.careful(self._items(block))
        self._line += lines
        self._text.offset += len(block)
        path, rows, fields = read
        return Part(path, rows, fields, None if done else self._at())

    def _items(self, block: bytes) -> Iterator[Item]:
        for number, line in enumerate(io.BytesIO(block), self._line):
            if not line.strip():
                continue
            text, error = self._text.decoded(line.strip())
            yield Item(number, text, error)

    def _endless(self, stream: ByteStream, block: bytes) -> Part:
        passed = len(block)
        while data := stream.read(SAMPLE_BYTES):
            end = data.find(b"\n") + 1
            passed += end or len(data)
            if end:
                stream.push_back(data[end:])
                break
        failure = Failure(self._line, TOO_LONG, lossy(block[:SAMPLE_BYTES]))
        self._text.offset += passed
        self._line += 1
        return self._block.failed(failure, self._at())

    def _at(self) -> dict[str, Json]:
        text = self._text
        return {"offset": text.offset, "line": self._line, "encoding": text.encoding}
