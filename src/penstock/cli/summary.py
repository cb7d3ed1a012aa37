"""The report of a run as lines on a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from penstock.cli.show import age, number, say, span, table
from penstock.observe.report import BadRows, RunReport, StreamReport

MOST_BAD = 5
"""Groups of bad rows of one stream that stand under the table; the rest is counted."""


def print_report(report: RunReport, command: str = "penstock") -> None:
    """Table, bad rows with examples, troubles, and what to type next."""
    has_deduplicated = report.counts.deduplicated > 0
    columns = ["stream", ">read", ">good", ">quarantined", ">filtered"]
    columns += [">deduplicated"] if has_deduplicated else []
    columns += ["loaded", "", ">took"]
    table(columns, (_row(stream, has_deduplicated) for stream in report.streams))
    for stream in report.streams:
        for line in bad_lines(stream):
            say(f"  {line}", "yellow")
        for trouble in stream.troubles:
            say(f"  {trouble_line(stream, trouble.kind)}", "red")
            for text in trouble.reason.splitlines():
                say(f"    {text}")
            if trouble.rows and trouble.kind == "rejected":
                say(f"    {number(trouble.rows)} rows wait in {trouble.where}")
        if not stream.sums_hold:
            say(f"  {stream.stream}: the sums do not hold -> {command} audit", "red")
    for line in next_lines(report, command):
        say(f"  {line}", "dim")


def _row(stream: StreamReport, has_deduplicated: bool) -> tuple[str, ...]:
    counts = stream.counts
    numbers = [stream.read, counts.good, counts.quarantined, counts.filtered]
    numbers += [counts.deduplicated] if has_deduplicated else []
    fresh = (
        f"fresh {age(stream.fresh_s)}"
        if stream.fresh_s is not None and not stream.nothing_new
        else ""
    )
    return (
        stream.stream,
        *(number(value) for value in numbers),
        loaded_text(stream),
        fresh,
        span(stream.took_s),
    )


def loaded_text(stream: StreamReport) -> str:
    """What happened in the warehouse, in a few signs."""
    if stream.nothing_new:
        return "nothing new"
    if stream.status == "failed" and not stream.loaded:
        return "failed"
    if stream.status == "blocked" and not stream.loaded:
        return "blocked"
    if stream.swap:
        text = f"={number(stream.loaded)}"
    elif stream.write == "merge":
        text = f"+{number(stream.inserted)} ~{number(stream.updated)} -0"
    else:
        text = f"+{number(stream.loaded)}"
    if stream.superseded:
        text += f" ({number(stream.superseded)} superseded)"
    return text + (f" {stream.status}" if stream.status != "done" else "")


def bad_lines(stream: StreamReport) -> Iterator[str]:
    """One line per group of bad rows, most first."""
    for group in stream.bad_rows[:MOST_BAD]:
        yield bad_line(group)
    rest = stream.bad_rows[MOST_BAD:]
    if rest:
        rows = sum(group.rows for group in rest)
        yield f"{number(rows)} more bad rows for {len(rest)} more reasons"


def bad_line(group: BadRows) -> str:
    """`61 bad rows: orders.amount not decimal(12,2), e.g. "12,5O" at uploads/a.csv:17`."""
    place = f"{group.stream}.{group.column}" if group.column else group.stream
    reason = group.reason or group.rule
    text = f"{number(group.rows)} bad row{'s' if group.rows != 1 else ''}: {place}: {reason}"
    if group.value is not None and f'"{group.value}"' not in reason:
        text += f', e.g. "{_short(group.value)}"'
    return text + (f" at {group.position}" if group.position else "")


def trouble_line(stream: StreamReport, kind: str) -> str:
    said = {"rejected": "chunks are rejected", "held": "the run is held", "failed": "failed"}
    return f"{stream.stream}: {said.get(kind, kind)}"


def next_lines(report: RunReport, command: str) -> Iterator[str]:
    """What a person may want to type now."""
    worst = max(report.streams, key=lambda stream: stream.counts.quarantined, default=None)
    largest = max(report.streams, key=lambda stream: stream.loaded, default=None)
    parts = []
    if worst is not None and worst.counts.quarantined:
        parts.append(f"look:  {command} quarantine show {shlex.quote(worst.stream)}")
    if largest is not None and largest.loaded:
        parts.append(f'query:  {command} query "select * from {largest.target} limit 5"')
    if parts:
        yield "      ".join(parts)


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
