"""How a database is reached, and what is said when it is not."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import PenstockError, Rejected, SpecError, Transient
from penstock.pipeline import SourceConfig
from penstock.sources.postgres_session import Login

HOSTILE = "p@ss'w#o/r\\d :?&=%41 ${"


def login(**options: Any) -> Login:
    return Login.from_config(SourceConfig("shop", "postgres", options))


# ---- options


def test_a_url_is_percent_decoded_and_its_parameters_are_kept() -> None:
    found = login(url="postgres://a%40b:p%2Fw@[::1]:5433/my%20db?sslmode=require")
    assert (found.user, found.password, found.host) == ("a@b", "p/w", "::1")
    assert (found.port, found.database) == ("5433", "my db")
    assert found.more == {"sslmode": "require"}


def test_a_url_of_something_else_is_an_error() -> None:
    with pytest.raises(SpecError, match="none of Postgres"):
        login(url="mysql://localhost/db")


def test_a_password_is_not_in_the_logins_text() -> None:
    assert HOSTILE not in repr(login(host="h", password=HOSTILE))


# ---- reaching it


@pytest.fixture
def guarded(database: Any) -> Iterator[dict[str, Any]]:
    """A database that asks a user of its own for a password of many special characters."""
    user = f"{database.name}_'user"
    rules = Path(database.server.folder) / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f'host {database.name} "{user}" 127.0.0.1/32 scram-sha-256\n{before}')
    name, password = user.replace('"', '""'), HOSTILE.replace("'", "''")
    database.run(f"""CREATE ROLE "{name}" LOGIN PASSWORD '{password}'; SELECT pg_reload_conf()""")
    yield {"user": user, "password": HOSTILE}
    rules.write_text(
        "".join(line for line in rules.read_text().splitlines(True) if user not in line)
    )
    database.run(f'DROP ROLE "{name}"; SELECT pg_reload_conf()')


def test_a_password_of_any_characters_needs_no_escaping(guarded: Any, make_shop: Any) -> None:
    assert "PostgreSQL" in make_shop(**guarded).source.check()


@pytest.mark.parametrize("password", ["wrong@/#", None])
def test_a_wrong_password_is_rejected_and_never_shown(
    guarded: Any, make_shop: Any, password: str | None
) -> None:
    shop = make_shop(user=guarded["user"], password=password)
    with pytest.raises(Rejected) as caught:
        shop.source.check()
    assert "password" in caught.value.fix
    assert "source shop" in caught.value.where
    assert "wrong@/#" not in str(caught.value)


def test_a_port_where_nobody_listens_is_transient(make_shop: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(Transient, match="does not answer"):
        make_shop(port=port).source.check()


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"database": "no_such_database"}, "correct database"),
        ({"user": "no_such_user"}, "correct user"),
        ({"host": "no-such-host.invalid"}, "correct host"),
        ({"sslmode": "require"}, "sslmode"),
    ],
)
def test_an_address_that_is_wrong_is_rejected_with_what_to_correct(
    make_shop: Any, options: dict[str, Any], fix: str
) -> None:
    with pytest.raises(PenstockError) as caught:
        make_shop(**options).source.check()
    if "host" in options and isinstance(caught.value, Transient):
        return  # a machine without any name server cannot tell a wrong name from a silent one
    assert fix in caught.value.fix


def test_too_many_connections_are_transient(database: Any, make_shop: Any) -> None:
    user = f"{database.name}_app"
    database.run(f"CREATE ROLE {user} LOGIN CONNECTION LIMIT 0")
    try:
        with pytest.raises(Transient):
            make_shop(user=user).source.check()
    finally:
        database.run(f"DROP ROLE {user}")


def test_a_missing_permission_says_what_to_grant(database: Any, make_shop: Any) -> None:
    user = f"{database.name}_app"
    database.run(f"CREATE TABLE orders (id int); CREATE ROLE {user} LOGIN")
    try:
        shop = make_shop(user=user)
        with pytest.raises(Rejected) as caught:
            shop.read(shop.stream())
        assert "SELECT" in caught.value.fix
    finally:
        database.run(f"DROP ROLE {user}")


def test_a_missing_driver_prints_the_install_line(
    make_shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    with pytest.raises(SpecError) as caught:
        make_shop().source.check()
    assert caught.value.fix == "pip install 'penstock[postgres]'"


def test_a_session_cannot_write(database: Any, make_shop: Any) -> None:
    database.run("CREATE TABLE orders (id int)")
    database.run("""CREATE FUNCTION sneak() RETURNS int LANGUAGE sql VOLATILE AS
        'INSERT INTO orders VALUES (1) RETURNING id'""")
    shop = make_shop()
    with pytest.raises(Rejected, match="refused"):
        shop.read(shop.stream(None, query="SELECT sneak() AS id"))
    assert database.run("SELECT count(*) FROM orders") == [("0",)]


# ---- what is there


def test_check_says_who_answered(database: Any, make_shop: Any) -> None:
    database.run("CREATE TABLE a (id int); CREATE TABLE b (id int); CREATE VIEW c AS TABLE a")
    said = make_shop().source.check()
    assert said.startswith("PostgreSQL ")
    assert said.endswith(
        f"database {database.name}, 2 tables, user postgres; sees other sessions: yes"
    )


def test_discover_lists_tables_keys_cursors_and_sizes(database: Any, make_shop: Any) -> None:
    database.run("""
        CREATE SCHEMA crm;
        CREATE TABLE crm.customers (id serial PRIMARY KEY, name text NOT NULL, created_at timestamp,
            updated_at timestamptz, amount numeric(10,2));
        CREATE TABLE pairs (a int, b int, PRIMARY KEY (b, a));
        CREATE TABLE parts (day date, n int) PARTITION BY RANGE (day);
        CREATE TABLE parts_2024 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
        CREATE TABLE bare ();
        CREATE VIEW shown AS SELECT id, updated_at FROM crm.customers;
        INSERT INTO crm.customers (name) SELECT 'x' FROM generate_series(1, 50); ANALYZE""")
    found = {dataset.name: dataset for dataset in make_shop().source.discover()}
    assert list(found) == [
        "crm.customers", "public.bare", "public.pairs", "public.parts", "public.shown"
    ]  # fmt: skip
    customers = found["crm.customers"]
    assert [(f.name, f.type, f.nullable) for f in customers.fields] == [
        ("id", "integer", False), ("name", "varchar", False), ("created_at", "timestamp", True),
        ("updated_at", "timestamptz", True), ("amount", "decimal(10,2)", True),
    ]  # fmt: skip
    assert customers.primary_key == ("id",)
    assert customers.cursors == ("updated_at", "created_at", "id")
    assert customers.rows_estimate == 50
    assert found["public.pairs"].primary_key == ("b", "a")
    assert (found["public.shown"].kind, found["public.shown"].cursors) == ("view", ("updated_at",))
    shop = make_shop()
    described = shop.source.describe(shop.stream("crm.customers"))
    assert (described.fields, described.primary_key) == (customers.fields, ("id",))


def test_a_partitioned_table_is_one_table(database: Any, make_shop: Any) -> None:
    database.run("""
        CREATE TABLE orders (day date, n int, PRIMARY KEY (day, n)) PARTITION BY RANGE (day);
        CREATE TABLE y24 PARTITION OF orders FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
        CREATE TABLE y25 PARTITION OF orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
        INSERT INTO orders SELECT date '2024-12-01' + i, i FROM generate_series(1, 60) AS i""")
    shop = make_shop()
    stream = shop.stream(cursor="n", parallel_by="n", slices=3)
    window = shop.plan(stream)
    assert (window.hi, len(window.slices)) == (60, 3)
    assert len(shop.read(stream, window)) == 60
