"""Types widen so that no value is lost, whichever contract comes first."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import Rejected
from penstock.warehouses.columns import duckdb_type, logical_type, widened

SIMPLE = (
    "boolean", "smallint", "integer", "bigint", "real", "double", "varchar", "varchar(20)", "json",
    "binary", "date", "time", "timestamp", "timestamptz",
)  # fmt: skip
DECIMALS = st.integers(1, 38).flatmap(
    lambda p: st.integers(0, p).map(lambda s: f"decimal({p},{s})")
)
TYPES = st.one_of(st.sampled_from(SIMPLE), DECIMALS)


@given(TYPES, TYPES)
@settings(deadline=None)
def test_the_wider_type_holds_both_whichever_comes_first(one: str, other: str) -> None:
    wide = widened(one, other)
    assert wide == widened(other, one)
    assert widened(wide, one) == wide == widened(wide, other)


@pytest.mark.parametrize("logical", [*SIMPLE, "decimal(38,10)", "decimal(1,0)"])
def test_every_type_survives_the_way_through_duckdb(logical: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t (c {duckdb_type(logical)})")
        name = connection.execute("DESCRIBE t").fetchall()[0][1]
    assert logical_type(name) == widened(logical, logical)


@pytest.mark.parametrize(
    ("one", "other", "wide"),
    [
        ("smallint", "bigint", "bigint"),
        ("integer", "decimal(4,2)", "decimal(12,2)"),
        ("decimal(12,2)", "decimal(5,4)", "decimal(14,4)"),
        ("bigint", "decimal(38,30)", "varchar"),
        ("decimal(12,2)", "double", "double"),
        ("smallint", "real", "real"),
        ("integer", "real", "double"),
        ("date", "timestamp", "timestamp"),
        ("date", "bigint", "varchar"),
        ("boolean", "integer", "varchar"),
        ("json", "varchar(9)", "varchar"),
    ],
)
def test_two_types_meet_at(one: str, other: str, wide: str) -> None:
    assert widened(one, other) == wide


def test_an_unknown_type_is_rejected_by_its_name() -> None:
    with pytest.raises(Rejected, match='unknown type "geometry"'):
        duckdb_type("geometry")
