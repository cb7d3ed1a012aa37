"""`penstock run`, and what it shows."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.cli.run import MOST_REPORTS, write_report
from penstock.observe.report import RunReport

Edit = Callable[[str, str], None]
Cli = Callable[..., Any]


def test_init_and_run_load_rows_and_say_where_they_are(shop: Path, cli: Cli) -> None:
    ran = cli("run")
    assert ran.code == 0
    assert ran.out.splitlines()[0].split() == [
        "stream", "read", "good", "quarantined", "filtered", "loaded", "took"
    ]  # fmt: skip
    assert ran.out.splitlines()[1].split()[:6] == ["orders", "8", "5", "3", "0", "+5"]
    assert '1 bad row: orders.amount: not decimal(12,2), e.g. "12,5O" at orders_2026-11.csv:5' in (
        ran.out
    )
    assert "look:  penstock quarantine show orders" in ran.out
    assert 'query:  penstock query "select * from raw.orders limit 5"' in ran.out
    asked = cli("query", "--json", "select count(*) as n, sum(amount) as total from raw.orders")
    assert asked.json["rows"] == [{"n": 5, "total": "431.75"}]


def test_a_second_run_says_that_nothing_is_new(loaded: Path, cli: Cli) -> None:
    ran = cli("run")
    assert ran.code == 0
    assert "nothing new" in ran.out
    assert ran.err == "orders: nothing new\n"


def test_json_is_one_document_and_lies_in_the_reports_folder(shop: Path, cli: Cli) -> None:
    report = cli("run", "--json").json
    assert report["outcome"] == "done"
    assert report["format"] == 1
    [orders] = report["streams"]
    assert orders["counts"] == {
        "read": 8, "good": 5, "quarantined": 3, "filtered": 0, "deduplicated": 0
    }  # fmt: skip
    page = Path(report["page"])
    assert "12,5O" in page.read_text("utf-8")
    assert json.loads(page.with_suffix(".json").read_text("utf-8"))["streams"] == report["streams"]


def test_plain_lines_tell_the_progress_where_nobody_watches(shop: Path, cli: Cli) -> None:
    assert cli("run").err.splitlines() == [
        "orders: reading 1 slice",
        "orders: done, 8 rows read, 5 loaded",
    ]


def test_a_rejected_chunk_is_exit_3_with_the_reason(shop: Path, cli: Cli, edit: Edit) -> None:
    edit("    load: {table: orders}", "    bad_rows: {max: 0%, but_at_least: 1}")
    ran = cli("run")
    assert ran.code == 3
    assert "blocked" in ran.out
    assert "orders: chunks are rejected" in ran.out
    assert "8 rows wait in chunk orders/" in ran.out


def test_a_source_that_fails_is_exit_1_and_the_other_stream_is_loaded(
    shop: Path, cli: Cli, edit: Edit
) -> None:
    edit("sources:\n", "sources:\n  gone: {type: files, url: ./nowhere}\n")
    edit("streams:\n", "streams:\n  lost: {from: {source: gone, files: '*.csv'}}\n")
    report = cli("run", "--json")
    assert report.code == 1
    status = {stream["stream"]: stream["status"] for stream in report.json["streams"]}
    assert status == {"lost": "failed", "orders": "done"}


def test_full_refresh_reads_everything_again(loaded: Path, cli: Cli) -> None:
    ran = cli("run", "--full-refresh", "--json")
    [orders] = ran.json["streams"]
    assert (ran.code, orders["read"], orders["swap"]) == (0, 8, True)
    assert cli("query", "--csv", "select count(*) n from raw.orders").out == "n\n5\n"


def test_what_is_selected_must_be_there(shop: Path, cli: Cli) -> None:
    ran = cli("run", "--select", "ordres")
    assert ran.code == 2
    assert "orders" in ran.err
    assert ran.out == ""


def test_a_protected_environment_is_asked_for(shop: Path, cli: Cli, edit: Edit) -> None:
    edit(
        "sources:\n",
        "environments:\n  prod: {protected: true}\n  dev: {default: true}\n\nsources:\n",
    )
    refused = cli("run", "--env", "prod")
    assert refused.code == 2
    assert "environment prod of shop is protected" in refused.err
    assert cli("run", "--env", "prod", "--yes").code == 0


def test_a_deleted_warehouse_stops_the_run_with_three_offers(loaded: Path, cli: Cli) -> None:
    (loaded / "shop.duckdb").unlink()
    stopped = cli("run")
    assert stopped.code == 3
    for offer in ("penstock replay --all", "penstock run --full-refresh", "penstock state adopt"):
        assert offer in stopped.err


def test_a_deleted_warehouse_comes_back_from_raw(loaded: Path, cli: Cli) -> None:
    (loaded / "shop.duckdb").unlink()
    (loaded / "uploads" / "orders_2026-11.csv").unlink()
    assert cli("replay", "--all").code == 0
    assert cli("query", "--csv", "select count(*) n from raw.orders").out == "n\n5\n"
    assert cli("audit").code == 0
    assert cli("run").code == 0


def test_a_deleted_warehouse_comes_back_by_a_full_refresh(loaded: Path, cli: Cli) -> None:
    (loaded / "shop.duckdb").unlink()
    assert cli("run", "--full-refresh").code == 0
    assert cli("query", "--csv", "select count(*) n from raw.orders").out == "n\n5\n"


def test_a_warehouse_can_be_adopted_on_the_record(loaded: Path, cli: Cli) -> None:
    (loaded / "shop.duckdb").unlink()
    assert cli("state", "adopt", "--why", "rows live elsewhere").code == 0
    assert cli("run").code == 0
    assert "rows live elsewhere" in cli("logs").out


def test_only_the_newest_reports_are_kept(tmp_path: Path) -> None:
    for day in range(1, 4):
        for hour in range(24):
            for part in range(4):
                (tmp_path / f"202601{day:02d}T{hour:02d}{part}000-000000.html").touch()
    report = RunReport(
        "p", "default", "0", "duckdb", "./data", datetime(2026, 11, 23, tzinfo=UTC), 0, ()
    )
    page = write_report(report, tmp_path)
    assert len(list(tmp_path.glob("*.html"))) == MOST_REPORTS
    assert page.exists()
    assert page.with_suffix(".json").exists()


def test_ctrl_c_stops_a_run_and_the_next_one_goes_on(shop: Path, cli: Cli) -> None:
    rows = "".join(f"{n},Nora,1.00,2026-12-01 10:00:00,NO\n" for n in range(400_000))
    head = "id,customer,amount,ordered_at,country\n"
    (shop / "uploads" / "orders_2026-12.csv").write_text(head + rows, "utf-8")
    words = "import sys; from penstock.cli import main; sys.exit(main(['run']))"
    process = subprocess.Popen(
        [sys.executable, "-c", words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate()
    assert first.startswith("orders: reading")
    assert "nothing is lost: penstock run goes on from here" in rest
    assert "Traceback" not in rest
    assert process.returncode == 130
    assert cli("run").code == 0
    assert cli("query", "--csv", "select count(*) n from raw.orders").out == "n\n400005\n"
    assert cli("audit", "--final").code == 0


def test_three_runs_at_once_double_and_lose_nothing(shop: Path, cli: Cli) -> None:
    words = "import sys; from penstock.cli import main; sys.exit(main(['run', '--json']))"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in processes:
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert cli("query", "--csv", "select count(*) n from raw.orders").out == "n\n5\n"
    assert cli("audit", "--final").code == 0


def test_a_run_of_nothing_new_loads_neither_pandas_nor_numpy(loaded: Path) -> None:
    words = "import sys; from penstock.cli import main; main(['run']); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert "nothing new" in out.stdout
    assert not {"pandas", "numpy", "pyarrow"} & set(out.stdout.splitlines()[-1].split())
