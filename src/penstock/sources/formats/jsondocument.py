"""JSON documents in blocks: an array of objects, one object, or many one after another."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.model import Json
from penstock.sources.formats.bytestream import ByteStream
from penstock.sources.formats.jsonscan import Scanner, find
from penstock.sources.formats.ndjson import Item, JsonBlock, JsonText
from penstock.sources.formats.options import Format
from penstock.sources.formats.raw import (
    MAX_RECORD_BYTES,
    SAMPLE_BYTES,
    TOO_LONG,
    Failure,
    Part,
    RawWriter,
    lossy,
)


class JsonDocumentReader:
    """Reads one file from a place on; every block becomes one part.

    Units: `offset` counts bytes of the decompressed text in UTF-8; `number` is the next record.
    """

    def __init__(
        self,
        stream: ByteStream,
        fmt: Format,
        writer: RawWriter,
        at: dict[str, Json] | None,
        block_bytes: int,
    ) -> None:
        self._text = JsonText(stream, fmt, at)
        self._records, self._block_bytes = fmt.records, block_bytes
        self._number: int = at["number"] if at else 1
        self._scanner = Scanner(at["mode"], at["due"]) if at else Scanner()
        self._whole = fmt.records is None
        self._at = at
        self._block = JsonBlock(writer)

    def parts(self) -> Iterator[Part]:
        """The blocks after the place; at least one, which may have no rows."""
        stream = self._text.open()
        if self._at is None and self._records:
            why = self._find(stream, self._records)
            if why is not None:
                yield self._block.failed(Failure(1, why), None)
                return
        size = self._block_bytes
        while True:
            block = stream.read(size)
            final = stream.at_end
            damage = stream.damage if final else None
            items = self._items(block, final=final and damage is None)
            rest = block[self._scanner.used :]
            self._text.offset += self._scanner.used
            if len(rest) > MAX_RECORD_BYTES and not final:
                items.append(Item(self._number, lossy(rest[:SAMPLE_BYTES]), UNENDING))
                self._scanner.mode, final = "done", True
            done = (final and damage is None) or self._over
            if items or done:
                path, rows, fields = self._block.items(items, block)
                yield Part(path, rows, fields, None if done else self._resume())
            if done:
                return
            if damage is not None:
                yield self._block.failed(Failure(self._number, damage, lossy(rest)), None)
                return
            stream.push_back(rest)
            size = self._block_bytes if self._scanner.used else 2 * len(block)

    @property
    def _over(self) -> bool:
        """Whether the array that `records` names has ended; what follows is not looked at."""
        return not self._whole and self._scanner.mode == "done"

    def _items(self, block: bytes, *, final: bool) -> list[Item]:
        items = []
        for span in self._scanner.spans(block, final=final):
            if self._over and span.start != span.end:
                break
            text, error = self._text.decoded(block[span.start : span.end])
            items.append(Item(self._number, text, span.error or error))
            self._number += 1
        return items

    def _find(self, stream: ByteStream, path: str) -> str | None:
        """The stream stands where the records begin; or why it cannot."""
        data = b""
        while True:
            more = stream.read(SAMPLE_BYTES)
            data += more
            at, why = find(data, path.split("."))
            if at is not None:
                stream.push_back(data[at:])
                self._text.offset += at
                return None
            if why or not more or len(data) > MAX_RECORD_BYTES:
                return f"records: {path}: {why or 'not found before the file ends'}"

    def _resume(self) -> dict[str, Json]:
        return {
            "offset": self._text.offset,
            "encoding": self._text.encoding,
            "number": self._number,
            "mode": self._scanner.mode,
            "due": self._scanner.due,
        }


UNENDING = f"{TOO_LONG}, or its brackets do not match; what follows was not read"
