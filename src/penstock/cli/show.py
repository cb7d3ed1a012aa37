"""What verbs print: lines and tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock import codec
from penstock.cli.failures import redacted

WIDE = 100_000
"""Columns that a table may take: nothing is cut, and a terminal wraps what it cannot hold."""
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127) if chr(code) not in "\n\t"}


def console(*, errors: bool = False) -> Console:
    """Stdout or stderr as rich sees it; data is never read as markup."""
    stream = sys.stderr if errors else sys.stdout
    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(text: str = "", style: str = "") -> None:
    """A line on stdout."""
    console().print(Text(visible(redacted(text)), style=style))


def note(text: str, style: str = "") -> None:
    """A line on stderr: progress and warnings."""
    console(errors=True).print(Text(visible(redacted(text)), style=style))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], indent: int = 2) -> None:
    """Aligned columns on stdout. A column whose name starts with > is aligned to the right."""
    grid = Table(box=None, pad_edge=False, show_edge=False, show_header=any(columns))
    for name in columns:
        justify: Literal["left", "right"] = "right" if name.startswith(">") else "left"
        heading = Text(name.removeprefix(">"), style="dim")
        grid.add_column(heading, justify=justify, no_wrap=True)
    for row in rows:
        grid.add_row(*(cell(value) for value in row))
    screen = console()
    screen.width = WIDE
    with screen.capture() as captured:
        screen.print(grid)
    for line in captured.get().splitlines():
        sys.stdout.write(" " * indent + line.rstrip() + "\n")


def cell(value: object) -> Text:
    """A value as it stands in a table; control characters are shown, not obeyed."""
    if isinstance(value, Text):
        return value
    if value is None:
        return Text("NULL", style="dim")
    return Text(visible(str(value)).replace("\n", "\\n").replace("\t", "\\t"))


def visible(text: str) -> str:
    """The text with control characters written out, so that data cannot steer a terminal."""
    return text.translate(_CONTROLS)


def document(value: object) -> None:
    """The one JSON document on stdout."""
    sys.stdout.write(json.dumps(as_json(value), indent=2, ensure_ascii=False) + "\n")


def as_json(value: object) -> Any:
    """The value in JSON's own types: decimals and times are text, so that they stay exact."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (Decimal, UUID, timedelta)):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(item) for item in value]
    made = codec.plain(value)
    return str(made) if made is value else as_json(made)


def number(value: int) -> str:
    """1234567 as 1,234,567."""
    return f"{value:,}"


def span(seconds: float) -> str:
    """How long: 0.4s, 3.1s, 2m05, 1h20, 3d4h."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}"
    return f"{whole // 86_400}d{whole % 86_400 // 3600}h"


def age(seconds: float) -> str:
    """How old, coarsely: 4s, 4m, 2h10, 3d4h."""
    if seconds < 60:
        return f"{int(max(seconds, 0))}s"
    if seconds < 3600:
        return f"{int(seconds) // 60}m"
    return span(seconds)


def size(count: int) -> str:
    """Bytes, in the unit that fits."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{count} B"
