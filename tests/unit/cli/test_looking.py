"""Verbs that look, and verbs that change state by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.cli.init import postgres_origin
from penstock.cli.proposals import flow
from penstock.errors import SpecError

Edit = Callable[[str, str], None]
Cli = Callable[..., Any]


def test_check_has_an_answer_from_everything(shop: Path, cli: Cli) -> None:
    checked = cli("check", "--json").json
    assert checked["ok"]
    assert [(a["kind"], a["ok"]) for a in checked["answers"]] == [
        ("source", True), ("warehouse", True), ("streams", True)
    ]  # fmt: skip
    assert not (shop / "shop.duckdb").exists()


def test_check_shows_every_problem_at_once(shop: Path, cli: Cli, edit: Edit) -> None:
    edit("storage:", "storrage:")
    edit("type: bigint", "type: bigit")
    checked = cli("check")
    assert checked.code == 2
    assert 'unknown key "storrage"' in checked.err
    assert "bigit" in checked.err
    problems = cli("check", "--json").json["error"]["problems"]
    assert len(problems) >= 2


def test_check_says_which_export_line_a_missing_secret_needs(
    shop: Path, cli: Cli, edit: Edit
) -> None:
    edit(
        "  # shopdb: {type: postgres, host: localhost, database: shop, user: reader, "
        'password: "${secret:shop}"}',
        '  shopdb: {type: postgres, host: localhost, database: shop, password: "${secret:a/b}"}',
    )
    checked = cli("check")
    assert checked.code == 2
    assert "export A_B=" in checked.out


def test_check_reports_a_source_that_does_not_answer(shop: Path, cli: Cli, edit: Edit) -> None:
    edit("sources:\n", "sources:\n  gone: {type: files, url: ./nowhere}\n")
    checked = cli("check")
    assert checked.code == 1
    assert "--  source  gone" in checked.out


def test_check_prints_the_schema_and_the_merged_file(shop: Path, cli: Cli) -> None:
    assert "streams" in cli("check", "--json-schema").json["properties"]
    assert "# line" in cli("check", "--resolved").out


def test_plan_shows_windows_and_table_changes_and_changes_nothing(shop: Path, cli: Cli) -> None:
    planned = cli("plan")
    assert planned.code == 0
    assert "increment 1 file, 1 slice" in planned.out
    assert "change: new table raw.orders with 6 columns" in planned.out
    assert not (shop / "shop.duckdb").exists()
    assert cli("runs").out == "no run yet -> penstock run\n"
    assert "FROM" in cli("plan", "--sql").out


def test_plan_after_a_run_has_nothing_new_and_names_new_columns(
    loaded: Path, cli: Cli, edit: Edit
) -> None:
    assert "increment nothing new" in cli("plan").out
    edit("    expect:", "    steps: [{derive: {net: 'amount * 0.8'}}]\n    expect:")
    assert "new column net" in cli("plan").out


def test_preview_shows_rows_before_and_after_and_keeps_nothing(shop: Path, cli: Cli) -> None:
    [orders] = cli("preview", "--json", "--rows", "3").json["streams"]
    assert len(orders["before"]) == len(orders["after"]) == 3
    assert orders["counts"]["quarantined"] == 3
    assert {row["rule"] for row in orders["quarantined"]} == {"type", "not_null", "between"}
    assert not (shop / "shop.duckdb").exists()
    assert not list((shop / "data").glob("raw/**/*.parquet"))


def test_preview_shows_nothing_of_a_masked_column(shop: Path, cli: Cli, edit: Edit) -> None:
    edit(
        "      id: {type: bigint}",
        "      id: {type: bigint}\n      buyer: {from: customer, mask: redact}",
    )
    edit("not_null: [id, customer]", "not_null: [id]")
    for shown in (cli("preview").out, cli("preview", "--json").out):
        assert "1001" in shown
        assert "Nora" not in shown


def test_discover_prints_yaml_that_loads(shop: Path, cli: Cli) -> None:
    found = cli("discover").out
    head = (shop / "pipeline.yaml").read_text("utf-8").partition("streams:")[0]
    (shop / "found.yaml").write_text(head + found, "utf-8")
    assert cli("check", "--offline", "-f", "found.yaml").code == 0
    assert cli("discover", "--source", "uplods").code == 2
    assert cli("discover", "--json").json["sources"]["uploads"][0]["kind"] == "files"


def test_query_answers_as_table_csv_and_json(loaded: Path, cli: Cli) -> None:
    sql = "select id, customer, amount from raw.orders order by id limit 2"
    assert cli("query", sql).out.splitlines() == [
        "  id  customer  amount", "1001  Nora       49.90", "1002  Ben        12.50"
    ]  # fmt: skip
    assert cli("query", "--csv", sql).out.splitlines()[1] == "1001,Nora,49.90"
    answer = cli("query", "--json", "select 1 as a, null as a, 0.1::decimal(3,2) as b").json
    assert answer["rows"] == [{"a": 1, "a_2": None, "b": "0.10"}]
    assert cli("query", "-- a comment first\nselect 7 as seven").out == "seven\n    7\n"


def test_query_says_when_there_is_more_and_cannot_write(loaded: Path, cli: Cli) -> None:
    cut = cli("query", "--limit", "2", "select * from raw.orders")
    assert len(cut.out.splitlines()) == 3
    assert "--limit 0 shows all" in cut.err
    assert cli("query", "delete from raw.orders").code == 1
    assert cli("query", "--csv", "select count(*) n from raw.orders").out == "n\n5\n"


def test_query_before_the_first_run_says_what_to_do(shop: Path, cli: Cli) -> None:
    asked = cli("query", "select 1")
    assert (asked.code, "penstock run" in asked.err) == (1, True)


def test_control_characters_in_data_are_shown_not_obeyed(loaded: Path, cli: Cli) -> None:
    assert cli("query", "select 'a' || chr(27) || '[31mred' as x").out == "x\na\\x1b[31mred\n"


def test_status_tells_a_failed_stream_since_when_and_what_to_type(
    loaded: Path, cli: Cli, edit: Edit
) -> None:
    assert cli("status").out.split()[0] == "ok"
    (loaded / "uploads").rename(loaded / "elsewhere")
    assert cli("run").code == 1
    assert cli("run").code == 1
    stuck = cli("status")
    assert stuck.code == 3
    assert "(2 runs)" in stuck.out
    assert "-> penstock check --select orders" in stuck.out
    (loaded / "elsewhere").rename(loaded / "uploads")
    assert cli("run").code == 0
    assert cli("status").code == 0


def test_status_tells_a_late_stream(loaded: Path, cli: Cli, edit: Edit) -> None:
    edit("    load: {table: orders}", "    freshness: 0s\n    load: {table: orders}")
    late = cli("status", "--json")
    assert late.code == 3
    [finding] = late.json["findings"]
    assert (finding["kind"], finding["stream"]) == ("LATE", "orders")
    assert "promised 0s" in finding["what"]


def test_runs_and_logs_tell_what_happened(loaded: Path, cli: Cli) -> None:
    [run] = cli("runs", "--json").json["runs"]
    assert (run["status"], run["sums"]["loaded"]) == ("loaded", 5)
    shown = cli("runs", "show", run["run_id"][:13])
    assert "good 5 = loaded 5 + superseded 0 + not loaded 0" in shown.out
    assert cli("runs", "show", "19990101").code == 2
    events = [event["event"] for event in cli("logs", "--json").json]
    assert events == [
        "run_planned", "chunk_extracted", "chunk_transformed", "chunks_loaded", "run_ended"
    ]  # fmt: skip
    assert cli("logs", "--stream", "other").out == ""


def test_audit_holds_and_is_broken_when_rows_vanish(loaded: Path, cli: Cli) -> None:
    held = cli("audit")
    assert held.code == 0
    assert "every sum holds: 8 rows read, 5 in the ledger, 3 quarantined" in held.out
    import duckdb

    with duckdb.connect(str(loaded / "shop.duckdb")) as connection:
        connection.execute("DELETE FROM raw.orders WHERE id = 1001")
    broken = cli("audit")
    assert broken.code == 3
    assert "BROKEN" in broken.out


def test_state_by_hand_is_on_the_record(loaded: Path, cli: Cli) -> None:
    [orders] = cli("state", "show", "--json").json["streams"]
    assert (orders["seq"], orders["open"]) == (1, False)
    assert cli("state", "set", "orders", "5", "--why", "x").code == 2
    assert cli("state", "reset", "orders").code == 2
    assert cli("state", "reset", "orders", "--why", "source restored").code == 0
    newest = cli("runs", "--json").json["runs"][0]
    assert newest["by_hand"]["why"] == "source restored"
    assert "source restored" in cli("runs").out
    [again] = cli("run", "--json").json["streams"]
    assert (again["kind"], again["read"]) == ("refresh", 8)
    assert cli("audit").code == 0


def test_gc_removes_only_what_is_past_retention(loaded: Path, cli: Cli, edit: Edit) -> None:
    assert cli("gc").out == "nothing is past its retention and accounted for\n"
    edit("storage: {url: ./data}", "storage: {url: ./data, keep: {raw: 0s, staging: 0s}}")
    assert "would go" in cli("gc", "--dry-run").out
    assert list((loaded / "data" / "raw").rglob("*.parquet"))
    assert "are gone" in cli("gc").out
    assert not list((loaded / "data" / "raw").rglob("*.parquet"))
    assert cli("audit").code == 0
    assert cli("runs", "--json").json["runs"][0]["status"] == "closed"
    assert "nothing new" in cli("run").out


def test_init_writes_over_nothing(shop: Path, cli: Cli) -> None:
    before = (shop / "pipeline.yaml").read_bytes()
    assert cli("init").code == 2
    assert (shop / "pipeline.yaml").read_bytes() == before
    assert ".env" in (shop / ".gitignore").read_text("utf-8").splitlines()


def test_init_from_a_folder_makes_a_pipeline_that_runs(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "no,de.csv").write_text("id,a b\n1,x\n2,y\n", "utf-8")
    (tmp_path / ".gitignore").write_text("*.tmp", "utf-8")
    assert cli("init", "--from", "in").code == 0
    assert (tmp_path / ".gitignore").read_text("utf-8").startswith("*.tmp\n.env\n")
    ran = cli("run", "--json")
    assert (ran.code, ran.json["streams"][0]["loaded"]) == (0, 2)


def test_a_password_of_a_url_goes_into_env_however_it_is_spelled() -> None:
    origin = postgres_origin(
        "postgresql://re%40der:p%40ss%2Fw%23rd@db.example:5433/shop?sslmode=require"
    )
    assert origin.options == {
        "host": "db.example",
        "port": 5433,
        "database": "shop",
        "user": "re@der",
        "sslmode": "require",
        "password": "${secret:shop/password}",
    }
    assert origin.secrets == {"SHOP_PASSWORD": "p@ss/w#rd"}


@pytest.mark.parametrize(
    "url", ["postgresql://u:p/w@h/db", "postgresql://h", "postgresql://u:a#b@h/d"]
)
def test_a_url_that_cannot_be_read_says_how_to_spell_the_password(url: str) -> None:
    with pytest.raises(SpecError) as caught:
        postgres_origin(url)
    assert "%40" in str(caught.value)


def test_init_from_postgres_keeps_the_password_out_of_the_file(
    database: Any, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.run(
        "CREATE TABLE public.orders (id int PRIMARY KEY, updated_at timestamptz DEFAULT now());"
        "INSERT INTO public.orders SELECT generate_series(1, 5)"
    )
    monkeypatch.chdir(tmp_path)
    host = database.uri.partition("@")[2].partition("/")[0].partition(":")[0] or "localhost"
    url = f"postgresql://postgres:s3cr%40t@{host}:{database.port}/{database.name}"
    made = cli("init", "--from", url)
    assert made.code == 0, made.err
    text = (tmp_path / "pipeline.yaml").read_text("utf-8")
    assert "s3cr" not in text + made.out + made.err
    assert "s3cr@t" in (tmp_path / ".env").read_text("utf-8")
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    ran = cli("run", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["streams"][0]["loaded"] == 5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("orders", "orders"),
        ("no", '"no"'),
        ("12:30", '"12:30"'),
        ("decimal(12,2)", '"decimal(12,2)"'),
        ("a: b", '"a: b"'),
        ({"a b": [1, True, None]}, '{"a b": [1, true, null]}'),
    ],
)
def test_proposed_yaml_cannot_be_misread(value: Any, text: str) -> None:
    assert flow(value) == text


CURSOR_FILE = """version: 1
pipeline: shop
warehouse: {type: duckdb, path: shop.duckdb}
storage: {url: ./data}
sources:
  db: {type: postgres, url: "${secret:db}"}
streams:
  orders:
    tags: [finance]
    from: {source: db, table: public.orders, cursor: updated_at}
    load: {schema: raw, table: orders}
"""


@pytest.fixture
def orders(database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Postgres table with a key and a cursor, and a pipeline that reads it."""
    database.run(
        "CREATE TABLE public.orders (id int PRIMARY KEY, updated_at timestamptz);"
        "INSERT INTO public.orders SELECT n, '2026-01-01T00:00:00Z'::timestamptz + n * "
        "interval '1 day' FROM generate_series(1, 5) n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DB", database.uri)
    (tmp_path / "pipeline.yaml").write_text(CURSOR_FILE, "utf-8")
    return database


def test_a_cursor_moves_and_can_be_set_back_by_hand(orders: Any, cli: Cli) -> None:
    assert "merge, because: merge: primary key id (the database's)" in cli("plan").out
    assert cli("run", "--json").json["streams"][0]["inserted"] == 5
    [before] = cli("state", "show", "--json").json["streams"]
    assert before["cursor"]
    orders.run("UPDATE public.orders SET updated_at = '2026-01-20T00:00:00Z' WHERE id = 2")
    orders.run("INSERT INTO public.orders VALUES (6, '2026-01-02T12:00:00Z')")
    back = cli("state", "set", "orders", "2026-01-02T00:00:00+00:00", "--why", "late rows")
    assert back.code == 0, back.err
    [again] = cli("run", "--select", "tag:finance", "--json").json["streams"]
    assert again["read"] >= 5
    assert cli("query", "--csv", "select count(*) n from raw.orders").out == "n\n6\n"
    assert cli("audit").code == 0
    assert "late rows" in cli("runs").out


def test_no_verb_shows_the_password(orders: Any, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB", orders.uri.replace("postgres@", "postgres:hunter2@", 1))
    cli("run")
    for words in (
        ["check"], ["check", "--json"], ["check", "--resolved"], ["plan", "--json"],
        ["run", "--json"], ["status", "--json"], ["logs"], ["discover"], ["preview"],
    ):  # fmt: skip
        answer = cli(*words)
        assert "hunter2" not in answer.out + answer.err, words
    monkeypatch.setenv("DB", "postgresql://me:hunter2@127.0.0.1:1/nowhere")
    for words in (["check"], ["run"], ["plan"], ["status"], ["discover", "--json"], ["logs"]):
        answer = cli(*words)
        assert "hunter2" not in answer.out + answer.err, words
    for path in Path("data").rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path
