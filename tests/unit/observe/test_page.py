"""The report page: complete, self-contained, and safe whatever the data says."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import Any

import pytest

from penstock.model import Counts
from penstock.observe.page import render
from penstock.observe.page_charts import ceiling, speeds
from penstock.observe.report import RunReport, report_data

HOSTILE = "</style><script>alert('1')</script><img src=x onerror=\"go()\">&\x07"


class Page(HTMLParser):
    """Tags, attributes and text of a page; every element that opens must close."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def hostile(value: Any) -> Any:
    """The same with every text in it made hostile, except those that are ours."""
    if isinstance(value, str):
        return HOSTILE
    if is_dataclass(value) and not isinstance(value, type):
        kept = ("stage", "status")
        names = [field.name for field in fields(value) if field.name not in kept]
        return replace(value, **{name: hostile(getattr(value, name)) for name in names})
    return tuple(hostile(item) for item in value) if isinstance(value, tuple) else value


def test_the_page_shows_the_runs_numbers(report: RunReport) -> None:
    page = Page(render(report))
    for shown in ("414,480", "262,391", "861", "102,000", "shop", "orders.amount", "12,5O"):
        assert shown in page.text, shown
    assert "Every row that was read is accounted for." in page.text
    assert page.tags.count("svg") == 3


def test_nothing_in_the_data_becomes_markup(report: RunReport) -> None:
    html = render(hostile(report))
    page = Page(html)
    assert not {"script", "img", "iframe", "link"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert html.count("</style>") == 1
    assert "\x07" not in html


def test_the_page_needs_nothing_but_itself(report: RunReport) -> None:
    html = render(report)
    assert "default-src 'none'" in html
    assert not re.findall(r"(?:https?:)?//|url\(|@import", html)
    assert not {"src", "href"} & {name for name, _ in Page(html).attributes}
    assert len(html) < 60_000


def test_the_page_is_light_and_dark_and_can_be_read_aloud(report: RunReport) -> None:
    html = render(report)
    assert "prefers-color-scheme: dark" in html
    assert '<html lang="en">' in html
    for drawing in re.findall(r"<svg[^>]*>", html):
        assert 'role="img"' in drawing
        assert 'aria-label="' in drawing
    for heading in re.findall(r"<th(?: [^>]*)?>", html):
        assert "scope=" in heading


def test_a_sum_that_does_not_hold_is_said(report: RunReport) -> None:
    orders = replace(report.streams[0], counts=Counts(12_480, 12_391, 60, 28, 0))
    broken = replace(report, streams=(orders, *report.streams[1:]))
    assert not broken.sums_hold
    assert broken.exit_code == 3
    assert "A sum does not hold." in Page(render(broken)).text


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [("done", 0, "done"), ("blocked", 3, "incomplete"), ("failed", 1, "failed")],
)
def test_the_outcome_is_that_of_the_worst_stream(
    report: RunReport, status: str, code: int, outcome: str
) -> None:
    orders = replace(report.streams[0], status=status)
    one = replace(report, streams=(orders, report.streams[2]))
    assert (one.exit_code, one.outcome) == (code, outcome)


def test_a_run_of_nothing_has_a_page_without_charts(report: RunReport) -> None:
    page = Page(render(replace(report, streams=(report.streams[2],), curves={}, took_s=0.0)))
    assert "nothing new" in page.text
    assert page.tags.count("svg") == 1


def test_speeds_hold_all_rows_and_spread_them_over_the_time_they_took() -> None:
    curve = [(1.0, 100), (3.0, 300), (3.0, 350), (9.9, 400)]
    found = speeds(curve, 10.0, 10)
    assert sum(found) == pytest.approx(400)
    assert found[0] == pytest.approx(100)
    assert found[1] == pytest.approx(100)
    assert speeds([], 10.0, 4) == [0.0] * 4
    assert speeds(curve, 0.0, 4) == [0.0] * 4


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.3, 0.3), (1, 1), (84_000, 100_000), (11, 15)]
)
def test_axes_end_at_round_numbers(value: float, top: float) -> None:
    assert ceiling(value) == pytest.approx(top)


def test_the_json_form_keeps_its_keys(report: RunReport) -> None:
    data = report_data(report)
    assert set(data) == {
        "outcome", "exit_code", "pipeline", "environment", "version", "warehouse", "storage",
        "started_at", "took_s", "streams", "curves", "format",
    }  # fmt: skip
    assert set(data["streams"][0]) == {
        "stream", "status", "source", "target", "write", "kind", "swap", "run_ids", "read",
        "counts", "rejected", "waiting", "loaded", "superseded", "not_loaded", "inserted",
        "updated", "slices", "chunks", "raw_bytes", "staged_bytes", "took_s", "fresh_s", "window",
        "columns", "bad_rows", "troubles", "stages", "sums_hold",
    }  # fmt: skip
