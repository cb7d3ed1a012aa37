"""How a delimited file is written: decided once, from its first block, and kept in positions."""

from __future__ import annotations

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from penstock.model import Json
from penstock.sources.formats.options import Format

CANDIDATES = (",", ";", "\t", "|")
SAMPLE_ROWS = 500
TYPED = re.compile(
    r"\s*([-+]?[\d.,' ]*\d[\d.,]*([eE][-+]?\d+)?%?"
    r"|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}.*|true|false)\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """Shape: `escape` "" means that a quote inside quotes is doubled."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""

    def to_json(self) -> dict[str, Json]:
        return asdict(self)

    def options(self) -> dict[str, object]:
        """The arguments of Python's csv.reader."""
        return {
            "delimiter": self.delimiter,
            "quotechar": self.quote or None,
            "quoting": csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            "escapechar": self.escape or None,
            "doublequote": not self.escape,
        }


def detect(lines: Sequence[str], fmt: Format) -> Dialect:
    """The dialect in which most of `lines` (a file's first) have one number of columns."""
    lines = [line for line in lines if line.strip()][:SAMPLE_ROWS]
    quote = fmt.quote if fmt.quote is not None else '"'
    delimiter = fmt.delimiter or ("\t" if fmt.type == "tsv" else _delimiter(lines, quote))
    if fmt.quote is None and not any('"' in line for line in lines):
        quote = _single_quotes(lines, delimiter) or quote
    escape = fmt.escape if fmt.escape is not None else _escape(lines, delimiter, quote)
    return Dialect(delimiter, quote, "" if escape == quote else escape)


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: no value, over columns that hold values.

    Why: text over text is a header too; nearly every file has one, and the override is `header`.
    """
    if len(rows) < 2:
        return bool(rows) and not any(TYPED.fullmatch(cell) for cell in rows[0])
    votes = 0
    for index, cell in enumerate(rows[0]):
        below = [row[index] for row in rows[1:] if index < len(row) and row[index].strip()]
        if below and sum(TYPED.fullmatch(value) is not None for value in below) > len(below) / 2:
            votes += -1 if TYPED.fullmatch(cell) else 1
    if votes:
        return votes > 0
    return not any(TYPED.fullmatch(cell) for cell in rows[0])


def rows_of(lines: Sequence[str], dialect: Dialect) -> list[list[str]]:
    """The records of a sample, taken leniently; the last may be cut off."""
    reader = csv.reader(iter(lines), **dialect.options())  # type: ignore[arg-type]
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        rows.extend(row for row in reader if row)
    return rows


def _delimiter(lines: Sequence[str], quote: str) -> str:
    best, best_score = ",", (0.0, 0)
    for candidate in CANDIDATES:
        widths = Counter(len(row) for row in rows_of(lines, Dialect(candidate, quote)))
        if not widths:
            continue
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
        score = (round(count / widths.total(), 2), width)
        if width > 1 and score > best_score:
            best, best_score = candidate, score
    return best


def _single_quotes(lines: Sequence[str], delimiter: str) -> str | None:
    quoted = re.compile(rf"(?:^|{re.escape(delimiter)})'[^']*'(?={re.escape(delimiter)}|\s*$)")
    return "'" if sum(quoted.search(line) is not None for line in lines) > len(lines) / 2 else None


def _escape(lines: Sequence[str], delimiter: str, quote: str) -> str:
    """A backslash, where the file cannot be read without one."""
    if not quote or not any("\\" + quote in line for line in lines):
        return ""
    doubled, escaped = (_broken(lines, Dialect(delimiter, quote, e)) for e in ("", "\\"))
    return "\\" if escaped < doubled else ""


def _broken(lines: Sequence[str], dialect: Dialect) -> int:
    """How many single lines cannot be read so; records over several lines count alike for all."""
    broken = 0
    for line in lines:
        try:
            list(csv.reader([line], strict=True, **dialect.options()))  # type: ignore[arg-type]
        except csv.Error:
            broken += 1
    return broken
