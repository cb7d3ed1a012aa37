"""The report of one `penstock run`: plain facts, with a stable JSON form.

The JSON form is `codec.plain` of `RunReport`, under `"format": 1`: keys are added, never renamed
or removed (docs/report.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from penstock import codec
from penstock.model import Counts

FORMAT = 1


@dataclass(frozen=True, slots=True)
class BadRows:
    """Quarantined rows of one stream that broke one rule in one column, with an example."""

    stream: str
    rule: str
    column: str
    rows: int
    reason: str = ""
    value: str | None = None
    position: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that keeps a run from being loaded: a rejected chunk, or a held assertion."""

    kind: str
    """rejected, held, failed."""
    where: str
    reason: str
    rows: int = 0


@dataclass(frozen=True, slots=True)
class StageTime:
    """When a stage had work of a stream: from what came before it, to its own last piece.

    Units: seconds since the start of `penstock run`.
    """

    stage: str
    rows: int
    pieces: int
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class StreamReport:
    """How one stream's run went, from its durable facts.

    Shape: `counts`, `rejected` and `waiting` add up to `read`; `loaded`, `superseded` and
    `not_loaded` add up to `counts.good`.
    """

    stream: str
    status: str
    """done, blocked, failed."""
    source: str = ""
    target: str = ""
    write: str = ""
    kind: str = "increment"
    swap: bool = False
    """Whether what was there before was replaced as a whole."""
    run_ids: tuple[str, ...] = ()
    """Empty: there was nothing new."""
    read: int = 0
    counts: Counts = field(default_factory=Counts)
    rejected: int = 0
    waiting: int = 0
    """Read, and not transformed yet."""
    loaded: int = 0
    superseded: int = 0
    not_loaded: int = 0
    inserted: int = 0
    updated: int = 0
    slices: int = 0
    chunks: int = 0
    raw_bytes: int = 0
    staged_bytes: int = 0
    took_s: float = 0.0
    fresh_s: float | None = None
    """Age of the newest moment that is sure to be loaded."""
    window: str = ""
    columns: int = 0
    bad_rows: tuple[BadRows, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    stages: tuple[StageTime, ...] = ()
    sums_hold: bool = True

    @property
    def nothing_new(self) -> bool:
        return not self.run_ids and self.status == "done"


@dataclass(frozen=True, slots=True)
class RunReport:
    """One `penstock run` over its streams.

    Shape: `curves` has, by stage, (seconds since the start, rows so far).
    """

    pipeline: str
    environment: str
    version: str
    warehouse: str
    storage: str
    started_at: datetime
    took_s: float
    streams: tuple[StreamReport, ...]
    curves: Mapping[str, Sequence[tuple[float, int]]] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def sums_hold(self) -> bool:
        """Whether every row that was read is accounted for."""
        total, read = self.counts, self.read
        apart = sum(stream.rejected + stream.waiting for stream in self.streams)
        ends = sum(s.loaded + s.superseded + s.not_loaded for s in self.streams)
        return (
            total.holds
            and read == total.read + apart
            and total.good == ends
            and all(stream.sums_hold for stream in self.streams)
        )

    @property
    def exit_code(self) -> int:
        """0 done, 1 a stream failed, 3 something is blocked or a sum does not hold."""
        if any(stream.status == "failed" for stream in self.streams):
            return 1
        blocked = any(stream.status == "blocked" for stream in self.streams)
        return 3 if blocked or not self.sums_hold else 0

    @property
    def outcome(self) -> str:
        """done, failed, or incomplete."""
        return {0: "done", 1: "failed"}.get(self.exit_code, "incomplete")

    @property
    def read(self) -> int:
        return sum(stream.read for stream in self.streams)

    @property
    def counts(self) -> Counts:
        total = Counts()
        for stream in self.streams:
            total = total + stream.counts
        return total

    @property
    def loaded(self) -> int:
        return sum(stream.loaded for stream in self.streams)

    @property
    def rows_per_s(self) -> float:
        return self.read / self.took_s if self.took_s > 0 else 0.0


def report_data(report: RunReport) -> dict[str, Any]:
    """The report's JSON form."""
    data: dict[str, Any] = codec.plain(report)
    return {"outcome": report.outcome, "exit_code": report.exit_code, **data}


def report_text(report: RunReport) -> str:
    """The report as a JSON document."""
    return json.dumps(report_data(report), indent=2, ensure_ascii=False) + "\n"
