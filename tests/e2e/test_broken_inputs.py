"""Forty broken inputs: each gives quarantined rows with a reason, or one clear error; sums hold."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from penstock.cli import main

HEAD = "id,name,amount\n"
GOOD = "1,ann,2.50\n2,bob,3.50\n"


@dataclass(frozen=True)
class Case:
    """A file as it was uploaded, and what has to come of it.

    Shape: `good` and `bad` are rows; `says` stands in a quarantined row's reason, or in the error.
    """

    id: str
    name: str
    body: bytes | Callable[[Path], None]
    good: int = 0
    bad: int = 0
    says: str = ""
    error: bool = False
    format: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=lambda: {"amount": {"type": "decimal(12,2)"}})


def text(body: str) -> bytes:
    return (HEAD + body).encode()


def gzipped(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def zipped(body: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("orders.csv", body)
    return file.getvalue()


def many(rows: int) -> bytes:
    return text("".join(f"{i},name {i * 7919 % 100003},1.00\n" for i in range(rows)))


def parquet_of(sql: str, cut: int | None = None) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        duckdb.sql(sql).write_parquet(str(path))
        if cut is not None:
            path.write_bytes(path.read_bytes()[:cut])

    return write


def quoted_newline() -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([["1", "a\nb", "2.50"], ["2", 'c"d', "3"]])
    return text(file.getvalue())


CSV = "orders.csv"
CASES = [
    # columns
    Case("a field too many", CSV, text("1,ann,2.50\n2,bob,3.50,9\n3,cy,1\n"), 2, 1),
    Case("a field too few", CSV, text("1,ann,2.50\n2,bob\n3,cy,1\n"), 2, 1),
    Case("duplicate headers", CSV, b"id,id,amount\n1,2,3\n", 1, 0),
    Case("an empty header", CSV, b"id,,amount\n1,2,3\n", 1, 0),
    Case("header only", CSV, HEAD.encode(), 0, 0),
    Case("an empty file", CSV, b"", 0, 0, columns={}),
    Case("blank lines", CSV, text("1,ann,2.50\n\n\n2,bob,1\n"), 2, 0),
    # quotes
    Case("an unclosed quote at the end", CSV, text('1,ann,2.50\n2,"bob,3.50\n'), 1, 1),
    Case("an unclosed quote in the middle", CSV, text('1,"ann,2.50\n2,bob,3.50\n3,cy,1\n'), 2, 1),
    Case("quoted newlines", CSV, quoted_newline(), 2, 0),
    # bytes
    Case("a NUL", CSV, text("1,an\x00n,2.50\n2,bob,3.50\n"), -1, -1),
    Case("mixed encodings", CSV, HEAD.encode() + b"1,\xe9t\xe9,1\n2,\xc3\xa9,2\n", -1, -1),
    Case("a UTF-8 byte order mark", CSV, codecs.BOM_UTF8 + text(GOOD), 2, 0),
    Case("UTF-16", CSV, (HEAD + GOOD).encode("utf-16"), 2, 0),
    Case("latin1, declared", CSV, (HEAD + "1,été,1\n").encode("latin1"), 1, 0,
         format={"encoding": "latin1"}),
    Case("CRLF", CSV, text(GOOD).replace(b"\n", b"\r\n"), 2, 0),
    Case("CRLF and LF mixed", CSV, text("1,ann,2.50\r\n2,bob,3.50\n3,cy,1\r\n"), 3, 0),
    Case("no newline at the end", CSV, text("1,ann,2.50\n2,bob,3.50"), 2, 0),
    Case("a field of 10 MB", CSV, text("1," + "x" * 10_000_000 + ",2.50\n2,bob,1\n"), 2, 0),
    # numbers and dates
    Case("numbers with commas", CSV, text('1,ann,"1,234.50"\n2,bob,1\n'), 1, 1, "decimal(12,2)"),
    Case("numbers with commas, declared", CSV, text('1,ann,"1,234.50"\n'), 1, 0,
         format={"thousands": ","}),
    Case("a huge integer", CSV, text("99999999999999999999999,ann,1\n2,bob,1\n"), 1, 1, "bigint",
         columns={"id": {"type": "bigint"}}),
    Case("a fraction for a whole number", CSV, text("1.5,ann,1\n2.0,bob,1\n"), 1, 1, "bigint",
         columns={"id": {"type": "bigint"}}),
    Case("too many digits", CSV, text("1,ann,1.005\n2,bob,1.500\n"), 1, 1, "decimal(12,2)"),
    Case("a letter O for a zero", CSV, text("1,ann,12.5O\n2,bob,1\n"), 1, 1, "decimal(12,2)"),
    Case("dates in three formats", CSV, text("1,2026-01-31,1\n2,31.01.2026,1\n3,01/31/26,1\n"),
         1, 2, "date", columns={"name": {"type": "date"}}),
    Case("a day that is none", CSV, text("1,2026-02-30,1\n"), 0, 1, "date",
         columns={"name": {"type": "date"}}),
    Case("text too long", CSV, text("1,ann-marie,1\n2,bob,1\n"), 1, 1, "bytes",
         columns={"name": {"type": "varchar(5)"}}),
    # compression
    Case("a truncated gzip", "orders.csv.gz", gzipped(many(50_000))[:100_000], -1, -1),
    Case("gzip in name only", "orders.csv.gz", text(GOOD), 2, 0),
    Case("a corrupt gzip", "orders.csv.gz", gzipped(text(GOOD))[:12] + b"garbage", -1, -1),
    Case("a zip", "orders.csv.zip", zipped(text(GOOD)), 2, 0),
    Case("a corrupt zip", "orders.csv.zip", zipped(text(GOOD))[:60], -1, -1),
    # JSON
    Case("a broken JSON line", "orders.ndjson",
         b'{"id":1,"amount":"1"}\n{"id":2,\n{"id":3,"amount":"2"}\n', 2, 1),
    Case("a JSON line that is no object", "orders.ndjson",
         b'{"id":1,"amount":"1"}\n[1,2]\n7\n', 1, 2),
    Case("a truncated JSON array", "orders.json",
         b'[{"id":1,"amount":"1"},{"id":2,"amount":"2"},{"id":3', 2, 1),
    Case("a JSON value of another type", "orders.ndjson",
         b'{"id":1,"amount":"1"}\n{"id":2,"amount":{"a":1}}\n', 1, 1, "decimal(12,2)"),
    Case("an empty JSON file", "orders.ndjson", b"", 0, 0, columns={}),
    # Parquet
    Case("a truncated Parquet file", "orders.parquet",
         parquet_of("SELECT 1 AS id, 'a' AS name, 2.5 AS amount", 150), 0, -1),
    Case("a Parquet file without rows", "orders.parquet",
         parquet_of("SELECT 1 AS id, 'a' AS name, 2.5 AS amount LIMIT 0"), 0, 0),
    Case("text that is called Parquet", "orders.parquet", text(GOOD), 2, 0),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_broken_file(case: Case, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    if callable(case.body):
        case.body(uploads / case.name)
    else:
        (uploads / case.name).write_bytes(case.body)
    pipeline = write_pipeline(tmp_path, case)

    code = main(["run", "-f", str(pipeline), "--json"])
    caught = capfd.readouterr()
    assert code == 0, caught.out + caught.err
    (stream,) = (each["counts"] for each in json.loads(caught.out)["streams"])
    assert stream["read"] == stream["good"] + stream["quarantined"]
    if case.good >= 0:
        assert stream["good"] == case.good
    if case.bad >= 0:
        assert stream["quarantined"] == case.bad
    else:
        assert stream["quarantined"] > 0

    assert main(["audit", "--final", "-f", str(pipeline), "--json"]) == 0
    audit = json.loads(capfd.readouterr().out)
    assert audit["holds"]
    bad = quarantined(pipeline, capfd)
    assert len(bad) == stream["quarantined"]
    for row in bad:
        assert row["rule"]
        assert row["reason"]
        assert case.name.split(".")[0] in row["position"]
        assert case.says in row["reason"]


def write_pipeline(folder: Path, case: Case) -> Path:
    pipeline = folder / "pipeline.yaml"
    file = {
        "version": 1,
        "pipeline": "broken",
        "warehouse": {"type": "duckdb", "path": "broken.duckdb"},
        "storage": {"url": "./data"},
        "sources": {"uploads": {"type": "files", "url": "./uploads"}},
        "streams": {
            "orders": {
                "from": {"source": "uploads", "files": "orders*", "format": case.format},
                "columns": case.columns,
                "bad_rows": {"max": "100%"},
            }
        },
    }
    pipeline.write_text(json.dumps(file))
    return pipeline


def quarantined(pipeline: Path, capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Every quarantined row, as `quarantine export` gives it."""
    out = pipeline.parent / "bad.ndjson"
    code = main(["quarantine", "export", "orders", str(out), "-f", str(pipeline)])
    capfd.readouterr()
    if code != 0 or not out.exists():
        return []
    return [json.loads(line) for line in out.read_text().splitlines()]


# ---- one clear error


@dataclass(frozen=True)
class Failure:
    """Something that cannot be read at all: what the error says, and what it advises."""

    id: str
    source: dict[str, Any]
    stream: dict[str, Any]
    says: str
    code: int = 1


FILES: dict[str, Any] = {"type": "files", "url": "./uploads"}
FAILURES = [
    Failure("a missing folder", {**FILES, "url": "./nowhere"}, {"files": "*.csv"}, "nowhere"),
    Failure("a wrong password", {"password": "wrong"}, {"table": "public.t"}, "password"),
    Failure("a missing table", {}, {"table": "public.tt"}, "public.t"),
    Failure("a missing column", {}, {"table": "public.t", "cursor": "updatet"}, "updated"),
    Failure("a missing database", {"database": "nowhere"}, {"table": "public.t"}, "nowhere"),
    Failure("a port where nobody listens", {"port": 1}, {"table": "public.t"}, "127.0.0.1"),
    Failure("a host that is none", {"host": "no.invalid"}, {"table": "public.t"}, "no.invalid"),
]  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.id)
def test_a_source_that_does_not_answer(
    failure: Failure, tmp_path: Path, database: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    database.run("CREATE TABLE t (id int PRIMARY KEY, updated timestamptz)")
    user = f"u_{database.name}"
    database.run(f"CREATE ROLE {user} LOGIN PASSWORD 'right'")
    database.run(f"GRANT SELECT ON t TO {user}")
    options = failure.source
    if options.get("type") != "files":
        options = {
            "type": "postgres",
            "host": "127.0.0.1",
            "port": database.port,
            "database": database.name,
            "user": "postgres",
            **options,
        }
    if "password" in options:
        options["user"] = user
        with_passwords(database)
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(
        json.dumps(
            {
                "version": 1,
                "pipeline": "broken",
                "warehouse": {"type": "duckdb", "path": "broken.duckdb"},
                "storage": {"url": "./data"},
                "sources": {"there": options},
                "streams": {"t": {"from": {"source": "there", **failure.stream}}},
            }
        )
    )
    code = main(["run", "-f", str(pipeline)])
    said = "".join(capfd.readouterr())
    assert code == failure.code, said
    assert failure.says in said
    assert "where:" in said or "fix:" in said
    assert "Traceback" not in said
    assert main(["audit", "-f", str(pipeline)]) == 0


def with_passwords(database: Any) -> None:
    """The server asks this database's own user for a password, from now on."""
    (hba,) = database.server.rows("SHOW hba_file")
    path = Path(str(hba[0]))
    rules = path.read_text()
    rule = f"host {database.name} u_{database.name} 127.0.0.1/32 scram-sha-256\n"
    path.write_text(rule + rules)
    database.server.psql("SELECT pg_reload_conf()")


def test_a_table_that_was_dropped(
    tmp_path: Path, database: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    database.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(
        json.dumps(
            {
                "version": 1,
                "pipeline": "dropped",
                "warehouse": {"type": "duckdb", "path": "dropped.duckdb"},
                "storage": {"url": "./data"},
                "sources": {"there": {"type": "postgres", "url": database.uri}},
                "streams": {"t": {"from": {"source": "there", "table": "public.t"}}},
            }
        )
    )
    assert main(["run", "-f", str(pipeline)]) == 0
    database.run("DROP TABLE t")
    assert main(["run", "-f", str(pipeline)]) == 1
    assert "public.t" in "".join(capfd.readouterr())
    database.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (3)")
    assert main(["run", "-f", str(pipeline)]) == 0
    assert main(["audit", "--final", "-f", str(pipeline)]) == 0
    capfd.readouterr()
    assert main(["query", "--json", "SELECT id FROM dropped.t", "-f", str(pipeline)]) == 0
    assert json.loads(capfd.readouterr().out)["rows"] == [{"id": 3}]


def test_a_full_disk(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A run that finds no room says so; with room again, the next one ends the work, once."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("only root can make a small disk")
    try:
        (disk / "uploads").mkdir()
        (disk / "uploads" / "orders.csv").write_bytes(many(60_000))
        pipeline = write_pipeline(disk, Case("full", CSV, b""))
        code = main(["run", "-f", str(pipeline)])
        said = "".join(capfd.readouterr())
        assert code == 1, said
        assert "full" in said or "No space" in said or "no room" in said, said
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert main(["run", "-f", str(pipeline)]) == 0, "".join(capfd.readouterr())
        assert main(["audit", "--final", "-f", str(pipeline)]) == 0
        capfd.readouterr()
        question = "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM broken.orders"
        assert main(["query", "--json", question, "-f", str(pipeline)]) == 0
        assert json.loads(capfd.readouterr().out)["rows"] == [{"n": 60_000, "ids": 60_000}]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
