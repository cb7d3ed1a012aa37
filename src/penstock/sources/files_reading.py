"""One file, from a place on, as parts: opened, decompressed, and read by its format."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from penstock.model import Json
from penstock.sources.files_root import Root
from penstock.sources.formats.bytestream import ByteStream, Damaged, decompressed
from penstock.sources.formats.delimited import DelimitedReader
from penstock.sources.formats.jsondocument import JsonDocumentReader
from penstock.sources.formats.kinds import HEAD_BYTES, compression_of, type_of
from penstock.sources.formats.ndjson import NdjsonReader
from penstock.sources.formats.options import Format
from penstock.sources.formats.parquet import ParquetReader
from penstock.sources.formats.raw import BLOCK_BYTES, Failure, Part, RawWriter

UNZIP_BYTES = 32 << 10
"""What a fault in a zip file costs: what comes before it in one such step is not readable."""


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads files of one stream. `block_bytes` is the size of a part before it is Parquet."""

    root: Root
    format: Format
    block_bytes: int = BLOCK_BYTES

    def parts(
        self, path: str, version: str, writer: RawWriter, at: dict[str, Json] | None
    ) -> Iterator[Part]:
        """The file's parts after `at` (None: from its start); at least one.

        Shape: a file that cannot be read at all is one part with one error row.
        """
        try:
            yield from self._file(path, version, writer, at)
        except Damaged as damage:
            made, rows = writer.failures([Failure(1, str(damage))], ())
            yield Part(made, rows, writer.fields(()), None)

    def _file(
        self, path: str, version: str, writer: RawWriter, at: dict[str, Json] | None
    ) -> Iterator[Part]:
        start = _seekable_to(at)
        stream = ByteStream(self.root.chunks(path, version, start), start)
        if at is None:
            compression = compression_of(path, _head(stream), self.format)
        else:
            compression = at["compression"]
        if compression == "zip":
            yield from self._archive(path, version, writer, at)
            return
        if compression != "none":
            stream = ByteStream(decompressed(stream, compression))
        kind = at["type"] if at else type_of(path, _head(stream), self.format)
        inner = at["at"] if at else None
        if kind == "parquet" and compression == "none":
            parts = self._parquet(path, version, writer, inner)
        else:
            parts = self._text(kind, stream, writer, inner)
        decided = {"compression": compression, "type": kind}
        for part in parts:
            resume = part.resume and {**decided, "at": part.resume}
            known = {"type": kind, **part.format}
            yield replace(part, resume=resume, format=known)

    def _text(
        self, kind: str, stream: ByteStream, writer: RawWriter, at: dict[str, Json] | None
    ) -> Iterator[Part]:
        if kind == "parquet":
            raise Damaged("a compressed Parquet file: Parquet compresses by itself")
        if kind == "json" or (kind == "ndjson" and self.format.records):
            return JsonDocumentReader(stream, self.format, writer, at, self.block_bytes).parts()
        if kind == "ndjson":
            return NdjsonReader(stream, self.format, writer, at, self.block_bytes).parts()
        fmt = replace(self.format, type=kind)
        return DelimitedReader(stream, fmt, writer, at, self.block_bytes).parts()

    def _parquet(
        self, path: str, version: str, writer: RawWriter, at: dict[str, Json] | None
    ) -> Iterator[Part]:
        local = self.root.fetch(path, version, writer.folder)
        try:
            for part in ParquetReader(local, writer, at).parts():
                self.root.require(path, version)
                yield part
        finally:
            if local.is_relative_to(writer.folder):
                local.unlink()

    def _archive(
        self, path: str, version: str, writer: RawWriter, at: dict[str, Json] | None
    ) -> Iterator[Part]:
        """The members of a zip file, each a file of its own."""
        self.root.require(path, version)
        file = self.root.seekable(path)
        try:
            archive = zipfile.ZipFile(file)
            members = [info for info in archive.infolist() if _counts(info)]
        except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
            raise Damaged(f"corrupt zip: {error}") from None
        if not members:
            raise Damaged("a zip file without files in it")
        first: int = at["member"] if at else 0
        inner = at["at"] if at else None
        for number, member in enumerate(members[first:], first):
            for part in self._member(archive, member, writer, inner):
                last = number == len(members) - 1 and part.resume is None
                resume = {"compression": "zip", "member": number, "at": part.resume}
                if part.resume is None:
                    resume = {"compression": "zip", "member": number + 1, "at": None}
                yield replace(part, resume=None if last else resume)
            inner = None
        self.root.require(path, version)

    def _member(
        self,
        archive: zipfile.ZipFile,
        member: zipfile.ZipInfo,
        writer: RawWriter,
        at: dict[str, Json] | None,
    ) -> Iterator[Part]:
        try:
            stream = ByteStream(_unzip(archive, member))
            kind = at["type"] if at else type_of(member.filename, _head(stream), self.format)
            for part in self._text(kind, stream, writer, at and at["at"]):
                yield replace(part, resume=part.resume and {"type": kind, "at": part.resume})
        except Damaged as damage:
            named = str(damage).startswith(member.filename)
            error = str(damage) if named else f"{member.filename}: {damage}"
            made, rows = writer.failures([Failure(1, error)], ())
            yield Part(made, rows, writer.fields(()), None)


def _seekable_to(at: dict[str, Json] | None) -> int:
    """How far into the file reading can begin at once: to the place, where bytes are its text."""
    if at is None or at["compression"] != "none" or at["type"] == "parquet":
        return 0
    offset: int = at["at"]["offset"] if at["at"]["encoding"] in (None, "utf-8") else 0
    return offset


def _head(stream: ByteStream) -> bytes:
    """The first bytes, still to be read.

    Raises: Damaged if there are none and the stream ended in damage.
    """
    head = stream.read(HEAD_BYTES)
    stream.push_back(head)
    if not head and stream.damage is not None:
        raise Damaged(stream.damage)
    return head


def _counts(info: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(info.filename)
    return not (info.is_dir() or path.parts[0] == "__MACOSX" or path.name.startswith("."))


def _unzip(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    done = 0
    try:
        with archive.open(member) as file:
            while data := _step(file):
                done += len(data)
                yield data
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise Damaged(f"{member.filename}: corrupt zip after byte {done}: {error}") from None


def _step(file: Any) -> bytes:
    data: bytes = file.read(UNZIP_BYTES)
    return data
