"""The demo, as a newcomer runs it: its sums against plain SQL and plain CSV reading."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.demo.data import flights_data
from penstock.testing.postgres import EmbeddedPostgres

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("demo")
    done = penstock(folder, "demo", "--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every sum holds" in done.stdout
    assert "report: " in done.stdout
    yield folder / "penstock-demo"
    penstock(folder, "demo", "--stop")


def penstock(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from penstock.cli import main; raise SystemExit(main())", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def asked(demo: Path, sql: str) -> list[dict[str, Any]]:
    done = penstock(demo, "query", "--json", "--limit", "0", sql)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


def flights(demo: Path) -> Iterator[dict[str, str]]:
    for path in sorted((demo / "uploads").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as body:
            yield from csv.DictReader(body)


def test_flights_are_those_of_the_csv_files(demo: Path) -> None:
    """What plain CSV reading gives, less the rows whose tailnum is missing: they are kept apart."""
    rows = good = late = 0
    for flight in flights(demo):
        rows += 1
        if flight["tailnum"] != "NA":
            good += 1
            late += 0 if flight["dep_delay"] == "NA" else int(flight["dep_delay"])
    assert rows == 336_776
    assert asked(demo, "SELECT count(*) AS n, sum(dep_delay)::bigint AS late FROM nyc.flights") == [
        {"n": good, "late": late}
    ]
    listed = json.loads(penstock(demo, "quarantine", "list", "--json").stdout)
    assert f'"rows": {rows - good}' in json.dumps(listed)


def test_tables_are_those_of_the_database(demo: Path) -> None:
    server = EmbeddedPostgres(demo / "rds")
    for table in ("airlines", "airports", "planes"):
        (wanted,) = server.rows(f"SELECT count(*) FROM ops.{table}")
        assert asked(demo, f"SELECT count(*)::varchar AS n FROM nyc.{table}") == [{"n": wanted[0]}]
    (wanted,) = server.rows(
        "SELECT count(*), sum(temp), sum(precip) FROM ops.weather WHERE wind_speed IS NULL OR "
        "wind_speed BETWEEN 0 AND 200"
    )
    (found,) = asked(
        demo, "SELECT count(*) AS n, sum(temp) AS temp, sum(precip) AS precip FROM nyc.weather"
    )
    assert str(found["n"]) == wanted[0]
    assert Decimal(str(found["temp"])) == Decimal(wanted[1] or "")
    assert Decimal(str(found["precip"])) == Decimal(wanted[2] or "")


def test_the_package_s_own_file_holds_no_other_flights(demo: Path) -> None:
    assert sum(1 for _ in flights(demo)) == 336_776
    assert (flights_data() / "flights.csv.zip").is_file()


def test_a_second_run_moves_nothing_and_a_thousand_changed_rows_move_a_thousand(
    demo: Path,
) -> None:
    second = json.loads(penstock(demo, "run", "--json").stdout)
    assert {stream["read"] for stream in second["streams"]} == {0}
    EmbeddedPostgres(demo / "rds").psql(
        "UPDATE ops.planes SET seats = seats + 1, updated_at = clock_timestamp() WHERE tailnum IN "
        "(SELECT tailnum FROM ops.planes ORDER BY tailnum LIMIT 1000)"
    )
    third = json.loads(penstock(demo, "run", "--json").stdout)
    read = {stream["stream"]: stream["read"] for stream in third["streams"]}
    assert read == {
        "reference.airlines": 0,
        "reference.airports": 0,
        "reference.planes": 1000,
        "weather": 0,
        "flights": 0,
    }
    assert penstock(demo, "audit", "--final").returncode == 0
