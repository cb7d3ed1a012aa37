"""CSV and TSV in blocks: DuckDB reads a block that is regular, `records` one that is not.

A block that DuckDB has read counts only if it gave exactly one row per line; anything else
(quoted line breaks, blank lines, a bad record) is read again, record by record.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from penstock.engine import RESERVED, quote
from penstock.model import Field, Json
from penstock.sources.formats.bytestream import ByteStream
from penstock.sources.formats.dialect import SAMPLE_ROWS, Dialect, detect, has_header, rows_of
from penstock.sources.formats.options import Format
from penstock.sources.formats.raw import (
    BLOCK_BYTES,
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
from penstock.sources.formats.records import Nulls, Record, Records
from penstock.sources.formats.text import (
    UTF8_BOM,
    canonical,
    encoding_by_bom,
    encoding_of,
    to_utf8,
    unix_lines,
)

REPLACED = "\ufffd"
REPLACED_UTF8 = REPLACED.encode()
EXCEL = re.compile(r"sep=(.)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader stands in a file, and all that it has decided about it.

    Units: `offset` counts bytes of the decompressed text in UTF-8; `line` is the next line.
    """

    offset: int = 0
    line: int = 1
    encoding: str | None = None
    dialect: Dialect | None = None
    names: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        return {
            "offset": self.offset,
            "line": self.line,
            "encoding": self.encoding,
            "dialect": self.dialect.to_json() if self.dialect else None,
            "names": list(self.names),
        }

    @staticmethod
    def of(value: dict[str, Json] | None) -> Place:
        if value is None:
            return Place()
        dialect = Dialect(**value["dialect"]) if value["dialect"] else None
        return Place(
            value["offset"], value["line"], value["encoding"], dialect, tuple(value["names"])
        )


class DelimitedReader:
    """Reads one file from a place on; every block becomes one part."""

    def __init__(
        self,
        stream: ByteStream,
        fmt: Format,
        writer: RawWriter,
        at: dict[str, Json] | None,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self._stream, self._fmt, self._writer = stream, fmt, writer
        self._place = Place.of(at)
        self._block_bytes = block_bytes

    def parts(self) -> Iterator[Part]:
        """The blocks after the place; at least one, which may have no rows."""
        failure = self._start()
        if failure is not None:
            yield self._failed(failure)
            return
        first, size = True, self._block_bytes
        while True:
            block = self._text(size)
            final = self._stream.at_end
            damage = self._stream.damage if final else None
            tail = b""
            if damage is not None:
                cut = block.rfind(b"\n") + 1
                block, tail = block[:cut], block[cut:]
            if block or (first and damage is None):
                part, rest = self._part(block, final=final, done=final and damage is None)
                size = self._block_bytes
                self._stream.push_back(rest)
                if not final and len(rest) == len(block):
                    size = 2 * len(block)  # nothing ends in this block
                    part.path.unlink()
                    continue
                yield part
            if damage is not None:
                yield self._failed(Failure(self._place.line, damage, lossy(tail)))
            if final:
                return
            first = False

    # ---- opening

    def _start(self) -> Failure | None:
        """The stream stands at the place, and encoding, dialect and names are known."""
        place = self._place
        encoding = place.encoding or (self._fmt.encoding and canonical(self._fmt.encoding))
        if encoding is None:
            start = self._stream.read(SAMPLE_BYTES)
            self._stream.push_back(start)
            encoding = encoding_by_bom(start) if place.offset == 0 else None
        self._set_encoding(encoding)
        self._stream.go_to(place.offset)
        return self._open() if place.dialect is None else None

    def _set_encoding(self, encoding: str | None) -> None:
        self._place = replace(self._place, encoding=encoding)
        if encoding not in (None, "utf-8"):
            assert encoding is not None
            self._stream = ByteStream(to_utf8(self._stream, encoding))

    def _text(self, size: int) -> bytes:
        """The next bytes in UTF-8; the first ones beyond ASCII decide the encoding."""
        data = self._stream.read(size)
        if self._place.encoding is None:
            encoding = encoding_of(data, final=self._stream.at_end)
            if encoding is not None:
                self._stream.push_back(data)
                self._set_encoding(encoding)
                data = self._stream.read(size)
        return data

    def _open(self) -> Failure | None:
        """The dialect is decided, and the header read."""
        data = self._text(SAMPLE_BYTES)
        bom = len(UTF8_BOM) if data.startswith(UTF8_BOM) else 0
        lines = list(io.StringIO(_escaped(data[bom:]), newline=""))
        skipped = min(self._fmt.skip_rows, len(lines))
        fmt = self._fmt
        separator = EXCEL.fullmatch(lines[skipped]) if skipped < len(lines) else None
        if separator is not None:
            fmt = replace(fmt, delimiter=fmt.delimiter or separator[1])
            skipped += 1
        before = bom + sum(len(_bytes(line)) for line in lines[:skipped])
        lines = [
            line
            for line in lines[skipped : skipped + SAMPLE_ROWS]
            if line.strip() and not (fmt.comment and line.startswith(fmt.comment))
        ]
        dialect = detect(lines, fmt)
        rows = rows_of(lines, dialect)
        header = fmt.header if fmt.header is not None else has_header(rows)
        self._place = replace(self._place, dialect=dialect, line=skipped + 1, offset=before)
        self._stream.push_back(data[before:])
        if header:
            return self._read_header(dialect)
        width = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
        return self._name([*fmt.columns, *[""] * (width - len(fmt.columns))])

    def _read_header(self, dialect: Dialect) -> Failure | None:
        """The names are the first record's, unless `columns` gives them; data comes next."""
        data, place = b"", self._place
        while True:
            data += self._text(SAMPLE_BYTES)
            final = self._stream.at_end and self._stream.damage is None
            records = Records(data, dialect, place.line, final=final, comment=self._fmt.comment)
            header = next((record for record in records if record.values != []), None)
            if header is not None or self._stream.at_end or len(data) > MAX_RECORD_BYTES:
                break
        if header is None:
            self._stream.push_back(data)
            return self._name(self._fmt.columns)
        if header.values is None:
            return Failure(header.line, f"the header cannot be read: {header.error}", header.text)
        lines = io.StringIO(_escaped(data), newline="")
        used = sum(len(_bytes(line)) for line in islice(lines, records.line - place.line))
        self._place = replace(place, offset=place.offset + used, line=records.line)
        self._stream.push_back(data[used:])
        return self._name(self._fmt.columns or header.values)

    def _name(self, names: Sequence[str]) -> Failure | None:
        clean = [lossy(_bytes(name)).replace("\0", "") for name in names]
        unique = self._writer.names(clean)
        reserved = [name for name in unique if name.lower().startswith(RESERVED)]
        if reserved:
            return Failure(1, f"the column name {reserved[0]} is reserved")
        self._place = replace(self._place, names=unique)
        return None

    # ---- blocks

    def _part(self, block: bytes, *, final: bool, done: bool) -> tuple[Part, bytes]:
        """The block as a part, and the bytes of its last record if that is not all there."""
        if not self._place.names:
            path, rows = self._writer.failures([], ())
            rest = b""
        elif (regular := self._regular(block, final)) is not None:
            path, rows, used = regular
            rest = block[used:]
        else:
            path, rows, rest = self._careful(block, final)
        if len(rest) == len(block) > MAX_RECORD_BYTES:
            path, rows = self._endless(block)
            rest = b""
        else:
            self._place = replace(self._place, offset=self._place.offset + len(block) - len(rest))
        resume = None if done else self._place.to_json()
        return Part(path, rows, self._fields(), resume, self._found()), rest

    def _regular(self, block: bytes, final: bool) -> tuple[Path, int, int] | None:
        """The block read by DuckDB; None unless one line was one row, and all were good.

        Why: DuckDB's reader drops blank lines, merges lines of an unclosed quote, trims spaces
        around quotes, and does not tell line numbers; rows == lines rules all of that out.
        """
        place, fmt = self._place, self._fmt
        dialect = place.dialect
        assert dialect is not None
        if dialect.escape or fmt.comment or (self._replaces and REPLACED_UTF8 in block):
            return None
        used = len(block) if final else block.rfind(b"\n") + 1
        text = unix_lines(block[:used])
        if not text or not is_regular(text, dialect, columns=len(place.names)):
            return None
        lines = text.count(b"\n") + (not text.endswith(b"\n"))
        source = self._writer.new_path(".block")
        source.write_bytes(text)
        query = read_csv(
            source,
            dict.fromkeys(place.names, "VARCHAR"),
            delimiter=dialect.delimiter,
            quote_character=dialect.quote,
            nulls=["", *fmt.null_values],
            more=", allow_quoted_nulls=false",
        )
        try:
            path, rows = self._writer.copy(
                f"SELECT row_number() OVER () + {place.line - 1} AS {quote(LINE)}, * FROM {query}"
            )
        except duckdb_error():
            return None
        finally:
            source.unlink()
        if rows != self._writer.limited(lines):
            path.unlink()
            return None
        self._place = replace(place, line=place.line + lines)
        return path, rows, used

    def _careful(self, block: bytes, final: bool) -> tuple[Path, int, bytes]:
        """The block taken apart record by record; bad records are rows with an error."""
        place = self._place
        assert place.dialect is not None
        comment = self._fmt.comment
        records = Records(block, place.dialect, place.line, final=final, comment=comment)
        nulls = Nulls(place.dialect, self._fmt.null_values)
        width = len(place.names)
        suspicious = b"\0" in block or not block.isascii()
        with Table(self._writer, place.names) as table:
            for record in records:
                values = record.values
                if values is None:
                    table.fail(Failure(record.line, record.error, record.text))
                    continue
                if not values:
                    continue  # a blank line
                if len(values) == width + 1 and not values[-1]:
                    values.pop()  # a delimiter at the end of the line
                error = self._fault(record, len(values), width, suspicious)
                if error is not None:
                    table.fail(Failure(record.line, error, record.text))
                else:
                    table.add(record.line, nulls.marked(record), record.text)
        path, rows = table.copy()
        self._place = replace(place, line=records.line)
        return path, rows, records.rest

    def _fault(self, record: Record, found: int, width: int, suspicious: bool) -> str | None:
        """Why a record that could be taken apart is bad nevertheless."""
        if suspicious:
            if "\0" in record.text:
                return "NUL byte"
            if self._replaces and REPLACED in record.text:
                return f"bytes that are not {self._place.encoding}"
            if not self._replaces and not is_text(record.text):
                return "bytes that are not utf-8"
        if found != width:
            return f"{found} columns instead of {width}"
        if len(record.text) > MAX_RECORD_BYTES:
            return TOO_LONG
        return None

    def _endless(self, block: bytes) -> tuple[Path, int]:
        """A line without an end within the limit is one error; the next line starts anew."""
        place, passed = self._place, len(block)
        while data := self._text(SAMPLE_BYTES):
            end = data.find(b"\n") + 1
            passed += end or len(data)
            if end:
                self._stream.push_back(data[end:])
                break
        failure = Failure(place.line, TOO_LONG, lossy(block[:SAMPLE_BYTES]))
        self._place = replace(place, offset=place.offset + passed, line=place.line + 1)
        return self._writer.failures([failure], place.names)

    # ---- shape

    def _found(self) -> dict[str, Json]:
        """What was found out and is not what everyone expects."""
        place, usual = self._place, Dialect()
        dialect = place.dialect or usual
        found: dict[str, Json] = {
            key: value
            for key, value in dialect.to_json().items()
            if value != usual.to_json()[key] and not (value == "\t" and self._fmt.type == "tsv")
        }
        return {**found, "encoding": place.encoding} if self._replaces else found

    @property
    def _replaces(self) -> bool:
        """Whether the text was turned into UTF-8, bad bytes into U+FFFD."""
        return self._place.encoding not in (None, "utf-8")

    def _fields(self) -> tuple[Field, ...]:
        return self._writer.fields(Field(name, "varchar") for name in self._place.names)

    def _failed(self, failure: Failure) -> Part:
        path, rows = self._writer.failures([failure], self._place.names)
        return Part(path, rows, self._fields(), None)


def is_regular(text: bytes, dialect: Dialect, columns: int) -> bool:
    """Whether DuckDB's reader and RFC 4180 agree on text that has one record per line."""
    if b"\r" in text or b"\0" in text:
        return False
    if columns == 1 and (text.startswith(b"\n") or b"\n\n" in text):
        return False
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            return False
    q, d = dialect.quote.encode(), dialect.delimiter.encode()
    if not q or q not in text:
        return True
    single = text.replace(q + q, b"")  # no quote is left but those around fields
    quotes = single.count(q)
    opening = single.count(d + q) + single.count(b"\n" + q) + single.startswith(q)
    closing = single.count(q + d) + single.count(q + b"\n") + single.endswith(q)
    return quotes == opening + closing


def is_text(text: str) -> bool:
    """Whether the text holds no byte that could not be decoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(data: bytes) -> str:
    """The text, with bytes that are not UTF-8 kept as surrogates."""
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
