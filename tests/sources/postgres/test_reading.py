"""Slices cover everything once, and a reader goes on exactly where another stopped."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from penstock.errors import Rejected, Transient
from penstock.model import Slice
from penstock.sources import postgres_session
from penstock.sources.postgres_read import select_sql

SMALL = 4000


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_session, "BATCH_BYTES", SMALL)


@pytest.fixture
def orders(database: Any) -> Any:
    """Keys that lie in order, cursor values of which many are equal."""
    database.run("""
        CREATE TABLE orders (id int PRIMARY KEY, at timestamptz, note text);
        INSERT INTO orders SELECT i, timestamptz '2024-01-01' + (i / 7) * interval '1.000001 s',
            repeat('x', i % 50) FROM generate_series(1, 500) AS i;
        ANALYZE orders""")
    return database


def ids(rows: list[tuple[Any, ...]]) -> list[int]:
    return [int(row[0]) for row in rows]


@pytest.mark.usefixtures("small_pieces")
def test_reading_on_after_any_piece_equals_one_read(orders: Any, shop: Any) -> None:
    cases = [
        (shop.stream(), None),
        (shop.stream(cursor="at"), None),
        (shop.stream(cursor="at"), "2024-01-01T00:00:10+00:00"),
        (shop.stream(cursor="id"), 100),
    ]
    for stream, cursor in cases:
        (part,) = shop.plan(stream, cursor).slices
        assert part.resumable
        whole = shop.pieces(stream, part)
        rows = [shop.contents(piece) for piece in whole]
        assert len(whole) > 3
        for n, piece in ((0, whole[0]), (2, whole[2])):
            rest = [r for p in shop.pieces(stream, part, piece.position) for r in shop.contents(p)]
            assert rest == [row for found in rows[n + 1 :] for row in found]
        end = shop.pieces(stream, part, whole[-1].position)
        assert [(p.rows, p.last) for p in end] == [(0, True)]


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bigint", "i - 250"),
        ("numeric", "i / 7.0"),
        ("double precision", "i / 7.0 - 20"),
        ("uuid", "md5(i::text)::uuid"),
        ("date", "date '0002-01-01 BC' + i"),
        ("timestamp", "timestamp '0001-01-01 BC' + i * interval '17 h 0.000003 s'"),
        ("text", "chr(40 + i % 80) || i || E'''\\\\\\n'"),
    ],
)
def test_any_key_orders_and_resumes(database: Any, shop: Any, kind: str, value: str) -> None:
    database.run(f"""
        CREATE TABLE orders (k {kind} PRIMARY KEY, n int, filler text);
        INSERT INTO orders SELECT {value}, i, repeat('x', 80) FROM generate_series(1, 300) AS i;
        ANALYZE orders""")
    stream = shop.stream()
    (part,) = shop.plan(stream).slices
    assert part.resumable
    whole = shop.pieces(stream, part)
    assert len(whole) > 3
    rows = [row for piece in whole for row in shop.contents(piece)]
    assert sorted(int(row[1]) for row in rows) == list(range(1, 301))
    for n, piece in ((0, whole[0]), (len(whole) - 2, whole[-2])):
        on = shop.pieces(stream, part, piece.position)
        assert sum(p.rows for p in on) == sum(p.rows for p in whole[n + 1 :])


@pytest.mark.usefixtures("small_pieces")
def test_a_cursor_that_is_converted_resumes_by_what_the_server_stores(
    database: Any, make_shop: Any
) -> None:
    """In the hour that Berlin has twice, two stored times are one moment's neighbours."""
    database.run("""
        CREATE TABLE orders (id int PRIMARY KEY, at timestamp, note text);
        INSERT INTO orders SELECT i, timestamp '2024-10-27 01:30' + i * interval '20 s',
            repeat('x', 60) FROM generate_series(1, 400) AS i""")
    shop = make_shop(naive_timestamps="Europe/Berlin")
    stream = shop.stream(cursor="at")
    (part,) = shop.plan(stream, "2024-10-27T01:40:00").slices
    whole = shop.pieces(stream, part)
    assert len(whole) > 3
    rows = [shop.contents(piece) for piece in whole]
    assert sorted(ids([row for found in rows for row in found])) == list(range(31, 401))
    for n, piece in enumerate(whole[:-1]):
        rest = [r for p in shop.pieces(stream, part, piece.position) for r in shop.contents(p)]
        assert rest == [row for found in rows[n + 1 :] for row in found]


@pytest.mark.usefixtures("small_pieces")
def test_infinity_as_a_key_resumes(database: Any, shop: Any) -> None:
    database.run("""
        CREATE TABLE orders (k timestamp, n int, PRIMARY KEY (n, k));
        INSERT INTO orders SELECT CASE i % 3 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity'
            ELSE timestamp '294276-01-01' END, i FROM generate_series(1, 500) AS i""")
    stream = shop.stream()
    (part,) = shop.plan(stream).slices
    whole = shop.pieces(stream, part)
    assert len(whole) > 2
    for n, piece in ((0, whole[0]), (len(whole) - 2, whole[-2])):
        on = shop.pieces(stream, part, piece.position)
        assert sum(p.rows for p in on) == sum(p.rows for p in whole[n + 1 :])


def test_rows_that_do_not_lie_in_key_order_are_read_in_none(
    database: Any, shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.sources.postgres_catalog._SMALL_ROWS", 10)
    database.run("""
        CREATE TABLE orders (id int PRIMARY KEY);
        INSERT INTO orders SELECT i FROM generate_series(1, 1000) AS i ORDER BY md5(i::text);
        ANALYZE orders;
        CREATE TABLE tidy (id int PRIMARY KEY);
        INSERT INTO tidy SELECT i FROM generate_series(1, 1000) AS i; ANALYZE tidy""")
    window = shop.plan(shop.stream())
    assert [part.resumable for part in window.slices] == [False]
    assert any("do not lie in the order of id" in note for note in window.notes)
    assert len(shop.read(shop.stream(), window)) == 1000
    assert shop.plan(shop.stream("tidy")).slices[0].resumable


def test_without_a_key_of_the_databases_own_nothing_resumes(orders: Any, shop: Any) -> None:
    """A declared key may not be unique: rows that tie at the end of a piece would be lost."""
    orders.run("CREATE VIEW shown AS SELECT * FROM orders; CREATE TABLE loose AS TABLE orders")
    for stream in (
        shop.stream("shown", primary_key=("id",)),
        shop.stream("loose", primary_key=("id",), cursor="at"),
        shop.stream(None, query="SELECT * FROM orders", primary_key=("id",)),
    ):
        (part,) = shop.plan(stream).slices
        assert not part.resumable
        (piece,) = shop.pieces(stream, part)
        assert (piece.rows, piece.position, piece.last) == (500, None, True)


@pytest.mark.parametrize("by", ["id", "note", "at", "amount"])
def test_parallel_slices_hold_every_row_once(orders: Any, shop: Any, by: str) -> None:
    orders.run("""
        ALTER TABLE orders ADD amount numeric;
        UPDATE orders SET amount = id / 3.0, note = nullif(note, '')""")
    stream = shop.stream(parallel_by=by, slices=4)
    window = shop.plan(stream)
    assert len(window.slices) == 4
    orders.run("""
        INSERT INTO orders VALUES (-5, '-infinity', ''), (100000, 'infinity', '~~~'),
            (100001, NULL, NULL)""")
    counts = [sum(p.rows for p in shop.pieces(stream, part)) for part in window.slices]
    assert sum(counts) == 503
    assert min(counts) > 50
    assert sorted(ids(shop.read(stream, window))) == [-5, *range(1, 501), 100_000, 100_001]


@pytest.mark.usefixtures("small_pieces")
def test_parallel_slices_of_a_window_resume(orders: Any, shop: Any) -> None:
    stream = shop.stream(cursor="at", parallel_by="id", slices=3)
    window = shop.plan(stream, "2024-01-01T00:00:05+00:00")
    found = []
    for part in window.slices:
        first, *_ = shop.pieces(stream, part)
        found += shop.contents(first)
        for piece in shop.pieces(stream, part, first.position):
            found += shop.contents(piece)
    expected = orders.run("SELECT id FROM orders WHERE at > '2024-01-01 00:00:05+00'")
    assert sorted(ids(found)) == sorted(ids(expected))


def test_a_table_too_small_to_cut_has_one_slice(database: Any, shop: Any) -> None:
    database.run("CREATE TABLE orders AS SELECT 1 AS id, 'x' AS note")
    for by in ("id", "note"):
        stream = shop.stream(parallel_by=by, slices=8)
        assert shop.read(stream) == [("1", "x")]


def test_where_and_query_take_bound_variables(orders: Any, shop: Any) -> None:
    stream = shop.stream(
        where="id > $low -- and so on", vars={"low": "495", "lo": "0"}, include=("id",)
    )
    assert ids(shop.read(stream)) == [496, 497, 498, 499, 500]
    query = shop.stream(
        None, query="SELECT '$low' AS a, $low AS b, $$ $low $$ AS c;\n", vars={"low": "it's"}
    )
    assert shop.read(query) == [("$low", "it's", " $low ")]


def test_an_excluded_column_never_leaves_the_source(orders: Any, shop: Any) -> None:
    stream = shop.stream(exclude=("note", "id"))
    (part,) = shop.plan(stream).slices
    (piece,) = shop.pieces(stream, part)
    assert [f.name for f in piece.fields] == ["at"]
    assert list(shop.physical(piece)) == ["at"]
    assert piece.position is None
    user = f"{orders.name}_reader"
    orders.run(f"CREATE ROLE {user} LOGIN; GRANT SELECT (id, at) ON orders TO {user}")
    try:
        table = shop.source.describe(shop.stream(exclude=("note",)))
        assert [f.name for f in table.fields] == ["id", "at"]
    finally:
        orders.run(f"DROP OWNED BY {user}; DROP ROLE {user}")


def test_a_limit_holds_for_all_slices_and_after_resuming(
    orders: Any, shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(shop.read(shop.stream(limit_rows=10, parallel_by="id", slices=4))) == 12
    monkeypatch.setattr(postgres_session, "BATCH_BYTES", SMALL)
    stream = shop.stream(limit_rows=400)
    (part,) = shop.plan(stream).slices
    first, *rest = shop.pieces(stream, part)
    assert rest
    on = shop.pieces(stream, part, first.position)
    assert first.rows + sum(piece.rows for piece in on) == 400


def test_hostile_and_odd_names_are_only_names(database: Any, shop: Any) -> None:
    name = 'Od"d; drop table x --'
    database.run(f"""
        CREATE SCHEMA "my.schema";
        CREATE TABLE "my.schema"."Order" ("select" int PRIMARY KEY,
            "{name.replace('"', '""')}" text, "MixedCase" timestamptz, "ключ" int);
        INSERT INTO "my.schema"."Order" VALUES (1, 'a', '2024-01-01', 5)""")
    for table in ("my.schema.Order", '"my.schema"."Order"'):
        stream = shop.stream(table, cursor="MixedCase", parallel_by="select", slices=2)
        window = shop.plan(stream)
        assert shop.read(stream, window) == [("1", "a", "2024-01-01 00:00:00+00", "5")]
        found = shop.source.describe(stream)
        assert (found.primary_key, found.fields[1].name) == (("select",), name)


def test_a_source_column_may_be_called_like_our_table(database: Any, shop: Any) -> None:
    database.run("CREATE TABLE orders AS SELECT 1 AS batch, 2 AS value, 3 AS c0")
    assert shop.read(shop.stream()) == [("1", "2", "3")]


def test_what_a_slice_reads_is_greatest_known(orders: Any, shop: Any) -> None:
    stream = shop.stream(cursor="at")
    (part,) = shop.plan(stream).slices
    (piece,) = shop.pieces(stream, part)
    ((greatest,),) = orders.run("SET timezone = 'UTC'; SELECT max(at) FROM orders")
    assert piece.cursor_max == greatest
    (part,) = shop.plan(shop.stream(cursor="id")).slices
    (piece,) = shop.pieces(shop.stream(cursor="id"), part)
    assert piece.cursor_max == 500


def test_a_dropped_table_is_rejected_with_the_nearest_name(orders: Any, shop: Any) -> None:
    (part,) = shop.plan(shop.stream()).slices
    orders.run("ALTER TABLE orders RENAME TO orders2")
    with pytest.raises(Rejected) as caught:
        shop.pieces(shop.stream(), part)
    assert "there is no table orders" in str(caught.value)
    assert "did you mean orders2?" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"exclude": ("nota",)}, 'did you mean note?'),
        ({"cursor": "At"}, "did you mean at?"),
        ({"cursor": "at", "exclude": ("at",)}, "take at out of exclude"),
        ({"include": ()}, ""),
        ({"table": "ordres"}, "did you mean orders?"),
        ({"table": None, "query": "SELECT 1 AS a, 2 AS a"}, 'two columns "a"'),
        ({"table": None, "query": "SELECT 1 AS a, 2 AS \"A\""}, "have one name"),
        ({"table": None, "query": "SELECT * FROM nothing"}, "nothing"),
        ({"table": None, "query": "SELECT FROM orders"}, "no columns"),
        ({"table": None, "query": "SELECT 1; SELECT 2"}, "refused"),
        ({"table": None, "query": "INSERT INTO orders VALUES (9999) RETURNING id"}, "refused"),
        ({"where": "nope = 1"}, "nope"),
        ({"table": "bare"}, "no columns"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_clearly(
    orders: Any, shop: Any, options: dict[str, Any], said: str
) -> None:
    orders.run("CREATE TABLE bare ()")
    stream = shop.stream(**options)
    if not said:
        assert shop.read(stream)
        return
    with pytest.raises(Rejected) as caught:
        shop.read(stream)
    assert said in str(caught.value)


def test_an_error_in_the_middle_of_an_answer_is_rejected(database: Any, shop: Any) -> None:
    query = "SELECT 1 / (200000 - n) AS x FROM generate_series(1, 300000) AS n"
    stream = shop.stream(None, query=query)
    (part,) = shop.plan(stream).slices
    with pytest.raises(Rejected, match="refused") as caught:
        shop.pieces(stream, part)
    assert "division by zero" in str(caught.value)


def test_a_connection_that_is_lost_in_the_middle_is_transient(
    database: Any, shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_session, "BATCH_BYTES", 500_000)
    stream = shop.stream(None, query="SELECT repeat('x', 1000) FROM generate_series(1, 30000)")
    (part,) = shop.plan(stream).slices
    pieces = shop.source.read(stream, part, None, shop.folder)
    next(pieces)
    database.run("""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'penstock-extract' AND datname = current_database()""")
    with pytest.raises(Transient):
        list(pieces)
    database.run("CREATE TABLE after (id int)")
    with pytest.raises(Transient):
        shop.source.describe(shop.stream("after"))
    assert shop.source.describe(shop.stream("after")).name == "public.after"


def test_a_statement_that_takes_too_long_is_transient(database: Any, make_shop: Any) -> None:
    shop = make_shop(statement_timeout=0.05)
    query = "SELECT count(*) FROM generate_series(1, 100000000)"
    (part,) = shop.plan(shop.stream(None, query=query)).slices
    with pytest.raises(Transient, match="statement_timeout"):
        shop.pieces(shop.stream(None, query=query), part)


def test_a_reader_that_is_dropped_leaves_no_query_behind(database: Any, shop: Any) -> None:
    stream = shop.stream(None, query="SELECT generate_series(1, 100000000) AS n")
    (part,) = shop.plan(stream).slices
    pieces = shop.source.read(stream, part, None, shop.folder)
    next(pieces)
    pieces.close()
    readers = """SELECT count(*) FROM pg_stat_activity WHERE state = 'active'
        AND application_name = 'penstock-extract' AND datname = current_database()"""
    while database.run(readers) != [("0",)]:
        pass
    assert shop.source.describe(stream).fields


def test_other_threads_go_on_while_the_server_thinks(database: Any, make_shop: Any) -> None:
    """The server cannot answer before another thread of ours lets it."""
    shop = make_shop(statement_timeout=30)
    query = """SELECT CASE n WHEN 90000 THEN pg_advisory_lock(4711)::text ELSE 'free' END AS gate
        FROM generate_series(1, 100000) AS n"""
    stream = shop.stream(None, query=query)
    (part,) = shop.plan(stream).slices
    holder = postgres_session.Session(shop.source._login)
    holder.open()
    holder.rows("SELECT pg_advisory_lock(4711) IS NULL")
    done: list[int] = []
    reader = threading.Thread(
        target=lambda: done.extend(p.rows for p in shop.pieces(stream, part)), daemon=True
    )
    reader.start()
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    while database.run(waiting) == [("0",)]:
        assert reader.is_alive()
    holder.close()
    reader.join(30)
    assert sum(done) == 100_000


def test_at_most_concurrency_readers_read(
    database: Any, make_shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.sources.postgres._BUSY_S", 0.0)
    shop = make_shop(concurrency=2)
    stream = shop.stream(None, query="SELECT generate_series(1, 3000000) AS n")
    (part,) = shop.plan(stream).slices
    first, second, third = (shop.source.read(stream, part, None, shop.folder) for _ in range(3))
    next(first)
    next(second)
    with pytest.raises(Transient, match="every connection"):
        next(third)
    first.close()
    fourth = shop.source.read(stream, part, None, shop.folder)
    assert next(fourth).rows > 0
    second.close()
    fourth.close()


def test_a_position_is_bound_as_a_value(orders: Any, shop: Any) -> None:
    from penstock.sources.postgres_catalog import relation_of

    with postgres_session.Session(shop.source._login) as session:
        relation = relation_of(session, shop.stream(), None)
    part = Slice(0, {"lo": None, "hi": None, "order": ["id"], "range": None, "limit": None})
    sql = select_sql(relation, shop.stream(), part, {"after": ["1'; DROP"], "rows": 1})
    assert "'1''; DROP'::pg_catalog.int4" in sql
