"""The time of the world; tests use `penstock.testing.clock.ManualClock`."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """The machine's own clock, in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)
