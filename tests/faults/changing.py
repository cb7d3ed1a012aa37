"""A real Postgres and an upload folder that keep changing while they are read."""

from __future__ import annotations

import contextlib
import csv
import random
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from penstock.demo.data import flights_data, write_uploads
from penstock.testing.postgres import EmbeddedPostgres

EVENTS, ORDERS = 24_000, 20_000
MONTH_ROWS = 2_500
TABLES = f"""
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(), amount integer NOT NULL, note text);
CREATE TABLE orders (
    id integer PRIMARY KEY, updated_at timestamptz NOT NULL DEFAULT now(),
    amount numeric(12,2) NOT NULL, status text);
CREATE TABLE planes (tailnum text PRIMARY KEY, year integer, type text, manufacturer text,
    model text, engines integer, seats integer, speed integer, engine text);
INSERT INTO events (at, amount, note)
    SELECT now() - interval '1 hour' + n * interval '10 ms', n % 1000, 'event ' || n
    FROM generate_series(1, {EVENTS}) n;
INSERT INTO orders
    SELECT n, now() - interval '1 hour' + n * interval '10 ms', n * 0.37, 'new'
    FROM generate_series(1, {ORDERS}) n;
"""
CHANGES = (
    "INSERT INTO events (amount, note) SELECT (random() * 999)::int, 'new' "
    "FROM generate_series(1, {n});",
    "UPDATE orders SET amount = amount + 1, status = 'paid', updated_at = now() "
    "WHERE id IN (SELECT (random() * {orders})::int FROM generate_series(1, {n}));",
    "INSERT INTO orders SELECT max(id) + 1, now(), 9.99, 'new' FROM orders;",
    "UPDATE planes SET seats = coalesce(seats, 0) + 1 "
    "WHERE tailnum IN (SELECT tailnum FROM planes ORDER BY random() LIMIT {n});",
    "DELETE FROM planes WHERE tailnum IN (SELECT tailnum FROM planes ORDER BY random() LIMIT 3);",
    "INSERT INTO planes SELECT 'X' || (random() * 1e9)::int, 2013, 'new' ON CONFLICT DO NOTHING;",
)


@dataclass
class Changes:
    """Two sessions that change the tables: one commits at once, the other late.

    Shape: `server` and `database` are where the tables stand, `uploads` the folder of CSV files.
    """

    server: EmbeddedPostgres
    database: str
    uploads: Path
    seed: int
    pause_s: float = 0.02
    _stop: threading.Event = field(default_factory=threading.Event)
    _errors: list[BaseException] = field(default_factory=list)

    def prepare(self) -> None:
        """The tables are filled, and half of the year's files lie in the upload folder."""
        self.server.psql(TABLES, self.database)
        path = flights_data() / "planes.csv"
        self.server.psql(
            f"\\copy planes FROM '{path}' (FORMAT csv, HEADER, NULL 'NA')", self.database
        )
        write_uploads(self.uploads.parent / "year")
        self.uploads.mkdir()
        for month in range(1, 7):
            self._upload(month, MONTH_ROWS)

    def _upload(self, month: int, rows: int) -> None:
        name = f"flights_2013-{month:02d}.csv"
        with (self.uploads.parent / "year" / name).open(encoding="utf-8", newline="") as file:
            lines = [line for line, _ in zip(file, range(rows + 1), strict=False)]
        unfinished = self.uploads.parent / f"{name}.part"
        unfinished.write_text("".join(lines), encoding="utf-8", newline="")
        unfinished.rename(self.uploads / name)

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """The source changes while the block runs; at its end all is committed."""
        self._stop.clear()
        works = (self._often, self._late, self._files)
        threads = [threading.Thread(target=self._guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
            if self._errors:
                raise self._errors[0]

    def _guarded(self, work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 - raised again where the block ends
            self._errors.append(error)

    def _often(self) -> None:
        random_ = random.Random(self.seed)
        with _Session(self.server, self.database) as session:
            while not self._stop.wait(self.pause_s * random_.uniform(0.5, 2)):
                session.run(self._drawn(random_))

    def _late(self) -> None:
        """Transactions that hold their rows back for a while."""
        random_ = random.Random(self.seed + 1)
        with _Session(self.server, self.database) as session:
            while not self._stop.wait(self.pause_s):
                session.run("BEGIN;" + CHANGES[0].format(n=random_.randrange(1, 20)))
                self._stop.wait(random_.uniform(0, 0.8))
                session.run("COMMIT;")

    def _files(self) -> None:
        random_ = random.Random(self.seed + 2)
        while not self._stop.wait(random_.uniform(0.3, 1.5)):
            self._upload(random_.randrange(1, 13), random_.randrange(100, MONTH_ROWS))

    def _drawn(self, random_: random.Random) -> str:
        return random_.choice(CHANGES).format(n=random_.randrange(1, 60), orders=ORDERS)

    def rows_of_uploads(self) -> list[dict[str, str]]:
        """Every row of every file as it lies there now, with its file's name."""
        rows = []
        for path in sorted(self.uploads.iterdir()):
            with path.open(encoding="utf-8", newline="") as file:
                rows += [{**row, "file": path.name} for row in csv.DictReader(file)]
        return rows


class _Session:
    """One session of psql, fed through a pipe."""

    def __init__(self, server: EmbeddedPostgres, database: str) -> None:
        binaries, _ = server._prepared()
        self._process = subprocess.Popen(
            [str(binaries / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", server.uri(database)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> _Session:
        return self

    def run(self, sql: str) -> None:
        """The statements have run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{sql}\n\\echo done\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer == "done\n", answer

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
