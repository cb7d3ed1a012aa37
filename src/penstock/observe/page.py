"""The report of a run as one HTML page that needs nothing but itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from importlib import resources

from penstock.observe.page_charts import speed_chart, time_chart
from penstock.observe.page_flow import flow
from penstock.observe.page_text import number, plural, seconds, short, size, text
from penstock.observe.report import BadRows, RunReport, StreamReport

MOST_BAD = 40
"""Groups of bad rows on the page; the rest is counted, and stands in the JSON."""


def render(report: RunReport) -> str:
    """The page. Whatever comes from data or from the pipeline file is escaped.

    Why: a column's value is anybody's text (tests/unit/observe/test_page.py puts a script there).
    """
    css = resources.files("penstock.observe").joinpath("page.css").read_text("utf-8")
    body = "".join(
        (
            _head(report),
            _tiles(report),
            '<section class="flow"><h2>What went through</h2>'
            f"{_wide('the flow', flow(report))}</section>",
            _troubles(report.streams),
            _streams(report.streams),
            _charts(report),
            _quarantine(report.streams),
            _sums(report),
            _next(report),
            _foot(report),
        )
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(report.pipeline)}: run of {report.started_at:%Y-%m-%d %H:%M}</title>"
        f"<style>{css}</style></head><body><main>{body}</main></body></html>\n"
    )


def _wide(name: str, inner: str) -> str:
    """Something that may be wider than the window; it scrolls by itself, with the keyboard too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{inner}</div>'


def _head(report: RunReport) -> str:
    environment = (
        "" if report.environment == "default" else f" <small>{text(report.environment)}</small>"
    )
    return (
        f"<header><h1>{text(report.pipeline)}{environment}</h1>"
        f'<span class="badge {report.outcome}">{report.outcome}</span>'
        f'<p class="when">{report.started_at:%A, %d %B %Y, %H:%M:%S} UTC, '
        f"{seconds(report.took_s)}</p></header>"
    )


def _tiles(report: RunReport) -> str:
    counts = report.counts
    dropped = counts.filtered + counts.deduplicated
    rejected = sum(stream.rejected for stream in report.streams)
    tiles = [
        (number(report.read), "rows read", ""),
        (number(report.loaded), "rows loaded", ""),
        (number(counts.quarantined), "quarantined", "bad" if counts.quarantined else ""),
    ]
    if rejected:
        tiles.append((number(rejected), "in rejected chunks", "wrong"))
    if dropped:
        tiles.append((number(dropped), "filtered out", ""))
    tiles.append((short(report.rows_per_s), "rows per second", ""))
    tiles.append((seconds(report.took_s), "start to report", ""))
    items = "".join(
        f'<li class="{kind}"><b>{value}</b><span>{name}</span></li>' for value, name, kind in tiles
    )
    return f'<ul class="tiles">{items}</ul>'


def _troubles(streams: Sequence[StreamReport]) -> str:
    found = [(stream, trouble) for stream in streams for trouble in stream.troubles]
    if not found:
        return ""
    items = "".join(
        f'<p class="wrong"><b>{text(stream.stream)}</b> {text(trouble.kind)}'
        f" <small>{text(trouble.where)}"
        f"{f', {number(trouble.rows)} rows' if trouble.rows else ''}</small></p>"
        f"<pre>{text(trouble.reason, 4000)}</pre>"
        for stream, trouble in found
    )
    return f"<section><h2>What needs a hand</h2>{items}</section>"


def _streams(streams: Sequence[StreamReport]) -> str:
    names = ["read", "good", "quarantined", "filtered"]
    if any(stream.counts.deduplicated for stream in streams):
        names.append("deduplicated")
    if any(stream.rejected for stream in streams):
        names.append("rejected")
    heads = "".join(f'<th scope="col" class="n">{name}</th>' for name in (*names, "loaded", "took"))
    rows = "".join(_stream_row(stream, names) for stream in streams)
    return (
        "<section><h2>Streams</h2>"
        + _wide(
            "streams",
            '<table><thead><tr><th scope="col">stream</th>'
            f"{heads}</tr></thead><tbody>{rows}</tbody></table>",
        )
        + "</section>"
    )


def _stream_row(stream: StreamReport, names: Sequence[str]) -> str:
    status = {"failed": "wrong", "blocked": "bad"}.get(stream.status, "")
    said = f' <small class="{status}">{stream.status}</small>' if status else ""
    how = f"{stream.write}, replaced" if stream.swap and stream.write != "replace" else stream.write
    cells = "".join(_count(_value(stream, name), _KINDS.get(name, "")) for name in names)
    loaded = '<td class="n zero">nothing new</td>' if stream.nothing_new else _loaded(stream)
    window = f", {text(stream.window, 60)}" if stream.window else ""
    return (
        f'<tr><th scope="row">{text(stream.stream)}{said}<br>'
        f"<small>{text(stream.target)}, {text(how)}{window}</small></th>{cells}{loaded}"
        f'<td class="n">{seconds(stream.took_s)}</td></tr>'
    )


_KINDS = {"quarantined": "bad", "rejected": "wrong"}


def _value(stream: StreamReport, name: str) -> int:
    value = getattr(stream if name in ("read", "rejected") else stream.counts, name)
    assert isinstance(value, int)
    return value


def _count(value: int, kind: str) -> str:
    return f'<td class="n {kind if value else "zero"}">{number(value)}</td>'


def _loaded(stream: StreamReport) -> str:
    parts = []
    if stream.write == "merge" and not stream.swap and stream.loaded:
        parts.append(f"+{number(stream.inserted)} ~{number(stream.updated)}")
    if stream.superseded:
        parts.append(f"{number(stream.superseded)} superseded")
    if stream.not_loaded:
        parts.append(f"{number(stream.not_loaded)} wait")
    more = f"<br><small>{', '.join(parts)}</small>" if parts else ""
    return f'<td class="n">{number(stream.loaded)}{more}</td>'


def _charts(report: RunReport) -> str:
    if not any(stream.stages for stream in report.streams):
        return ""
    return (
        '<div class="pair"><section><h2>Rows per second</h2>'
        f"{speed_chart(report)}</section><section><h2>When each stage had work</h2>"
        f"{time_chart(report)}</section></div>"
    )


def _quarantine(streams: Sequence[StreamReport]) -> str:
    groups = sorted(
        (group for stream in streams for group in stream.bad_rows), key=lambda group: -group.rows
    )
    if not groups:
        return ""
    most = groups[0].rows
    rows = "".join(_bad_row(group, most) for group in groups[:MOST_BAD])
    rest = groups[MOST_BAD:]
    more = f"<p><small>and {len(rest)} more reasons</small></p>" if rest else ""
    return (
        "<section><h2>Quarantined rows, by reason</h2>"
        + _wide(
            "quarantined rows",
            '<table><thead><tr><th scope="col">where</th><th scope="col">rule</th>'
            '<th scope="col" class="n">rows</th><td style="width:16%"></td>'
            f'<th scope="col">example</th></tr></thead><tbody>{rows}</tbody></table>',
        )
        + f"{more}</section>"
    )


def _bad_row(group: BadRows, most: int) -> str:
    place = f"{group.stream}.{group.column}" if group.column else group.stream
    value = f"<code>{text(group.value, 80)}</code> " if group.value is not None else ""
    where = f"<br><small>{text(group.position, 120)}</small>" if group.position else ""
    width = 100 * group.rows / most if most else 0
    return (
        f'<tr><th scope="row">{text(place)}</th><td>{text(group.rule)}</td>'
        f'<td class="n">{number(group.rows)}</td>'
        f'<td><span class="bar" style="width:{width:.1f}%"></span></td>'
        f"<td>{value}<small>{text(group.reason, 240)}</small>{where}</td></tr>"
    )


def _sums(report: RunReport) -> str:
    counts, streams = report.counts, report.streams

    def total(name: str) -> int:
        return sum(getattr(stream, name) for stream in streams)

    read = (
        (counts.good, "good"),
        (counts.quarantined, "quarantined"),
        (counts.filtered, "filtered"),
        (counts.deduplicated, "deduplicated"),
        (total("rejected"), "rejected"),
        (total("waiting"), "not transformed"),
    )
    good = (
        (total("loaded"), "loaded"),
        (total("superseded"), "superseded"),
        (total("not_loaded"), "not loaded"),
    )
    holds = report.sums_hold
    said = (
        '<span class="good">Every row that was read is accounted for.</span>'
        if holds
        else '<span class="wrong">A sum does not hold.</span>'
    )
    return (
        "<section><h2>The sums</h2>"
        f"{_sum(report.read, 'read', read)}{_sum(counts.good, 'good', good)}<p>{said} "
        "<small><code>penstock audit</code> compares them with the warehouse's own ledger.</small>"
        "</p></section>"
    )


def _sum(total: int, name: str, parts: Sequence[tuple[int, str]]) -> str:
    shown = [
        f"<b>{number(value)}</b> <span>{part}</span>"
        for place, (value, part) in enumerate(parts)
        if value or place == 0
    ]
    return (
        f'<p class="sum"><b>{number(total)}</b> <span>{name}</span> <span>=</span> '
        + " <span>+</span> ".join(shown)
        + "</p>"
    )


def _next(report: RunReport) -> str:
    lines = "".join(f"<li><code>{text(line)}</code></li>" for line in _commands(report))
    return f'<section class="next"><h2>What to type next</h2><ul>{lines}</ul></section>'


def _commands(report: RunReport) -> Iterator[str]:
    largest = max(report.streams, key=lambda stream: stream.loaded, default=None)
    worst = max(report.streams, key=lambda stream: stream.counts.quarantined, default=None)
    if largest is not None and largest.loaded:
        yield f'penstock query "select * from {largest.target} limit 5"'
    if worst is not None and worst.counts.quarantined:
        yield f"penstock quarantine show {shlex.quote(worst.stream)}"
    if report.exit_code:
        yield "penstock status"
    yield "penstock audit"


def _foot(report: RunReport) -> str:
    raw = sum(stream.raw_bytes for stream in report.streams)
    staged = sum(stream.staged_bytes for stream in report.streams)
    runs = sum(len(stream.run_ids) for stream in report.streams)
    return (
        f"<footer>Penstock {text(report.version)}; warehouse {text(report.warehouse)}; storage "
        f"{text(report.storage)}: {size(raw)} raw, {size(staged)} staged; {plural(runs, 'run')}. "
        "The same facts stand beside this page as JSON.</footer>"
    )
