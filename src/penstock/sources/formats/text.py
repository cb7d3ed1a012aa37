"""Which encoding a file has, and its text as UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

UTF8_BOM = codecs.BOM_UTF8
BOMS = (
    (UTF8_BOM, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_by_bom(start: bytes) -> str | None:
    """The encoding that the first bytes of a file give away, if they do."""
    for bom, encoding in BOMS:
        if start.startswith(bom):
            return encoding
    sample = start[:200]
    if len(sample) >= 4 and len(sample) % 2 == 0:
        even, odd = sample[::2], sample[1::2]
        if not any(odd) and all(even):
            return "utf-16-le"
        if not any(even) and all(odd):
            return "utf-16-be"
    return None


def encoding_of(block: bytes, *, final: bool) -> str | None:
    """The encoding of text that has no mark; None while all of it is ASCII.

    A file is UTF-8 if any line beyond ASCII is (the others are bad lines); if none is, it is
    cp1252, or latin1 where it has bytes that cp1252 does not know.
    """
    if block.isascii():
        return None
    if is_utf8(block, final=final):
        return "utf-8"
    beyond = [line for line in block.split(b"\n") if not line.isascii()]
    if any(is_utf8(line, final=True) for line in beyond):
        return "utf-8"
    try:
        b"\n".join(beyond).decode("cp1252")
    except UnicodeDecodeError:
        return "latin1"
    return "cp1252"


def is_utf8(data: bytes, *, final: bool) -> bool:
    """Whether the bytes are UTF-8; without `final` a character cut off at the end is no fault."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final)
    except UnicodeDecodeError:
        return False
    return True


def canonical(encoding: str) -> str:
    """One name per encoding; UTF-8 with and without a mark is one."""
    name = codecs.lookup(encoding).name
    return "utf-8" if name in ("utf-8-sig", "ascii") else name


def unix_lines(block: bytes) -> bytes:
    """The block with LF where CR LF was."""
    return block.replace(b"\r\n", b"\n") if b"\r" in block else block


def to_utf8(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The text as UTF-8; bytes that are none of `encoding` become U+FFFD."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")
