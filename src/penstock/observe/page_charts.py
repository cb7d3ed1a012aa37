"""Small charts of the report page, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from penstock.observe.page_text import seconds, short, text
from penstock.observe.report import RunReport, StreamReport

STAGES = ("extract", "transform", "load")
WIDTH, HIGH = 520, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 10, 24
BUCKETS = 48
MOST_STREAMS = 14
Points = Sequence[tuple[float, int]]


def speeds(curve: Points, took_s: float, buckets: int = BUCKETS) -> list[float]:
    """Rows per second in equal parts of the run, from a curve of rows so far.

    Why: a piece of work is told when it is over; its rows are spread over the time since the
    piece before it, so that a chunk every other second is not drawn as spikes and gaps.
    """
    if took_s <= 0:
        return [0.0] * buckets
    wide = took_s / buckets
    filled = [0.0] * buckets
    before_s, before_rows = 0.0, 0
    for at_s, rows in curve:
        at_s = min(max(at_s, before_s), took_s)
        spread = at_s - before_s
        first, last = (min(int(s / wide), buckets - 1) for s in (before_s, at_s))
        for bucket in range(first, last + 1):
            overlap = min(at_s, (bucket + 1) * wide) - max(before_s, bucket * wide)
            share = overlap / spread if spread > 0 else 1.0 / (last - first + 1)
            filled[bucket] += max(share, 0.0) * (rows - before_rows)
        before_s, before_rows = at_s, rows
    return [rows / wide for rows in filled]


def ceiling(value: float) -> float:
    """The next round number, for the top of an axis."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)


def key(names: Sequence[str]) -> str:
    """The legend of the stages."""
    items = "".join(
        f'<span><i style="background:var(--{name})"></i>{text(name)}</span>' for name in names
    )
    return f'<p class="key">{items}</p>'


def speed_chart(report: RunReport) -> str:
    """Rows per second over time, a line per stage."""
    curves: Mapping[str, Points] = report.curves
    lines = {stage: speeds(curves[stage], report.took_s) for stage in STAGES if curves.get(stage)}
    top = ceiling(max((max(line) for line in lines.values()), default=0.0))
    wide, high = WIDTH - LEFT - RIGHT, HIGH - TOP - BOTTOM
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HIGH}" role="img" '
        f'aria-label="rows per second over {seconds(report.took_s)}, at most {short(top)}">'
    ]
    for share in (0.0, 0.5, 1.0):
        y = TOP + high * (1 - share)
        parts.append(
            f'<path d="M{LEFT} {y}h{wide}" stroke="var(--line)"/><text class="soft" '
            f'x="{LEFT - 7}" y="{y + 4}" text-anchor="end">{short(top * share)}</text>'
        )
    for stage, line in lines.items():
        step = wide / len(line)
        points = [
            f"{LEFT + step * (index + 0.5):.1f} {TOP + high * (1 - value / top):.1f}"
            for index, value in enumerate(line)
        ]
        parts.append(
            f'<path d="M{"L".join(points)}" fill="none" stroke="var(--{stage})" '
            'stroke-width="2.2" stroke-linejoin="round"/>'
        )
    parts.append(_time_axis(report.took_s))
    return "".join([*parts, "</svg>", key(tuple(lines))])


def _time_axis(took_s: float) -> str:
    wide = WIDTH - LEFT - RIGHT
    return "".join(
        f'<text class="soft" x="{LEFT + wide * share:.0f}" y="{HIGH - 6}" '
        f'text-anchor="{anchor}">{seconds(took_s * share)}</text>'
        for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
    )


def time_chart(report: RunReport) -> str:
    """When each stage had work, a row per stream, three bars each."""
    busy = [stream for stream in report.streams if stream.stages]
    busy.sort(key=lambda stream: -max(stage.to_s for stage in stream.stages))
    shown, wide, row = busy[:MOST_STREAMS], WIDTH - 150 - RIGHT, 34
    high = len(shown) * row + 26
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {high}" role="img" '
        f'aria-label="when each stage had work, {len(shown)} streams">'
    ]
    scale = wide / report.took_s if report.took_s > 0 else 0.0
    for place, stream in enumerate(shown):
        parts.append(_bars(stream, place * row, scale))
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        parts.append(
            f'<text class="soft" x="{150 + wide * share:.0f}" y="{high - 5}" '
            f'text-anchor="{anchor}">{seconds(report.took_s * share)}</text>'
        )
    rest = len(busy) - len(shown)
    more = f"<small>and {rest} more, each shorter than these</small>" if rest else ""
    return "".join([*parts, "</svg>", key(STAGES), more])


def _bars(stream: StreamReport, top: int, scale: float) -> str:
    name = stream.stream if len(stream.stream) <= 20 else "…" + stream.stream[-19:]
    parts = [f'<text x="142" y="{top + 18}" text-anchor="end">{text(name)}</text>']
    for stage in stream.stages:
        lane = STAGES.index(stage.stage)
        width = max((stage.to_s - stage.from_s) * scale, 2.5)
        said = f"{stage.stage}: {seconds(stage.to_s - stage.from_s)}, {stage.rows:,} rows"
        parts.append(
            f'<rect x="{150 + stage.from_s * scale:.1f}" y="{top + 2 + lane * 8}" '
            f'width="{width:.1f}" height="6" rx="3" fill="var(--{stage.stage})">'
            f"<title>{text(said)}</title></rect>"
        )
    return "".join(parts)
