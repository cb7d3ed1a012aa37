"""Byte streams with exact reads; decompression that hands over all that can be read."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from penstock.errors import PenstockError

STEP_BYTES = 1 << 20


class Damaged(Exception):
    """The stream ends here, before its end; what came so far is good. Text: why."""


class ByteStream:
    """Bytes from an iterator of chunks, read in sizes that depend on nothing else.

    Shape: after the end, `damage` says why the stream ended early, or is None. `start` is how
    far into its text the chunks begin.
    Why: block boundaries, and with them chunks, must not depend on how a network delivers.
    """

    def __init__(self, chunks: Iterable[bytes], start: int = 0) -> None:
        self._chunks, self._start = iter(chunks), start
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self.damage: str | None = None
        self.ended = False

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer at the end."""
        while self._rest_bytes < size and not self.ended:
            self._pull()
        if self._rest_bytes <= size:
            data = b"".join(self._rest)
            self._rest, self._rest_bytes = [], 0
            return data
        data = b"".join(self._rest)
        self._rest, self._rest_bytes = [data[size:]], len(data) - size
        return data[:size]

    def push_back(self, data: bytes) -> None:
        """The next read starts with `data`."""
        self._rest.insert(0, data)
        self._rest_bytes += len(data)

    def go_to(self, offset: int) -> None:
        """The next read, the first of all, starts `offset` bytes into the text."""
        size = offset - self._start
        while size > 0 and (data := self.read(min(size, STEP_BYTES))):
            size -= len(data)

    @property
    def at_end(self) -> bool:
        """Whether nothing is left to read."""
        while not self._rest_bytes and not self.ended:
            self._pull()
        return self._rest_bytes == 0

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(STEP_BYTES):
            yield data
        if self.damage is not None:
            raise Damaged(self.damage)

    def _pull(self) -> None:
        try:
            data = next(self._chunks, None)
        except Damaged as damage:
            self.damage, self.ended = str(damage), True
            return
        if data is None:
            self.ended = True
        elif data:
            self._rest.append(data)
            self._rest_bytes += len(data)


def decompressed(chunks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """The bytes behind `compression` (none, gzip, zstd), in chunks of bounded size."""
    if compression == "gzip":
        return _gunzip(chunks)
    if compression == "zstd":
        return _unzstd(chunks)
    return iter(chunks)


def _gunzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Every member of a gzip file; a damaged one gives what comes before the damage."""
    inflate, fresh, done, members = zlib.decompressobj(wbits=31), True, 0, 0
    for chunk in chunks:
        for start in range(0, len(chunk), 1 << 16):
            data = chunk[start : start + (1 << 16)]
            while data:
                if fresh and not data.strip(b"\0"):
                    break  # padding after a member
                before = inflate.copy()
                try:
                    out = inflate.decompress(data, STEP_BYTES)
                except zlib.error as error:
                    for out in _inflate_up_to_the_fault(before, data):
                        done += len(out)
                        yield out
                    raise Damaged(f"corrupt gzip after byte {done}: {_reason(error)}") from None
                fresh = False
                done += len(out)
                if out:
                    yield out
                if inflate.eof:
                    members += 1
                    data, inflate, fresh = inflate.unused_data, zlib.decompressobj(wbits=31), True
                else:
                    data = inflate.unconsumed_tail
    if not fresh or members == 0:
        raise Damaged(f"truncated gzip after byte {done}")


def _inflate_up_to_the_fault(inflate: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    for index in range(len(data)):
        try:
            out = inflate.decompress(data[index : index + 1])
        except zlib.error:
            return
        if out:
            yield out


def _reason(error: zlib.error) -> str:
    return str(error).rpartition(": ")[2]


def _unzstd(chunks: Iterable[bytes]) -> Iterator[bytes]:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise PenstockError(
            "reading zstd files needs the package zstandard",
            fix="pip install 'penstock[zstd]'",
        ) from None
    inflate, fresh, done, members = zstandard.ZstdDecompressor().decompressobj(), True, 0, 0
    for chunk in chunks:
        for start in range(0, len(chunk), 1024):
            data = chunk[start : start + 1024]  # a block of 4 bytes may hold 128 KiB
            while data:
                try:
                    out = inflate.decompress(data)
                except zstandard.ZstdError as error:
                    raise Damaged(f"corrupt zstd after byte {done}: {error}") from None
                fresh = False
                done += len(out)
                if out:
                    yield out
                data = b""
                if inflate.eof:
                    members += 1
                    data = inflate.unused_data
                    inflate, fresh = zstandard.ZstdDecompressor().decompressobj(), True
    if not fresh or members == 0:
        raise Damaged(f"truncated zstd after byte {done}")
