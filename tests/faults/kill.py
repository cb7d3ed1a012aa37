"""Real runs, killed at any moment: python -m tests.faults.kill --kills 200

A campaign is one pipeline whose source goes on changing. Its runs are killed with SIGKILL, one
after the other; a last one is left in peace, and the warehouse must then be what the source's
history demands.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
from tests.faults.changing import Changes

import penstock
from penstock.testing.postgres import EmbeddedPostgres

FAST = {"fsync": "off", "max_connections": "50", "track_commit_timestamp": "off"}
PATIENCE_S = 120
MOST = {"file1": 990, "file2": 900}
"""Events of a greater amount are quarantined, under each pipeline file."""
PIPELINE = """
version: 1
pipeline: shop
secrets: {{from: env}}
warehouse: {{type: duckdb, path: shop.duckdb}}
storage: {{url: ./data}}
sources:
  db: {{type: postgres, host: 127.0.0.1, port: {port}, database: {database}, user: postgres,
       password: "", concurrency: 2}}
  uploads: {{type: files, url: ./uploads}}
defaults:
  load: {{schema: main}}
  bad_rows: {{max: 50%}}
streams:
  events:
    from: {{source: db, table: public.events, cursor: at, parallel: {{by: id, slices: 3}}}}
    primary_key: [id]
    expect: [{{between: {{column: amount, max: {most}}}}}]
    load: {{table: events, write: append}}
  orders:
    from: {{source: db, table: public.orders, cursor: updated_at, parallel: {{by: id, slices: 2}}}}
    primary_key: [id]
    load: {{table: orders, write: merge}}
  planes:
    from: {{source: db, table: public.planes}}
    load: {{table: planes, write: replace}}
  flights:
    from:
      source: uploads
      files: "flights_*.csv"
      format: {{type: csv, null_values: ["NA"]}}
    expect: [{{not_null: [tailnum]}}]
    load: {{table: flights, write: append}}
"""
PENSTOCK = """
import sys
import penstock.sources.postgres_session as session
from penstock.sources.files import FilesSource
session.BATCH_BYTES = 60_000
FilesSource.__init__.__defaults__ = (100_000,)
from penstock.cli import main
sys.exit(main())
"""
"""Penstock in small chunks, so that there is more between the start and the end of a run."""


@dataclass
class Campaign:
    """One pipeline, its source and its warehouse, in a folder of its own."""

    folder: Path
    server: EmbeddedPostgres
    database: str
    random: random.Random
    package: Path = Path(penstock.__file__).parent.parent
    run_s: float = 3.0
    """How long a whole run lately took."""
    ended: Counter[str] = field(default_factory=Counter)
    """How the runs ended: killed, or in time."""
    version: str = "file1"
    changes: Changes = field(init=False)

    def __post_init__(self) -> None:
        self.changes = Changes(
            self.server, self.database, self.folder / "uploads", self.random.randrange(1 << 30)
        )
        self.changes.prepare()
        self._write_file()

    def _write_file(self) -> None:
        text = PIPELINE.format(
            port=self.server.port, database=self.database, most=MOST[self.version]
        )
        (self.folder / "pipeline.yaml").write_text(text, encoding="utf-8")

    # ---- processes

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environ = {**os.environ, "PYTHONPATH": str(self.package), "COLUMNS": "200"}
        return subprocess.Popen(
            [sys.executable, "-c", PENSTOCK, *arguments],
            cwd=self.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], allowed: Sequence[int] = (0,)) -> str:
        """What the process said, which ended well."""
        told, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode in allowed, f"exit {process.returncode}:\n{told}"
        return told

    def run(self, *arguments: str) -> str:
        began = time.monotonic()
        told = self.finish(self.start(*arguments))
        self.run_s = time.monotonic() - began
        return told

    def kill_one(self, *arguments: str) -> None:
        """A process was started, and killed at a moment of the time that it would take."""
        process = self.start(*arguments)
        try:
            told, _ = process.communicate(timeout=self.random.uniform(0, self.run_s * 1.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            self.ended["killed"] += 1
            return
        assert process.returncode == 0, f"exit {process.returncode}:\n{told}"
        self.ended["in time"] += 1

    # ---- a campaign

    def kill(self, kills: int) -> None:
        """So many runs were killed while the source changed; among them refreshes and replays."""
        with self.changes.going_on():
            self.kill_one("run")
            while self.ended["killed"] < kills:
                chance = self.random.random()
                if chance < 0.15:
                    self.kill_one("run", "--full-refresh")
                elif chance < 0.3:
                    self.kill_one("replay", "events")
                elif chance < 0.4:
                    self.run("run")
                else:
                    self.kill_one("run")

    def replay_under_another_file(self) -> None:
        """Everything that is still in raw was made again, and killed twice at it."""
        self.run("run")
        self.version = "file2"
        self._write_file()
        for _ in range(2):
            self.kill_one("replay", "--all")
        self.run("replay", "--all")

    def check(self) -> None:
        """After a last run, the warehouse is what the source's history demands."""
        self.run("run")
        again = self.run("run")
        self.run("audit", "--final")
        found = duckdb.connect(str(self.folder / "shop.duckdb"), read_only=True)
        with found:
            for table, problem in self._differences(found):
                raise AssertionError(f"{table}: {problem}\n{again}")

    def _differences(self, found: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
        most = MOST[self.version]
        queries = {
            "events": f'SELECT id, "at", amount, note FROM events WHERE amount <= {most}',
            "orders": "SELECT id, updated_at, amount, status FROM orders",
            "planes": "SELECT tailnum, year, type, seats FROM planes",
        }
        for table, query in queries.items():
            demanded = Counter(self.server.rows(f"SET timezone = 'UTC'; {query}", self.database))
            yield from _compared(table, demanded, Counter(_texts(found, query)))
        columns = ("file", "month", "day", "dep_time", "carrier", "flight", "tailnum", "dest")
        rows = self.changes.rows_of_uploads()
        flights = Counter(
            tuple(None if row[column] == "NA" else row[column] for column in columns)
            for row in rows
            if row["tailnum"] not in ("NA", "")
        )
        listed = ", ".join(["_penstock_file", *columns[1:]])
        yield from _compared(
            "flights", flights, Counter(_texts(found, f"SELECT {listed} FROM flights"))
        )


def _texts(found: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple[str | None, ...]]:
    """The rows as Postgres would print them."""
    found.execute("SET TimeZone = 'UTC'")
    rows = found.execute(f"SELECT COLUMNS(*)::VARCHAR FROM ({query})").fetchall()
    yield from rows


def _compared(
    table: str, demanded: Counter[tuple[str | None, ...]], found: Counter[tuple[str | None, ...]]
) -> Iterator[tuple[str, str]]:
    lost, more = demanded - found, found - demanded
    if lost or more:
        yield (
            table,
            f"{demanded.total()} rows demanded, {found.total()} found; "
            f"{lost.total()} lost, e.g. {list(lost)[:3]}; "
            f"{more.total()} too many, e.g. {list(more)[:3]}",
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--per-campaign", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-kill-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start(FAST)
        try:
            ended: Counter[str] = Counter()
            seed = options.seed
            while ended["killed"] < options.kills:
                ended += run_campaign(Path(folder), server, seed, options.per_campaign).ended
                print(f"seed {seed}: {dict(ended)}", flush=True)
                seed += 1
        finally:
            server.stop()
    return 0


def run_campaign(folder: Path, server: EmbeddedPostgres, seed: int, kills: int) -> Campaign:
    """A campaign that ended well."""
    name = f"kill_{seed}_{os.getpid()}"
    server.psql(f"CREATE DATABASE {name}")
    place = folder / name
    place.mkdir()
    campaign = Campaign(place, server, name, random.Random(seed))
    campaign.kill(kills)
    campaign.check()
    campaign.replay_under_another_file()
    campaign.check()
    server.psql(f"DROP DATABASE {name} WITH (FORCE)")
    return campaign


if __name__ == "__main__":
    sys.exit(main())
