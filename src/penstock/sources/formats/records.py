"""Delimited text taken apart record by record: exact, and slower than DuckDB's own reader.

Used for blocks in which something is unusual: a record that cannot be read, quoted line breaks,
blank or commented lines, mixed line ends, NULs, bytes that are not UTF-8.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from penstock.sources.formats.dialect import Dialect
from penstock.sources.formats.raw import MAX_RECORD_BYTES, NULL

REASONS = {
    "unexpected end of data": "unclosed quote",
    "expected after": "text after a closing quote",
    "field larger": f"field longer than {MAX_RECORD_BYTES >> 20} MiB",
}


@dataclass(frozen=True, slots=True)
class Record:
    """Shape: `values` is None for a record that could not be read, and `error` says why."""

    line: int
    text: str
    values: list[str] | None
    error: str = ""


class _Lines(Iterator[str]):
    """Lines with their ends, which can be given back; commented ones are passed over."""

    def __init__(self, lines: Iterator[str], comment: str | None) -> None:
        self._lines, self._comment = lines, comment
        self._again: deque[str] = deque()
        self.taken: list[str] = []
        self.passed = 0

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        while self._comment and not self.taken and line.startswith(self._comment):
            self.passed += 1
            line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        return line

    def give_back(self, lines: list[str]) -> None:
        self._again.extendleft(reversed(lines))


class Records(Iterator[Record]):
    """The records of a block, and then `rest`: the bytes of a last one that is not all there.

    Why: an unclosed quote must not swallow the file. A record that never ends, or is longer than
    16 MiB, is an error of its first line alone, and reading goes on at the next line. Python's csv
    module takes fields of 128 KiB unless told otherwise, for the whole process.
    """

    def __init__(
        self,
        block: bytes,
        dialect: Dialect,
        line: int,
        *,
        final: bool,
        comment: str | None = None,
    ) -> None:
        csv.field_size_limit(2 * MAX_RECORD_BYTES)
        end = len(block) if final else _last_line_end(block)
        self.line = line
        """The number of the next line."""
        self.rest = block[end:]
        text = io.TextIOWrapper(
            io.BytesIO(block[:end]), encoding="utf-8", errors="surrogateescape", newline=""
        )
        self._lines = _Lines(text, comment)
        self._reader = csv.reader(self._lines, strict=True, **dialect.options())  # type: ignore[arg-type]
        self._final = final

    def __next__(self) -> Record:
        lines = self._lines
        lines.taken = []
        try:
            values = next(self._reader)
        except csv.Error as error:
            return self._fault(str(error))
        finally:
            self.line += lines.passed
            lines.passed = 0
        taken, line = lines.taken, self.line
        self.line += len(taken)
        return Record(line, taken[0] if len(taken) == 1 else "".join(taken), values)

    def _fault(self, error: str) -> Record:
        taken, line = self._lines.taken, self.line + self._lines.passed
        ends = "unexpected end" in error
        if ends and not self._final:
            text = "".join(taken)
            if len(text) <= MAX_RECORD_BYTES:
                self.rest = text.encode("utf-8", "surrogateescape") + self.rest
                raise StopIteration
        self._lines.give_back(taken[1:])
        self.line += 1
        reason = next((ours for theirs, ours in REASONS.items() if theirs in error), error)
        return Record(line, taken[0], None, reason)


def _last_line_end(block: bytes) -> int:
    """Behind the last line that is surely whole: a CR at the very end may be half of CR LF."""
    return max(block.rfind(b"\n"), block.rfind(b"\r", 0, len(block) - 1)) + 1


class Nulls:
    """Which values of a record are NULL: the unquoted ones that are empty or said to be NULL."""

    def __init__(self, dialect: Dialect, null_values: tuple[str, ...]) -> None:
        self._values = frozenset(("", *null_values))
        self._quote = dialect.quote
        d, q, e = (re.escape(c) for c in (dialect.delimiter, dialect.quote, dialect.escape))
        inside = rf"(?:[^{q}{e}]|{e}.)*" if dialect.escape else rf"(?:[^{q}]|{q}{q})*"
        self._field = re.compile(rf"(?:{q}{inside}{q}|[^{d}]*)(?:{d}|\Z)", re.DOTALL) if q else None

    def marked(self, record: Record) -> list[str]:
        """The values, with NULL marked."""
        values = record.values or []
        if self._values.isdisjoint(values):
            return values
        if self._field is None or self._quote not in record.text:
            return [NULL if value in self._values else value for value in values]
        fields = self._field.findall(record.text.rstrip("\r\n"))
        return [
            NULL if value in self._values and not fields[index].startswith(self._quote) else value
            for index, value in enumerate(values)
        ]
