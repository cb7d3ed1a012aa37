"""Every common type comes through exactly: what psql prints is what raw holds."""

from __future__ import annotations

import datetime
import math
import uuid
from itertools import zip_longest
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from penstock.errors import Rejected

AS_PRINTED = [
    ("smallint", "smallint", ["-32768", "32767", "0"]),
    ("integer", "integer", ["-2147483648", "2147483647"]),
    ("bigint", "bigint", ["-9223372036854775808", "9223372036854775807"]),
    ("oid", "bigint", ["4294967295", "1"]),
    ("boolean", "boolean", ["true", "false"]),
    ("numeric(12,2)", "decimal(12,2)", ["1234567890.12", "-0.01", "0.00", "NaN"]),
    ("numeric(38,0)", "decimal(38,0)", ["9" * 38, "-" + "9" * 38]),
    ("numeric(39,0)", "varchar", ["9" * 39]),
    ("numeric(3,-2)", "decimal(5,0)", ["99900", "100"]),
    ("numeric(3,5)", "decimal(5,5)", ["0.00999"]),
    ("numeric", "varchar", ["1" + "0" * 200 + ".001", "NaN", "Infinity", "-Infinity"]),
    ("text", "varchar", ["", " ", "it''s \\ \" \t \n €😀", "NULL"]),
    ("varchar(5)", "varchar", ["abcde", "€€€€€"]),
    ("char(2)", "varchar", ["ab"]),
    ("name", "varchar", ["pg_class"]),
    ('"char"', "varchar", ["x"]),
    ("uuid", "varchar", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("json", "json", ['{"a" : 1,  "a": 2.50}', "null", '"x"']),
    ("jsonb", "json", ['{"b": [1, 2.50, null], "a": 123456789012345678901234567890.5}']),
    ("date", "date", ["2024-02-29", "0001-01-01", "9999-12-31", "5874897-12-31", "4713-01-01 BC"]),
    ("time", "time", ["00:00:00", "23:59:59.999999", "24:00:00"]),
    ("timetz", "varchar", ["12:00:00.5+01", "23:59:59.999999-11:30"]),
    ("interval", "varchar", ["1 year 2 mons 3 days 04:05:06.789", "-1 mon", "0"]),
    ("timestamp", "timestamp", ["2024-02-29 12:34:56.789012", "0001-01-01 00:00:00"]),
    ("timestamptz", "timestamptz", ["2024-02-29 12:34:56.789012+05:30"]),
    ("money", "varchar", []),
    ("inet", "varchar", ["192.168.0.1/24", "::1"]),
    ("cidr", "varchar", ["10.0.0.0/8"]),
    ("macaddr", "varchar", ["08:00:2b:01:02:03"]),
    ("bit(3)", "varchar", ["101"]),
    ("varbit", "varchar", ["10101"]),
    ("point", "varchar", ["(1.5,-2)"]),
    ("box", "varchar", ["(3,4),(1,2)"]),
    ("int4range", "varchar", ["[1,5)", "empty"]),
    ("tstzmultirange", "varchar", ['{["2024-01-01 00:00:00+00","2024-01-02 00:00:00+00")}']),
    ("tsvector", "varchar", ["a fat cat"]),
    ("jsonpath", "varchar", ["$.a[*]"]),
    ("pg_lsn", "varchar", ["16/B374D848"]),
    ("xid8", "varchar", ["18446744073709551615"]),
    ("regclass", "varchar", ["pg_class"]),
    ("mood", "varchar", ["sad", "it is ''fine''"]),
    ("positive", "decimal(8,3)", ["12345.678"]),
    ("email", "varchar", ["a@b"]),
]  # fmt: skip


def as_psql(text: str | None) -> str | None:
    """DuckDB writes (BC) behind the date, Postgres BC behind everything."""
    if text is None or "(BC)" not in text:
        return text
    return text.replace(" (BC)", "") + " BC"


def test_every_type_comes_through_as_psql_prints_it(database: Any, shop: Any) -> None:
    statements = [
        "CREATE TYPE mood AS ENUM ('sad', 'it is ''fine''')",
        "CREATE DOMAIN amount AS numeric(8,3)",
        "CREATE DOMAIN positive AS amount CHECK (VALUE > 0)",
        "CREATE DOMAIN email AS text",
        "SET intervalstyle = 'iso_8601'",
        "SET timezone = 'UTC'",
    ]
    depth = max(len(values) for _, _, values in AS_PRINTED)
    names = [f"c{i}" for i in range(len(AS_PRINTED))]
    columns = ", ".join(f"c{i} {kind}" for i, (kind, _, _) in enumerate(AS_PRINTED))
    statements.append(f"CREATE TABLE orders (n int PRIMARY KEY, {columns})")
    for n in range(depth + 1):
        row = [f"'{values[n]}'" if n < len(values) else "NULL" for _, _, values in AS_PRINTED]
        statements.append(f"INSERT INTO orders VALUES ({n}, {', '.join(row)})")
    statements.append(
        f"SELECT {', '.join(f'{name}::text' for name in names)} FROM orders ORDER BY n"
    )
    printed = list(zip(*database.run(";".join(statements)), strict=True))
    stream = shop.stream(exclude=("n",))
    found = list(zip(*shop.read(stream), strict=True))
    types = shop.types(stream)
    assert types == shop.types(shop.stream(None, query=f"SELECT {', '.join(names)} FROM orders"))
    wrong = {
        kind: (ours, theirs, types[name])
        for name, ours, theirs, (kind, logical, _) in zip(
            names, found, printed, AS_PRINTED, strict=True
        )
        if tuple(as_psql(text) for text in ours) != theirs or types[name] != logical
    }
    assert not wrong


def test_padding_stays(database: Any, shop: Any) -> None:
    database.run("CREATE TABLE orders AS SELECT 'ab'::char(4) AS c")
    assert shop.read(shop.stream()) == [("ab  ",)]


def test_money_does_not_depend_on_the_locale(database: Any, shop: Any) -> None:
    database.run("CREATE TABLE orders AS SELECT '$1,234.50'::money AS c")
    assert shop.read(shop.stream()) == [("1234.50",)]


def test_arrays_and_rows_are_json(database: Any, shop: Any) -> None:
    database.run("""
        CREATE TYPE place AS (street text, number int);
        CREATE TABLE orders AS SELECT ARRAY[1, NULL, 3] AS a, ARRAY[['x"', 'y'], ['', NULL]] AS b,
            ROW('Main', 5)::place AS c, ARRAY[ROW('a', 1)::place] AS d, '{}'::uuid[] AS e""")
    stream = shop.stream()
    assert set(shop.types(stream).values()) == {"json"}
    assert shop.read(stream) == [
        (
            "[1,null,3]", '[["x\\"","y"],["",null]]', '{"street":"Main","number":5}',
            '[{"street":"a","number":1}]', "[]",
        )
    ]  # fmt: skip


def test_floats_keep_every_bit(database: Any, shop: Any) -> None:
    database.run("""
        CREATE TABLE orders (r real, d double precision);
        INSERT INTO orders VALUES (3.4028235e38, 1.7976931348623157e308), (1e-45, 5e-324),
            ('NaN', 'NaN'), ('Infinity', '-Infinity'), (0.1, 0.1), ('-0', '-0')""")
    stream = shop.stream()
    assert shop.types(stream) == {"r": "real", "d": "double"}
    for read, printed in zip(shop.read(stream), database.run("TABLE orders"), strict=True):
        for ours, theirs in zip(read, printed, strict=True):
            assert repr(float(ours)) == repr(float(theirs))
    assert math.isnan(float(shop.read(stream)[2][0]))


def test_bytes_stay_bytes(database: Any, shop: Any) -> None:
    database.run("""CREATE TABLE orders AS SELECT '\\x00ff275c'::bytea AS c UNION ALL SELECT ''""")
    stream = shop.stream()
    assert shop.types(stream) == {"c": "binary"}
    (part,) = shop.plan(stream).slices
    (piece,) = shop.pieces(stream, part)
    assert shop.physical(piece) == {"c": "BLOB"}
    assert shop.contents(piece) == [("\\x00\\xFF\\x27\\x5C",), ("",)]


EDGES = [
    "infinity", "-infinity", "294276-12-31 23:59:59.999999", "294247-01-10 04:00:54.775806",
    "294247-01-10 04:00:54.775807", "294247-01-10 04:00:54.775808", "294247-01-10 04:00:54.775809",
    "294247-01-10 04:00:54.77581", "4714-11-24 00:00:00 BC", "2024-02-29 12:00:00",
]  # fmt: skip


DAYS = ["infinity", "-infinity", "5874897-12-31", "4714-11-24 BC", "2024-02-29"]


def test_what_is_out_of_range_becomes_text_and_nothing_else(database: Any, shop: Any) -> None:
    edges = [(edge, edge, day) for edge, day in zip_longest(EDGES, DAYS, fillvalue="2024-02-29")]
    statements = ["SET timezone = 'UTC'", "CREATE TABLE printed (n serial, a text, b text, c text)"]
    for n, (a, b, c) in enumerate(edges):
        b = b.replace(
            "294247-01-10 04:00:54.775806", "294246-12-31 23:59:59"
        )  # (DuckDB misprints it)
        statements += [
            f"CREATE TABLE t{n} AS SELECT timestamp '{a}' a, timestamptz '{b}' b, date '{c}' c",
            f"INSERT INTO printed (a, b, c) SELECT a, b, c FROM t{n}",
        ]
    statements.append("SELECT a, b, c FROM printed ORDER BY n")
    wrong = {}
    for n, row in enumerate(database.run(";".join(statements))):
        (read,) = shop.read(shop.stream(f"t{n}"))
        if tuple(map(as_psql, read)) != row:
            wrong[row] = read
    assert not wrong


def test_only_the_column_with_a_value_out_of_range_becomes_text(database: Any, shop: Any) -> None:
    database.run("""CREATE TABLE orders AS
        SELECT timestamp 'infinity' AS a, timestamp '2024-01-01' AS b, NULL::numeric(5,2) AS c""")
    stream = shop.stream()
    (part,) = shop.plan(stream).slices
    (piece,) = shop.pieces(stream, part)
    assert shop.physical(piece) == {"a": "VARCHAR", "b": "TIMESTAMP", "c": "VARCHAR"}


def test_zoneless_timestamps_become_moments_of_the_sources_zone(
    database: Any, make_shop: Any
) -> None:
    database.run("""CREATE TABLE orders AS SELECT timestamp '2024-07-01 12:00' AS summer,
        timestamp '2024-01-01 12:00' AS winter, timestamp 'infinity' AS never""")
    shop = make_shop(naive_timestamps="Europe/Berlin")
    stream = shop.stream()
    assert set(shop.types(stream).values()) == {"timestamptz"}
    assert shop.read(stream) == [
        ("2024-07-01 10:00:00+00", "2024-01-01 11:00:00+00", "infinity")
    ]  # fmt: skip


def test_ten_megabytes_in_one_field_come_through(database: Any, shop: Any) -> None:
    database.run("CREATE TABLE orders AS SELECT repeat('0123456789', 1000000) AS c")
    assert shop.read(shop.stream()) == [("0123456789" * 1_000_000,)]


def test_a_database_in_another_encoding_is_read_as_text(
    database: Any, make_shop: Any, request: Any
) -> None:
    name = f"{database.name}_latin1"
    database.run(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    request.addfinalizer(lambda: database.run(f"DROP DATABASE {name} WITH (FORCE)"))
    database.server.psql("CREATE TABLE orders AS SELECT chr(233) AS c", name)
    assert make_shop(database=name).read(make_shop().stream()) == [("é",)]


# Postgres keeps no NUL and no half of a surrogate pair.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NUMERIC = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True).filter(lambda d: not d.is_snan()).map(str),
    st.from_regex(r"-?[0-9]{1,60}(\.[0-9]{1,40})?", fullmatch=True),
)
ANY_ROW = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    NUMERIC,
    st.decimals(-10**10, 10**10, places=2).map(str),
    st.floats(),
    TEXT,
    st.datetimes().map(str),
    st.datetimes(timezones=st.just(datetime.UTC)).map(str),
    st.dates().map(str),
    st.times().map(str),
    st.uuids().map(str),
    st.binary(max_size=20).map(lambda b: "\\x" + b.hex()),
)  # fmt: skip
KINDS = (
    "bigint", "numeric", "numeric(14,2)", "double precision", "text", "timestamp", "timestamptz",
    "date", "time", "uuid", "bytea",
)  # fmt: skip


HEXED = {
    "bytea": "upper(encode(c{i}, 'hex'))",
    "text": "upper(encode(convert_to(c{i}, 'UTF8'), 'hex'))",
}


def quoted(value: object) -> str:
    text = repr(value) if isinstance(value, float) else str(value)
    text = text.removeprefix("-") if text == "-NaN" else text
    return "'" + text.replace("'", "''") + "'"


@settings(
    max_examples=10,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # shrinking would ask a server thousands of times
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=st.lists(ANY_ROW, min_size=1, max_size=60))
def test_any_row_comes_through(database: Any, shop: Any, rows: list[tuple[Any, ...]]) -> None:
    table = f"t{uuid.uuid4().hex}"
    columns = ", ".join(f"c{i} {kind}" for i, kind in enumerate(KINDS))
    values = ", ".join(f"({n}, {', '.join(map(quoted, row))})" for n, row in enumerate(rows))
    hexed = ", ".join(HEXED.get(kind, "c{i}::text").format(i=i) for i, kind in enumerate(KINDS))
    printed = database.run(f"""
        SET timezone = 'UTC'; CREATE TABLE {table} (n int PRIMARY KEY, {columns});
        INSERT INTO {table} VALUES {values}; SELECT n, {hexed} FROM {table} ORDER BY n""")
    (part,) = shop.plan(shop.stream(table)).slices
    (piece,) = shop.pieces(shop.stream(table), part)
    names = [f.name for f in piece.fields]
    sql = ", ".join(
        f"hex({name})" if kind in HEXED else f"{name}::VARCHAR"
        for name, kind in zip(names, ("int", *KINDS), strict=True)
    )
    found = duckdb.sql(f"SET TimeZone = 'UTC'; SELECT {sql} FROM '{piece.path}' ORDER BY n")
    for ours, theirs in zip(found.fetchall(), printed, strict=True):
        same = [text if i != 4 else repr(float(text)) for i, text in enumerate(ours)]
        want = [text if i != 4 else repr(float(str(text))) for i, text in enumerate(theirs)]
        assert [as_psql(text) for text in same] == want


def test_a_reserved_name_is_refused(database: Any, shop: Any) -> None:
    database.run("CREATE TABLE orders (id int, _penstock_seq int)")
    with pytest.raises(Rejected, match="_penstock_seq"):
        shop.source.describe(shop.stream())


def test_text_that_is_not_utf8_is_rejected_with_a_way_out(
    database: Any, make_shop: Any, request: Any
) -> None:
    """A database in SQL_ASCII does not know what its bytes mean."""
    name = f"{database.name}_ascii"
    database.run(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    request.addfinalizer(lambda: database.run(f"DROP DATABASE {name} WITH (FORCE)"))
    database.server.psql(r"CREATE TABLE orders AS SELECT E'caf\xe9' AS c", name)
    shop = make_shop(database=name)
    with pytest.raises(Rejected, match="not UTF-8") as caught:
        shop.read(shop.stream())
    query = caught.value.fix.removeprefix("say it in a query: ").replace("name", "c")
    assert shop.read(shop.stream(None, query=f"SELECT {query} FROM orders")) == [("café",)]
