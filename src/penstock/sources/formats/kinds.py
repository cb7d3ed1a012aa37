"""What a file is: by what the stream says, else by its first bytes, else by its name."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from penstock.sources.formats.bytestream import Damaged
from penstock.sources.formats.options import Format
from penstock.sources.formats.text import UTF8_BOM, encoding_by_bom

HEAD_BYTES = 64 << 10
MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
)
PARQUET = b"PAR1"
COMPRESSED = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".zip": "zip"}
TYPED = {
    ".csv": "csv", ".txt": "csv", ".tsv": "tsv", ".tab": "tsv", ".ndjson": "ndjson",
    ".jsonl": "ndjson", ".json": "json", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


def compression_of(name: str, head: bytes, fmt: Format) -> str:
    """How the file is compressed.

    Raises: Damaged if its name promises a compression that its bytes are not.
    """
    if fmt.compression is not None:
        return fmt.compression
    found = next((name for magic, name in MAGIC if head.startswith(magic)), None)
    if found is not None:
        return found
    promised = COMPRESSED.get(PurePosixPath(name).suffix.lower())
    if promised is not None and head and is_binary(head):
        raise Damaged(f"not {promised}, though its name says so")
    return "none"


def type_of(name: str, head: bytes, fmt: Format) -> str:
    """The format of the (decompressed) file.

    Raises: Damaged if it is neither text nor Parquet.
    """
    if fmt.type is not None:
        return fmt.type
    if head.startswith(PARQUET):
        return "parquet"
    mark = fmt.encoding or encoding_by_bom(head)
    if mark is None and is_binary(head):
        raise Damaged("neither text nor a format that is known by its first bytes")
    path = PurePosixPath(name)
    if path.suffix.lower() in COMPRESSED:
        path = path.with_suffix("")
    named = TYPED.get(path.suffix.lower())
    text = head.decode(mark, "ignore").encode() if mark else head
    text = text.removeprefix(UTF8_BOM).lstrip()
    if text.startswith(b"{"):
        return "ndjson" if _is_object(text.partition(b"\n")[0]) or named == "ndjson" else "json"
    if named == "parquet":
        return "csv"
    if text.startswith(b"[") and named in (None, "json"):
        return "json"
    return named or "csv"


def is_binary(head: bytes) -> bool:
    """Whether these are no first bytes of a text."""
    if not head or encoding_by_bom(head) is not None:
        return False
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head[:4096])
    return control > len(head[:4096]) * 0.1 and control > 1


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
