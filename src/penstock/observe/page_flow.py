"""The flow of one run as a drawing: source, extract, queue, transform, staging, load, warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from penstock.observe.page_text import number, plural, short, size, text
from penstock.observe.report import RunReport

WIDTH, BOX, HIGH, TOP, GAP = 1120, 130, 92, 16, 35


@dataclass(frozen=True, slots=True)
class Station:
    """A box of the drawing: a stage (coloured) or a place where rows rest."""

    name: str
    big: str
    small: tuple[str, str]
    colour: str = ""


def flow(report: RunReport) -> str:
    """An inline SVG of the run's numbers, left to right."""
    stations = _stations(report)
    counts = report.counts
    rejected = sum(stream.rejected for stream in report.streams)
    has_side = bool(counts.quarantined or rejected)
    high = TOP + HIGH + (86 if has_side else 16)
    said = (
        f"{number(report.read)} rows read, {number(counts.good)} good, "
        f"{number(counts.quarantined)} quarantined, {number(report.loaded)} loaded"
    )
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {high}" role="img" aria-label="{text(said)}">',
        f"<title>{text(said)}</title>",
        *_pipe(stations),
        *(_box(index, station) for index, station in enumerate(stations)),
    ]
    if counts.quarantined:
        parts.append(_side(3, "QUARANTINE", plural(counts.quarantined, "row"), "bad"))
    if rejected:
        parts.append(_side(2, "REJECTED", plural(rejected, "row"), "wrong"))
    return "".join([*parts, "</svg>"])


def _stations(report: RunReport) -> tuple[Station, ...]:
    streams, counts = report.streams, report.counts
    chunks = sum(stream.chunks for stream in streams)
    dropped = counts.filtered + counts.deduplicated
    sources = sorted({stream.source for stream in streams if stream.source})
    tables = len({stream.target for stream in streams})
    inserted = sum(stream.inserted for stream in streams)
    updated = sum(stream.updated for stream in streams)
    waiting = sum(stream.not_loaded for stream in streams)
    changes = f"+{short(inserted)} ~{short(updated)}" if inserted or updated else ""
    raw, staged = (sum(getattr(s, name) for s in streams) for name in ("raw_bytes", "staged_bytes"))
    return (
        Station(
            "SOURCE",
            _clip(sources[0], 13) if len(sources) == 1 else plural(len(sources), "source"),
            (plural(len(streams), "stream"), ""),
        ),
        Station(
            "EXTRACT",
            _rows(report.read),
            ("rows read", plural(sum(s.slices for s in streams), "slice")),
            "extract",
        ),
        Station("QUEUE", plural(chunks, "chunk"), ("raw, durable", size(raw))),
        Station(
            "TRANSFORM",
            _rows(counts.good),
            ("good rows", f"{short(dropped)} filtered out" if dropped else ""),
            "transform",
        ),
        Station("STAGING", size(staged), ("Parquet", plural(chunks, "commit"))),
        Station(
            "LOAD",
            _rows(report.loaded),
            ("rows loaded", f"{short(waiting)} wait" if waiting else changes),
            "load",
        ),
        Station(
            "WAREHOUSE", _clip(report.warehouse.split(" ")[0], 13), (plural(tables, "table"), "")
        ),
    )


def _rows(count: int) -> str:
    return number(count) if count < 100_000_000 else short(count)


def _clip(plain: str, most: int) -> str:
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def _left(index: int) -> int:
    return index * (BOX + GAP)


def _pipe(stations: tuple[Station, ...]) -> Iterator[str]:
    middle = TOP + HIGH / 2
    for index in range(len(stations) - 1):
        start = _left(index) + BOX
        yield (
            f'<path d="M{start} {middle}h{GAP - 9}" stroke="var(--pipe)" stroke-width="9" '
            f'fill="none"/><path d="M{start + GAP - 12} {middle - 9}l11 9l-11 9z" '
            'fill="var(--pipe)"/>'
        )


def _box(index: int, station: Station) -> str:
    left, middle = _left(index), _left(index) + BOX / 2
    edge = f"var(--{station.colour})" if station.colour else "var(--line)"
    fill = "var(--card)" if station.colour else "var(--store)"
    wide = 2 if station.colour else 1.2
    name = f' style="fill:var(--{station.colour})"' if station.colour else ""
    lines = [
        f'<rect x="{left + 1}" y="{TOP}" width="{BOX - 2}" height="{HIGH}" rx="11" fill="{fill}" '
        f'stroke="{edge}" stroke-width="{wide}"/>',
        f'<text class="name soft" x="{middle}" y="{TOP + 21}" text-anchor="middle"{name}>'
        f"{text(station.name)}</text>",
        f'<text class="big" x="{middle}" y="{TOP + 46}" text-anchor="middle">'
        f"{text(station.big)}</text>",
    ]
    for place, line in enumerate(station.small):
        lines.append(
            f'<text class="soft" x="{middle}" y="{TOP + 64 + 16 * place}" text-anchor="middle">'
            f"{text(line)}</text>"
        )
    return "".join(lines)


def _side(index: int, name: str, said: str, colour: str) -> str:
    """What leaves the flow downwards."""
    left, middle, top = _left(index), _left(index) + BOX / 2, TOP + HIGH
    return (
        f'<path d="M{middle} {top + 1}v17" stroke="var(--{colour})" stroke-width="3"/>'
        f'<path d="M{middle - 6} {top + 17}h12l-6 8z" fill="var(--{colour})"/>'
        f'<rect x="{left + 1}" y="{top + 27}" width="{BOX - 2}" height="52" rx="11" '
        f'fill="var(--{colour}-tint)" stroke="var(--{colour})"/>'
        f'<text class="name" x="{middle}" y="{top + 47}" text-anchor="middle" '
        f'style="fill:var(--{colour})">{name}</text>'
        f'<text x="{middle}" y="{top + 67}" text-anchor="middle" font-weight="650">'
        f"{text(said)}</text>"
    )
