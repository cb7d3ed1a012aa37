from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.errors import SpecError
from penstock.pipeline import Column, Load, Stream
from penstock.spec.check import warnings
from penstock.spec.streams import expand, select, settle_write

from .conftest import Load as LoadFile

ORDERS = Stream("orders", "db", Load("s", "orders", "replace"), table="public.orders")
PATTERN = Stream(
    "shop",
    "db",
    Load("s", "{source}_{table}", "replace"),
    tables=("public.*",),
    exclude_tables=("*_tmp",),
    auto_write=True,
)


def refusal(stream: Stream, key: tuple[str, ...] = ()) -> str:
    with pytest.raises(SpecError) as caught:
        settle_write(stream, key)
    return str(caught.value)


# ---- write


@pytest.mark.parametrize(
    ("declared", "database", "cursor", "write", "reason"),
    [
        ((), (), None, "replace", "no primary key"),
        ((), (), "at", "replace", "no primary key"),
        (("id",), (), None, "replace", "no cursor"),
        (("id",), (), "at", "merge", "id (declared)"),
        ((), ("id", "no"), "at", "merge", "id, no (the database's)"),
        (("a",), ("b",), "at", "merge", "a (declared)"),
    ],
)
def test_auto_merges_by_key_and_cursor_and_else_replaces(
    declared: tuple[str, ...],
    database: tuple[str, ...],
    cursor: str | None,
    write: str,
    reason: str,
) -> None:
    stream = replace(ORDERS, auto_write=True, primary_key=declared, cursor=cursor, version=cursor)
    settled, why = settle_write(stream, database)
    assert (settled.load.write, settled.auto_write) == (write, False)
    assert settled.primary_key == (declared or database)
    assert settled.cursor == (cursor if write == "merge" else None)
    assert reason in why


def test_auto_appends_files() -> None:
    stream = Stream("sales", "up", Load("s", "t", "replace"), files="*.csv", auto_write=True)
    settled, why = settle_write(replace(stream, primary_key=("id",)))
    assert settled.load.write == "append"
    assert "replace" in why


def test_a_declared_write_stays_and_takes_the_key_of_the_database() -> None:
    settled, why = settle_write(replace(ORDERS, load=Load("s", "t", "merge")), ("id",))
    assert (settled.load.write, settled.primary_key) == ("merge", ("id",))
    assert why == "merge: the file says so"


def test_the_key_of_the_database_is_used_by_its_output_name_and_only_if_read() -> None:
    stream = replace(
        ORDERS, auto_write=True, cursor="at", columns=(Column("id", source="order_id"),)
    )
    assert settle_write(stream, ("order_id",))[0].primary_key == ("id",)
    assert settle_write(replace(stream, exclude=("order_id",)), ("order_id",))[0].primary_key == ()
    assert settle_write(replace(stream, include=("at",)), ("order_id",))[0].primary_key == ()


def test_what_only_the_database_could_allow_is_refused_once_it_has_answered() -> None:
    merge = replace(ORDERS, load=Load("s", "t", "merge"))
    assert "merge needs a primary key" in refusal(merge)
    append = replace(ORDERS, load=Load("s", "t", "append"), cursor="id", lookback=5.0)
    assert "append with lookback needs a primary key" in refusal(append)
    assert settle_write(append, ("id",))[0].load.write == "append"
    masked = replace(merge, columns=(Column("id", mask="hash"),))
    assert 'a mask on the key column "id" needs a hash key' in refusal(masked, ("id",))
    keyed = replace(merge, columns=(Column("id", mask="hash", key="${secret:k}"),))
    assert settle_write(keyed, ("id",))[0].primary_key == ("id",)


def test_the_version_of_a_merge_cannot_be_masked() -> None:
    stream = replace(
        ORDERS,
        load=Load("s", "t", "merge"),
        primary_key=("id",),
        version="at",
        columns=(Column("at", mask="hash"),),
    )
    assert '"at" decides which row is newest' in refusal(stream)


def test_auto_waits_for_the_database_only_where_it_can_answer(load: LoadFile) -> None:
    streams = {
        s.name: (s.load.write, s.auto_write, s.version)
        for s in load(
            """
streams:
  known: {from: {source: db, table: a, cursor: at}, primary_key: [id],
          columns: {changed: {from: at}}}
  asked: {from: {source: db, table: b, cursor: at}}
  query: {from: {source: db, query: select 1, cursor: at}}
  files: {from: {source: up, files: "*.csv"}}
  every: {from: {source: db, tables: ["x.*"]}}
"""
        ).streams
    }
    assert streams == {
        "known": ("merge", False, "changed"),
        "asked": ("replace", True, "at"),
        "query": ("replace", False, "at"),
        "files": ("append", False, None),
        "every": ("replace", True, None),
    }


# ---- patterns


def names(streams: tuple[Stream, ...]) -> list[str]:
    return [stream.name for stream in streams]


def test_a_pattern_becomes_a_stream_per_table_named_after_its_entry() -> None:
    tables = ["public.b", "public.a", "public.x_tmp", "crm.a"]
    parts = expand(PATTERN, tables, [PATTERN, ORDERS])
    assert names(parts) == ["shop.a", "shop.b"]
    assert [(p.table, p.load.target, p.tables) for p in parts] == [
        ("public.a", "s.db_a", ()),
        ("public.b", "s.db_b", ()),
    ]


def test_a_named_table_leaves_every_pattern_with_or_without_its_schema() -> None:
    tables = ["public.orders", "public.items"]
    assert names(expand(PATTERN, tables, [PATTERN, ORDERS])) == ["shop.items"]
    bare = replace(ORDERS, table="orders")
    assert names(expand(PATTERN, tables, [PATTERN, bare])) == ["shop.items"]
    elsewhere = replace(ORDERS, source="other")
    assert names(expand(PATTERN, tables, [PATTERN, elsewhere])) == ["shop.items", "shop.orders"]


def test_parts_of_a_pattern_that_were_expanded_before_do_not_leave_it() -> None:
    parts = expand(PATTERN, ["public.a"], [PATTERN])
    assert names(expand(PATTERN, ["public.a"], [PATTERN, *parts])) == ["shop.a"]


def test_a_pattern_that_matches_nothing_names_near_tables() -> None:
    with pytest.raises(SpecError) as caught:
        expand(replace(PATTERN, tables=("pubic.ordrs",)), ["public.orders"], [PATTERN])
    assert "matches no table of db" in str(caught.value)
    assert 'did you mean "public.orders"?' in str(caught.value)


def test_a_glob_without_a_dot_is_about_the_table_alone() -> None:
    stream = replace(PATTERN, tables=("ord*",))
    assert names(expand(stream, ["public.orders", "order.x"], [stream])) == ["shop.orders"]


def test_two_patterns_on_one_table_are_an_error() -> None:
    other = replace(
        PATTERN, name="more", tables=("*.orders",), load=Load("m", "{table}", "replace")
    )
    with pytest.raises(SpecError, match=r'two patterns take the table "public\.orders"'):
        expand(PATTERN, ["public.orders", "public.a"], [PATTERN, other])
    assert expand(PATTERN, ["public.orders"], [PATTERN, other, ORDERS]) == ()


def test_two_tables_that_would_have_one_name_are_an_error() -> None:
    stream = replace(PATTERN, tables=("*",))
    with pytest.raises(SpecError, match=r"crm\.a and public\.a would both be shop\.a"):
        expand(stream, ["public.a", "crm.a"], [stream])


def test_a_part_cannot_load_the_table_of_another_stream() -> None:
    other = Stream("x", "db", Load("s", "db_a", "replace"), query="select 1")
    with pytest.raises(SpecError, match=r"x and shop\.a both load s\.db_a"):
        expand(PATTERN, ["public.a"], [PATTERN, other])


def test_a_hostile_table_name_makes_a_harmless_stream_name() -> None:
    parts = expand(PATTERN, ["public.a/../b c"], [PATTERN])
    assert names(parts) == ["shop._b_c"] or "/" not in parts[0].name
    assert parts[0].table == "public.a/../b c"


# ---- select

STREAMS = (
    replace(ORDERS, tags=("finance",)),
    replace(ORDERS, name="shop.a"),
    replace(ORDERS, name="shop.b", tags=("finance", "slow")),
    replace(ORDERS, name="items"),
)


@pytest.mark.parametrize(
    ("chosen", "excluded", "expected"),
    [
        ([], [], ["orders", "shop.a", "shop.b", "items"]),
        (["orders"], [], ["orders"]),
        (["shop.*"], [], ["shop.a", "shop.b"]),
        (["shop"], [], ["shop.a", "shop.b"]),
        (["tag:finance", "items"], ["shop.b"], ["orders", "items"]),
        (["tag:s*"], [], ["shop.b"]),
        ([], ["tag:finance"], ["shop.a", "items"]),
    ],
)
def test_streams_are_selected_by_name_glob_and_tag(
    chosen: list[str], excluded: list[str], expected: list[str]
) -> None:
    assert names(select(STREAMS, chosen, excluded)) == expected


@pytest.mark.parametrize(
    ("chosen", "excluded", "hint"),
    [(["ordrs"], [], "orders"), (["tag:finanz"], [], "tag:finance"), ([], ["itms"], "items")],
)
def test_what_selects_nothing_is_an_error_with_near_names(
    chosen: list[str], excluded: list[str], hint: str
) -> None:
    with pytest.raises(SpecError, match="selects no stream") as caught:
        select(STREAMS, chosen, excluded)
    assert f'did you mean "{hint}"' in str(caught.value)


# ---- warnings


def test_what_holds_but_not_as_one_might_think_is_said(load: LoadFile) -> None:
    pipeline = load(
        """
streams:
  a:
    from: {source: db, table: a, cursor: at}
    primary_key: [id]
    columns: {email: {mask: redact}, phone: {type: varchar}}
  b:
    from: {source: db, table: b, cursor: at}
    load: {write: replace}
""",
        head="version: 1\npipeline: p\nsources: {db: {type: postgres, host: h, password: x}, "
        'up: {type: postgres, host: h, password: "${secret:x}"}}\n',
    )
    assert [problem.what for problem in warnings(pipeline)] == [
        "raw files keep what the mask of email hides",
        'deleted rows stay: the cursor "at" does not see deletes',
        'the cursor "at" is not used: replace reads in full',
        "the password stands in the file as plain text",
    ]
