"""Bad rows and dead messages: seen, understood, and brought back after a correction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Edit = Callable[[str, str], None]
Cli = Callable[..., Any]
BUDGET = "    bad_rows: {max: 0%, but_at_least: 1}\n    load: {table: orders}"


def test_quarantine_list_counts_by_rule_with_an_example(loaded: Path, cli: Cli) -> None:
    listed = cli("quarantine", "list", "--json").json
    assert listed["rows"] == 3
    assert {(g["rule"], g["column"], g["rows"], g["value"]) for g in listed["groups"]} == {
        ("type", "amount", 1, "12,5O"),
        ("between", "amount", 1, "-4.00"),
        ("not_null", "customer", 1, None),
    }
    assert "penstock replay orders --quarantined" in cli("quarantine", "list").out


def test_quarantine_show_has_the_row_and_its_line(loaded: Path, cli: Cli) -> None:
    shown = cli("quarantine", "show", "orders", "--rule", "type").out
    assert shown.splitlines()[0] == "orders.amount  type  orders_2026-11.csv:5"
    assert '"id":"1004"' in shown
    assert "between" not in shown


def test_quarantine_exports_to_files_and_never_over_one(loaded: Path, cli: Cli) -> None:
    for name in ("bad.csv", "bad.ndjson", "bad.parquet"):
        assert cli("quarantine", "export", "orders", name).code == 0
        assert (loaded / name).stat().st_size > 0
    assert len((loaded / "bad.ndjson").read_text("utf-8").splitlines()) == 3
    again = cli("quarantine", "export", "orders", "bad.csv")
    assert (again.code, "is there already" in again.err) == (2, True)
    assert cli("quarantine", "export", "orders", "bad.docx").code == 2


def test_discarded_rows_leave_list_and_status_but_not_the_audit(loaded: Path, cli: Cli) -> None:
    assert cli("quarantine", "discard", "orders", "--why", "a test").code == 0
    assert cli("quarantine", "list").out == "no bad rows\n"
    assert cli("status", "--json").json["totals"]["quarantined"] == 0
    [orders] = cli("audit", "--json").json["streams"]
    assert orders["sums"]["quarantined"] == 3


def test_discarded_rows_count_again_when_they_are_made_anew(loaded: Path, cli: Cli) -> None:
    cli("quarantine", "discard", "orders", "--why", "a test")
    cli("replay", "orders")
    assert cli("quarantine", "list", "--json").json["rows"] == 3


def test_a_correction_and_a_replay_bring_quarantined_rows_in(
    loaded: Path, cli: Cli, edit: Edit
) -> None:
    (loaded / "uploads" / "orders_2026-11.csv").unlink()
    edit("      - between: {column: amount, min: 0}\n", "")
    edit("not_null: [id, customer]", "not_null: [id]")
    replayed = cli("replay", "orders", "--quarantined", "--json")
    assert replayed.code == 0
    [orders] = replayed.json["streams"]
    assert (orders["counts"]["good"], orders["counts"]["quarantined"]) == (7, 1)
    assert cli("query", "--csv", "select count(*) n from raw.orders").out == "n\n7\n"
    assert cli("audit").code == 0


def test_replay_leaves_chunks_without_bad_rows_alone(loaded: Path, cli: Cli) -> None:
    (loaded / "uploads" / "orders_2026-12.csv").write_text(
        "id,customer,amount,ordered_at,country\n2001,Eva,1.00,2026-12-01 10:00:00,FR\n", "utf-8"
    )
    assert cli("run").code == 0
    assert cli("replay", "orders", "--quarantined").err.startswith("orders: 1 chunks of 1 runs")
    assert cli("replay", "orders").err.startswith("orders: 2 chunks of 2 runs")
    assert cli("query", "--csv", "select count(*) n from raw.orders").out == "n\n6\n"


def test_replay_wants_to_know_what(loaded: Path, cli: Cli) -> None:
    asked = cli("replay")
    assert asked.code == 2
    assert "name a stream, --run RUN, or --all" in asked.err
    run_id = cli("runs", "--json").json["runs"][0]["run_id"]
    assert cli("replay", "--run", run_id[:15]).code == 0


def test_a_dead_message_says_why_and_comes_back_after_a_correction(
    shop: Path, cli: Cli, edit: Edit
) -> None:
    edit("    load: {table: orders}", BUDGET)
    assert cli("run").code == 3
    stuck = cli("status")
    assert stuck.code == 3
    assert stuck.out.split()[:2] == ["STUCK", "orders"]
    assert "-> penstock dlq show orders" in stuck.out
    shown = cli("dlq", "show", "orders").out
    assert "chunk orders/" in shown
    assert "penstock dlq redrive orders" in shown
    again = cli("dlq", "redrive", "orders")
    assert again.code == 1
    assert "died again" in again.out
    edit(BUDGET, "    load: {table: orders}")
    assert cli("dlq", "redrive", "orders").out == "1 of 1 dead messages came back\n"
    assert cli("status").code == 0
    assert cli("audit").code == 0
    assert cli("query", "--csv", "select count(*) n from raw.orders").out == "n\n5\n"


def test_a_corrected_file_heals_a_rejected_chunk_by_reconcile_alone(
    shop: Path, cli: Cli, edit: Edit
) -> None:
    edit("    load: {table: orders}", BUDGET)
    assert cli("run").code == 3
    edit(BUDGET, "    load: {table: orders}")
    assert cli("reconcile").code == 0
    assert cli("query", "--csv", "select count(*) n from raw.orders").out == "n\n5\n"
    assert cli("reconcile").out == "nothing is stuck\n"


def test_discarding_a_dead_message_is_on_the_record(shop: Path, cli: Cli, edit: Edit) -> None:
    edit("    load: {table: orders}", BUDGET)
    cli("run")
    assert cli("dlq", "discard", "orders", "--why", "June test").out.startswith("1 dead message")
    assert cli("dlq", "list").out == "no dead messages\n"
    assert "June test" in cli("logs").out
    [orders] = cli("audit", "--json").json["streams"]
    assert orders["sums"]["rejected"] == 8
