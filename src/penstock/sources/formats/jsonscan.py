"""Where the records of a JSON document begin and end, without reading what is in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Mode = Literal["start", "array", "values", "done"]
Due = Literal["first", "comma", "record"]
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
BRACKET = re.compile(rb'(?:[^"{}\[\]]++|' + STRING + rb')*+(["{}\[\]]?)', re.DOTALL)
QUOTED = re.compile(STRING, re.DOTALL)
SCALAR = re.compile(rb'[^\s,\[\]{}"]+')
SPACE = re.compile(rb"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes that are one record, or `error`: what stands there instead."""

    start: int
    end: int
    error: str | None = None


class Scanner:
    """Cuts a document into records: the elements of its array, or its values one after another.

    Shape: between blocks only `mode` and `due` (what an array goes on with) need to be kept.
    """

    def __init__(self, mode: Mode = "start", due: Due = "first") -> None:
        self.mode: Mode = mode
        self.due: Due = due

    def spans(self, block: bytes, *, final: bool) -> Iterator[Span]:
        """Every record that ends in the block; `used` is where the rest begins."""
        at = self.used = 0
        while self.mode != "done":
            at = _space(block, at)
            self.used = at
            if at == len(block):
                break
            span = self._next(block, at, final=final)
            if span is None:
                return
            at = self.used = span.end
            if span.start != span.end or span.error is not None:
                yield span
        if self.mode == "done":
            at = _space(block, at)
            self.used = len(block)
            if at < len(block):
                yield Span(at, len(block), "text after the end of the array")
        elif final and self.mode == "array":
            self.mode = "done"
            yield Span(at, at, "the file ends before its array does")

    def _next(self, block: bytes, at: int, *, final: bool) -> Span | None:
        """The next record, or a mark passed over (an empty span); None: not all there."""
        here = block[at : at + 1]
        if self.mode == "start":
            self.mode = "array" if here == b"[" else "values"
            return Span(at + (here == b"["), at + (here == b"["))
        if self.mode == "array":
            mark = self._mark(here, at)
            if mark is not None:
                return mark
        elif here in b",]}":
            return Span(at, at + 1, f"{here.decode()!r} between records")
        end = value_end(block, at, final=final)
        if end is None:
            if not final:
                return None
            self.mode = "done"
            return Span(at, len(block), "the file ends inside this record")
        missing = self.mode == "array" and self.due == "comma"
        self.due = "comma"
        return Span(at, end, "no comma before this record" if missing else None)

    def _mark(self, here: bytes, at: int) -> Span | None:
        """What stands between the elements of an array; None where an element stands."""
        if here == b"]":
            self.mode = "done"
            error = "a comma before the end of the array" if self.due == "record" else None
            return Span(at + 1, at + 1, error)
        if here == b",":
            error = None if self.due == "comma" else "a comma without a record before it"
            self.due = "record"
            return Span(at + 1, at + 1, error)
        if here == b"}":
            return Span(at, at + 1, "'}' between records")
        return None


def value_end(block: bytes, at: int, *, final: bool) -> int | None:
    """Behind the value that begins at `at`; None if the block ends inside it."""
    here = block[at : at + 1]
    if here == b'"':
        found = QUOTED.match(block, at)
        return found.end() if found else None
    if here not in (b"{", b"["):
        scalar = SCALAR.match(block, at)
        end = scalar.end() if scalar else at + 1
        return end if final or end < len(block) else None
    depth = 0
    while True:
        bracket = BRACKET.match(block, at)
        assert bracket is not None
        mark, at = bracket[1], bracket.end()
        if mark in (b"", b'"'):
            return None
        depth += 1 if mark in (b"{", b"[") else -1
        if depth == 0:
            return at


def find(block: bytes, path: Sequence[str]) -> tuple[int | None, str]:
    """Where the value at `path` begins, or why it is not found ("" if the block is too short)."""
    at = _space(block, 0)
    for wanted in path:
        if at == len(block):
            return None, ""
        if block[at : at + 1] != b"{":
            return None, f"there is no object that could hold {wanted!r}"
        found, why = _member(block, at + 1, wanted)
        if found is None:
            return None, why
        at = found
    return (at, "") if at < len(block) else (None, "")


def _member(block: bytes, at: int, wanted: str) -> tuple[int | None, str]:
    """Where the value of a key of the object begins that was opened before `at`."""
    while True:
        at = _space(block, at)
        key = QUOTED.match(block, at)
        if key is None:
            ended = block[at : at + 1] == b"}"
            return None, f"there is no key {wanted!r}" if ended else ""
        colon = _space(block, key.end())
        value = _space(block, colon + 1)
        if _text(key[0]) == wanted:
            return value, ""
        end = value_end(block, value, final=False)
        if end is None:
            return None, ""
        at = _space(block, end)
        if block[at : at + 1] == b",":
            at += 1


def _text(quoted: bytes) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return ""


def _space(block: bytes, at: int) -> int:
    found = SPACE.match(block, at)
    assert found is not None
    return found.end()
