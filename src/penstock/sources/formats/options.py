"""A stream's `format`: what the user said; everything left out is detected."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from penstock.errors import SpecError

TYPES = ("csv", "tsv", "ndjson", "json", "parquet")
COMPRESSIONS = ("none", "gzip", "zstd", "zip")
KEYS = (
    "type", "compression", "encoding", "delimiter", "quote", "escape", "header", "columns",
    "skip_rows", "comment", "null_values", "decimal", "thousands", "records",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Format:
    """What is known of a file before it is opened. None: to be detected.

    Shape: `quote` "" means that nothing is quoted; `columns` names them in place of a header.
    """

    type: str | None = None
    compression: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    header: bool | None = None
    encoding: str | None = None
    skip_rows: int = 0
    comment: str | None = None
    columns: tuple[str, ...] = ()
    null_values: tuple[str, ...] = ()
    records: str | None = None

    @staticmethod
    def of(options: Mapping[str, Any], where: str) -> Format:
        """The format that `options` say.

        Raises: SpecError for an unknown key or a value that cannot be.
        """
        for key in options:
            if key not in KEYS:
                near = get_close_matches(key, KEYS, 1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(KEYS))}"
                raise SpecError(f"unknown key {key!r} in format", where=where, fix=hint)
        _one_of(options, "type", TYPES, where)
        _one_of(options, "compression", COMPRESSIONS, where)
        for key in ("delimiter", "quote", "escape", "comment"):
            _one_character(options, key, where)
        if options.get("encoding") is not None:
            _known_encoding(str(options["encoding"]), where)
        names = options.get("columns")
        nulls = options.get("null_values")
        return Format(
            type=options.get("type"),
            compression=options.get("compression"),
            delimiter=options.get("delimiter"),
            quote=options.get("quote"),
            escape=options.get("escape"),
            header=options.get("header"),
            encoding=options.get("encoding"),
            skip_rows=int(options.get("skip_rows") or 0),
            comment=options.get("comment"),
            columns=tuple(str(name) for name in names or ()),
            null_values=(nulls,) if isinstance(nulls, str) else tuple(nulls or ()),
            records=options.get("records"),
        )


def _one_of(options: Mapping[str, Any], key: str, allowed: tuple[str, ...], where: str) -> None:
    value = options.get(key)
    if value is not None and value not in allowed:
        raise SpecError(
            f"format {key} {value!r} is not known", where=where, fix=f"one of {', '.join(allowed)}"
        )


def _one_character(options: Mapping[str, Any], key: str, where: str) -> None:
    value = options.get(key)
    if value is None or (key == "quote" and value == ""):
        return
    if not isinstance(value, str) or len(value) != 1 or value in "\r\n\0":
        raise SpecError(
            f"format {key} must be one character, this is {value!r}",
            where=where,
            fix='a tab is written "\\t"',
        )


def _known_encoding(name: str, where: str) -> None:
    try:
        codecs.lookup(name)
    except LookupError:
        raise SpecError(
            f"encoding {name!r} is not known",
            where=where,
            fix="for example utf-8, latin1, cp1252, utf-16",
        ) from None
