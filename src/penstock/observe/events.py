"""Events: constant names with fields, to whoever listens, and to a log of JSON lines."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from penstock import codec

Emit = Callable[..., None]
"""emit(event, **fields): the event's name is constant, its values are fields."""


class EventLog:
    """A file of JSON lines per day; listeners get the same events as they happen."""

    def __init__(self, folder: Path, now: Callable[[], datetime]) -> None:
        self._folder, self._now = folder, now
        self._lock = threading.Lock()
        self._listeners: list[Callable[[str, dict[str, object]], None]] = []

    def listen(self, listener: Callable[[str, dict[str, object]], None]) -> None:
        self._listeners.append(listener)

    def emit(self, event: str, **fields: object) -> None:
        """The event is in the log, and every listener has seen it."""
        at = self._now()
        line = json.dumps(codec.plain({"at": at, "event": event, **fields}), default=str)
        with self._lock:
            with (self._folder / f"{at:%Y-%m-%d}.jsonl").open("a", encoding="utf-8") as log:
                log.write(line + "\n")
            for listener in self._listeners:
                listener(event, dict(fields))
