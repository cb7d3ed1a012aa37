"""Who runs: each gets a fresh folder, one command, and a look at what stands there afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from penstock.testing.postgres import EmbeddedPostgres

HERE = Path(__file__).parent
PENSTOCK = HERE / ".penstock" / "bin" / "penstock"
"""Installed as a user does, with the extra [postgres] and nothing else; so is each peer."""


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of work: a Postgres table, or the folder of the flights CSV."""

    name: str
    server: EmbeddedPostgres
    table: str
    sum_of: str
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a contestant left: its rows, the sum as text, and the type the column got."""

    rows: int
    total: str
    type: str


@dataclass(frozen=True, slots=True)
class Contestant:
    name: str
    command: Callable[[Work, Path], list[str]]
    """Makes what the command needs in the fresh folder; gives the command."""
    look: Callable[[Work, Path], Result]
    environ: Mapping[str, str] = field(default_factory=dict)
    goal: float | None = None
    """How many times faster Penstock means to be."""
    least: float | None = None


def in_duckdb(work: Work, folder: Path) -> Result:
    """What the warehouse file holds, whatever schema the contestant put it in."""
    with duckdb.connect(folder / "warehouse.duckdb", read_only=True) as connection:
        found = connection.execute(
            "SELECT table_schema FROM information_schema.tables WHERE table_name = $name",
            {"name": work.table},
        ).fetchone()
        assert found is not None, f"no table {work.table}"
        answer = connection.execute(
            f'SELECT count(*), sum("{work.sum_of}")::VARCHAR, typeof(any_value("{work.sum_of}"))'
            f' FROM "{found[0]}"."{work.table}"'
        ).fetchone()
    assert answer is not None
    return Result(*answer)


def in_postgres(work: Work, folder: Path) -> Result:
    rows, total, kind = work.server.rows(
        f"SELECT count(*), sum({work.sum_of}), max(pg_typeof({work.sum_of})::text)"
        f" FROM bench.{work.table}"
    )[0]
    work.server.psql("DROP SCHEMA bench CASCADE")
    return Result(int(rows or 0), str(total), str(kind))


# ---- penstock

ORDERS_FILE = """\
version: 1
pipeline: bench
warehouse: {{type: duckdb, path: warehouse.duckdb}}
storage: {{url: ./data}}
sources:
  db: {{type: postgres, url: {uri}}}
streams:
  {table}:
    from: {{source: db, table: public.{table}}}
    load: {{schema: bench, table: {table}, write: append}}
"""

FLIGHTS_FILE = """\
version: 1
pipeline: bench
warehouse: {{type: duckdb, path: warehouse.duckdb}}
storage: {{url: ./data}}
sources:
  uploads: {{type: files, url: {folder}}}
streams:
  flights:
    from: {{source: uploads, files: flights.csv, format: {{type: csv, null_values: [NA]}}}}
    columns: {columns}
    load: {{schema: bench, table: flights, write: append}}
"""
FLIGHTS_BIGINTS = (
    *("year", "month", "day", "hour", "minute", "flight", "distance", "air_time"),
    *("dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay"),
)


def penstock_command(work: Work, folder: Path) -> list[str]:
    if work.folder is None:
        text = ORDERS_FILE.format(uri=json.dumps(work.server.uri()), table=work.table)
    else:
        columns = {name: {"type": "bigint"} for name in FLIGHTS_BIGINTS}
        columns["time_hour"] = {"type": "timestamptz"}
        text = FLIGHTS_FILE.format(folder=work.folder, columns=json.dumps(columns))
    (folder / "pipeline.yaml").write_text(text)
    return [str(PENSTOCK), "run", "-f", "pipeline.yaml", "--json"]


# ---- peers


def dlt(python: Path, how: str) -> Callable[[Work, Path], list[str]]:
    def command(work: Work, folder: Path) -> list[str]:
        where = (
            ["table", work.server.uri(), work.table]
            if work.folder is None
            else ["csv", str(work.folder)]
        )
        return [str(python), str(HERE / "peer_dlt.py"), *where, how]

    return command


def sling(python: Path) -> Callable[[Work, Path], list[str]]:
    def command(work: Work, folder: Path) -> list[str]:
        packages = (python.parent.parent / "lib").glob("python3*/site-packages/sling_linux_amd64")
        program = next(packages) / "bin" / "sling-linux-amd64"
        uri = work.server.uri() + "?sslmode=disable"
        source = (
            ["--src-conn", uri, "--src-stream", f"public.{work.table}"]
            if work.folder is None
            else [
                "--src-stream",
                (work.folder / "flights.csv").as_uri(),
                *("--src-options", '{"null_if": "NA"}'),
            ]
        )
        target = ["--tgt-conn", uri, "--tgt-object", f"bench.{work.table}"]
        return [str(program), "run", *source, *target, "--mode", "full-refresh"]

    return command


def contestants(python: Path, work: Work) -> list[Contestant]:
    """Penstock first, then its peers, for one piece of work."""
    quiet = {"RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": "dlt-data"}
    home = {"SLING_HOME_DIR": "sling-home", "SLING_DISABLE_TELEMETRY": "true"}
    ours = [Contestant("penstock", penstock_command, in_duckdb)]
    if work.folder is not None:
        return [
            *ours,
            Contestant("dlt read_csv", dlt(python, "pandas"), in_duckdb, quiet),
            Contestant("dlt read_csv_duckdb", dlt(python, "duckdb-arrow"), in_duckdb, quiet),
            Contestant("sling", sling(python), in_postgres, home),
        ]
    return [
        *ours,
        Contestant("dlt connectorx", dlt(python, "connectorx"), in_duckdb, quiet, 2, 1.5),
        Contestant("dlt pyarrow", dlt(python, "pyarrow"), in_duckdb, quiet, 5, 4),
        Contestant("sling", sling(python), in_postgres, home, 5, 4),
        Contestant("dlt default", dlt(python, "sqlalchemy"), in_duckdb, quiet, 20, 15),
    ]
