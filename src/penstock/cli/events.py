"""The event log read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]


def newest_first(folder: Path, most_days: int = 30) -> Iterator[Event]:
    """Every event of the newest days, last one first; lines cut off by a crash are passed by."""
    for path in sorted(folder.glob("*.jsonl"), reverse=True)[:most_days]:
        for line in reversed(path.read_text(encoding="utf-8", errors="replace").splitlines()):
            event = parse(line)
            if event is not None:
                yield event


def parse(line: str) -> Event | None:
    """The event of a line, or None if it is none."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def failures(folder: Path) -> dict[str, tuple[str, str, int]]:
    """Streams whose newest runs failed: since when, the last reason, and how many in a row.

    Shape: a run that ended in another way before them ends the row.
    """
    failed: dict[str, tuple[str, str, int]] = {}
    over: set[str] = set()
    for event in newest_first(folder, most_days=14):
        stream = event.get("stream")
        if event["event"] != "run_ended" or not isinstance(stream, str) or stream in over:
            continue
        if event.get("status") != "failed":
            over.add(stream)
            continue
        _, reason, count = failed.get(stream, ("", str(event.get("reason", "")), 0))
        failed[stream] = (str(event.get("at", "")), reason, count + 1)
    return failed
