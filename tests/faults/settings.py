"""What a schedule is drawn from, and what it breaks."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.faults.source import Mode

from penstock.model import StreamKey
from penstock.pipeline import Storage

KEY = StreamKey("p", "dev", "w", "s")
TARGET = "main.t"
KEEP_NOTHING = Storage("memory", 0, 0, 0)
FAULTS = frozenset(
    [
        "kill",
        "sleep",
        "lose",
        "duplicate",
        "reply",
        "change-file",
        "reject",
        "gc",
        "replay",
        "refresh",
        "hands",
        "day",
        "late",
    ]
)


class Violation(AssertionError):
    """The protocol's promise does not hold in this schedule."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is drawn once per schedule."""

    mode: Mode
    steps: int
    resumable: bool
    by_open_transactions: bool
    has_cursor: bool
    faults: frozenset[str]
    real_transform: bool

    @staticmethod
    def drawn(mode: Mode, random_: random.Random) -> Settings:
        few = random_.random() < 0.3
        return Settings(
            mode,
            random_.choice([25, 45, 80, 150]),
            random_.random() < 0.7,
            random_.random() < 0.5,
            mode == "append" or (mode == "merge" and random_.random() < 0.8),
            frozenset(f for f in sorted(FAULTS) if not few or random_.random() < 0.4),
            random_.random() < 0.1,
        )
