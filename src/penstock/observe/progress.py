"""What is going on, added up from events as they happen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["extract", "transform", "load"]
STAGES: tuple[Stage, ...] = ("extract", "transform", "load")
_STAGE_OF: Mapping[str, tuple[Stage, str]] = {
    "chunk_extracted": ("extract", "rows"),
    "chunk_transformed": ("transform", "rows_read"),
    "chunks_loaded": ("load", "rows_loaded"),
}
MOST_POINTS = 240
"""Points of one curve; when there are more, every other one is dropped."""


@dataclass
class Tally:
    """One stream so far.

    Units: times are seconds since the start of the run.
    """

    rows: dict[Stage, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    pieces: dict[Stage, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    first_at: dict[Stage, float] = field(default_factory=dict)
    last_at: dict[Stage, float] = field(default_factory=dict)
    good: int = 0
    quarantined: int = 0
    inserted: int = 0
    updated: int = 0
    retried: int = 0
    last_reason: str = ""
    planned_at: float | None = None
    over: str = ""
    """How it ended; empty while it goes on."""


@dataclass
class Curve:
    """Rows of one stage over time, cumulative; bounded in size.

    Shape: (seconds since the start, rows so far), both growing.
    """

    points: list[tuple[float, int]] = field(default_factory=list)
    total: int = 0

    def add(self, at_s: float, rows: int) -> None:
        self.total += rows
        self.points.append((at_s, self.total))
        if len(self.points) > MOST_POINTS:
            self.points[:] = [*self.points[::2], self.points[-1]]


class Progress:
    """A listener of the event log that adds up per stream; `now` is any clock in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._started = now, now()
        self._lock = threading.Lock()
        self._tallies: dict[str, Tally] = {}
        self._curves = {stage: Curve() for stage in STAGES}

    def hear(self, event: str, fields: Mapping[str, object]) -> None:
        """The event has been added."""
        stream = fields.get("stream")
        if not isinstance(stream, str):
            return
        at_s = self.elapsed_s
        with self._lock:
            tally = self._tallies.setdefault(stream, Tally())
            if event in _STAGE_OF:
                stage, name = _STAGE_OF[event]
                self._count(tally, stage, _whole(fields.get(name)), at_s)
                tally.good += _whole(fields.get("rows_good"))
                tally.quarantined += _whole(fields.get("rows_quarantined"))
                tally.inserted += _whole(fields.get("inserted"))
                tally.updated += _whole(fields.get("updated"))
            elif event == "run_planned":
                tally.planned_at = at_s
            elif event in ("message_retried", "message_rejected"):
                tally.retried += 1
                tally.last_reason = str(fields.get("reason", ""))
            elif event == "run_ended":
                tally.over = str(fields.get("status", ""))

    def _count(self, tally: Tally, stage: Stage, rows: int, at_s: float) -> None:
        tally.rows[stage] += rows
        tally.pieces[stage] += 1
        tally.first_at.setdefault(stage, at_s)
        tally.last_at[stage] = at_s
        self._curves[stage].add(at_s, rows)

    @property
    def elapsed_s(self) -> float:
        return self._now() - self._started

    def tally(self, stream: str) -> Tally:
        """The stream's numbers so far; zeros if nothing was heard of it."""
        with self._lock:
            return self._tallies.get(stream, Tally())

    def curve(self, stage: Stage) -> tuple[tuple[float, int], ...]:
        with self._lock:
            return tuple(self._curves[stage].points)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
