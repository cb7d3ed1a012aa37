"""A report with something of everything in it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.model import Counts
from penstock.observe.report import BadRows, RunReport, StageTime, StreamReport, Trouble


def _stages(rows: int, begin: float, end: float) -> tuple[StageTime, ...]:
    third = (end - begin) / 3
    return (
        StageTime("extract", rows, 13, begin, begin + 2 * third),
        StageTime("transform", rows, 13, begin + 0.3 * third, end - 0.5 * third),
        StageTime("load", rows, 4, begin + third, end),
    )


ORDERS = StreamReport(
    stream="orders",
    status="done",
    source="shopdb",
    target="analytics.orders",
    write="merge",
    run_ids=("20261123T060000-9f2c41aa",),
    read=12_480,
    counts=Counts(12_480, 12_391, 61, 28, 0),
    loaded=12_391,
    inserted=9_200,
    updated=3_191,
    slices=8,
    chunks=13,
    raw_bytes=2_400_000,
    staged_bytes=1_100_000,
    took_s=3.1,
    fresh_s=240.0,
    window="(2026-11-22 06:00, 2026-11-23 05:55]",
    bad_rows=(
        BadRows("orders", "type", "amount", 54, "not decimal(12,2)", "12,5O", "a.csv:17"),
        BadRows("orders", "not_null", "id", 7, "id is NULL", None, "a.csv:90"),
    ),
    stages=_stages(12_480, 0.2, 3.0),
)
SALES = StreamReport(
    stream="store_sales",
    status="blocked",
    source="uploads",
    target="raw.store_sales",
    write="append",
    run_ids=("20261123T060000-11aa22bb",),
    read=402_000,
    counts=Counts(300_000, 299_000, 800, 0, 200),
    rejected=102_000,
    loaded=250_000,
    superseded=9_000,
    not_loaded=40_000,
    slices=40,
    chunks=40,
    raw_bytes=31_000_000,
    staged_bytes=9_000_000,
    took_s=5.2,
    window="40 files",
    bad_rows=(BadRows("store_sales", "malformed", "", 800, "5 fields, 7 expected", "x;y", "b:3"),),
    troubles=(
        Trouble(
            "rejected",
            "chunk store_sales/20261123T060000-11aa22bb/0007/000000 and 9 more",
            'column "amount" is DECIMAL(9,2) here, INTEGER in contract v3\n'
            "  fix:   give amount the type decimal(12,2)",
            102_000,
        ),
    ),
    stages=_stages(402_000, 0.2, 5.2),
)
CHARGES = StreamReport(
    stream="stripe.charges",
    status="done",
    source="billing",
    target="raw.stripe_charges",
    write="merge",
    took_s=0.4,
)


@pytest.fixture
def report() -> RunReport:
    """Three streams: loaded, blocked, and nothing new."""
    curve = [(0.4 + 0.4 * n, 34_000 * (n + 1)) for n in range(12)]
    return RunReport(
        pipeline="shop",
        environment="prod",
        version="0.1.0",
        warehouse="duckdb shop.duckdb",
        storage="./data",
        started_at=datetime(2026, 11, 23, 6, 0, tzinfo=UTC),
        took_s=5.4,
        streams=(ORDERS, SALES, CHARGES),
        curves={
            "extract": curve,
            "transform": [(at + 0.2, int(rows * 0.98)) for at, rows in curve],
            "load": [(at + 0.3, int(rows * 0.8)) for at, rows in curve],
        },
    )
