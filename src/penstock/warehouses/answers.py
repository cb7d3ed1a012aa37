"""A query's answer as plain Python values, with moments as datetimes in UTC.

Why: DuckDB's driver hands a TIMESTAMPTZ over only where pytz is installed, which is no
dependency of Penstock; so it leaves as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

ZONED = "TIMESTAMP WITH TIME ZONE"


def with_moments_as_text(source: str, types: Sequence[str]) -> str:
    """A query of the FROM item's columns, by position, each moment cast to text."""
    names = [f"c{place}" for place in range(len(types))]
    values = (
        f"CAST({name} AS VARCHAR)" if ZONED in kind else name
        for name, kind in zip(names, types, strict=True)
    )
    return f"SELECT {', '.join(values)} FROM {source} q({', '.join(names)})"


def with_moments(
    rows: Sequence[Sequence[object]], types: Sequence[str]
) -> tuple[tuple[object, ...], ...]:
    """The rows of `with_moments_as_text`, their moments read again."""
    places = {place for place, kind in enumerate(types) if kind == ZONED}
    return tuple(
        tuple(_moment(value) if place in places else value for place, value in enumerate(row))
        for row in rows
    )


def _moment(value: object) -> object:
    """The moment in UTC; its text where Python's years do not reach (infinity, BC)."""
    try:
        return datetime.fromisoformat(value).astimezone(UTC) if isinstance(value, str) else value
    except ValueError:
        return value
