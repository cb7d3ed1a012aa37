"""The schema contract: what changes, what widens, what is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import Rejected
from penstock.model import Contract, Counts, Field
from penstock.pipeline import BadRows, Column, SchemaContract, Step
from penstock.transform import evolve, exact_widening
from penstock.transform.contract import join
from penstock.transform.types import parse_type

from .conftest import Bench, stream

EVOLVE = SchemaContract()
V3 = Contract(3, (Field("id", "integer"), Field("amount", "integer")))


def fields(**types: str) -> tuple[Field, ...]:
    return tuple(Field(name, kind) for name, kind in types.items())


@pytest.mark.parametrize(
    ("left", "right", "joined"),
    [
        ("smallint", "bigint", "bigint"),
        ("integer", "decimal(12,2)", "decimal(12,2)"),
        ("bigint", "decimal(12,2)", "decimal(21,2)"),
        ("decimal(12,2)", "decimal(10,4)", "decimal(14,4)"),
        ("decimal(38,0)", "decimal(38,38)", "varchar"),
        ("bigint", "double", "double"),
        ("decimal(12,2)", "double", "double"),
        ("real", "smallint", "double"),
        ("real", "double", "double"),
        ("date", "timestamp", "timestamp"),
        ("date", "timestamptz", "varchar"),
        ("timestamp", "timestamptz", "varchar"),
        ("boolean", "integer", "varchar"),
        ("json", "varchar", "varchar"),
        ("binary", "varchar", "varchar"),
        ("varchar(10)", "varchar(20)", "varchar(20)"),
        ("varchar(10)", "varchar", "varchar"),
        ("varchar(10)", "integer", "varchar"),
        ("time", "date", "varchar"),
    ],
)
def test_two_types_meet_in_the_narrowest_that_holds_both(
    left: str, right: str, joined: str
) -> None:
    assert join(left, right) == joined
    assert join(right, left) == joined


KINDS = """boolean smallint integer bigint decimal(5,2) decimal(38,0) decimal(20,10) real double
    varchar varchar(4) varchar(9) json binary date time timestamp timestamptz"""
kinds = st.sampled_from(KINDS.split())


@given(kinds, kinds, kinds)
def test_the_lattice_is_a_lattice(one: str, two: str, three: str) -> None:
    assert join(one, one) == one
    assert join(one, two) == join(two, one)
    assert join(one, join(one, two)) == join(one, two)
    # The order of chunks matters only for how soon text, the top, is reached.
    joined = {join(join(a, b), c) for a, b, c in itertools.permutations((one, two, three))}
    assert len(joined - {"varchar"}) <= 1
    parse_type(join(one, two))


@pytest.mark.parametrize(
    ("old", "new", "exact"),
    [
        ("integer", "bigint", True),
        ("bigint", "integer", False),
        ("bigint", "decimal(19,0)", True),
        ("bigint", "decimal(20,2)", False),
        ("decimal(12,2)", "decimal(14,4)", True),
        ("decimal(12,2)", "decimal(13,4)", False),
        ("integer", "double", True),
        ("bigint", "double", False),
        ("decimal(12,2)", "double", True),
        ("decimal(18,2)", "double", False),
        ("real", "double", True),
        ("double", "decimal(38,9)", False),
        ("date", "timestamp", True),
        ("date", "varchar", False),
        ("integer", "varchar", False),
        ("boolean", "varchar", False),
        ("varchar(4)", "varchar(9)", True),
        ("varchar(9)", "varchar(4)", False),
        ("varchar", "varchar(4)", False),
        ("varchar(4)", "varchar", True),
        ("json", "varchar", True),
        ("timestamp", "timestamptz", False),
        ("time", "time", True),
    ],
)
def test_a_widening_is_exact_if_earlier_values_stay_what_they_were(
    old: str, new: str, exact: bool
) -> None:
    assert exact_widening(old, new) is exact


def test_the_first_chunk_makes_the_first_version() -> None:
    assert evolve(EVOLVE, None, fields(a="integer")) == Contract(1, fields(a="integer"))


def test_new_columns_come_last_and_missing_ones_stay() -> None:
    new = evolve(EVOLVE, V3, fields(note="varchar", amount="integer"))
    assert new == Contract(4, fields(id="integer", amount="integer", note="varchar"))


def test_nothing_changes_for_narrower_types_or_other_order() -> None:
    assert evolve(EVOLVE, V3, fields(amount="smallint", ID="integer")) is V3


def test_frozen_contracts_reject_with_what_where_why_and_fix() -> None:
    frozen = SchemaContract("freeze", "freeze")
    where = "orders -> analytics.orders"
    with pytest.raises(Rejected) as caught:
        evolve(frozen, V3, fields(id="integer", amount="decimal(9,2)"), where)
    assert str(caught.value).splitlines() == [
        "chunk rejected: column 'amount' is decimal(9,2) here, integer in contract v3",
        "  where: orders -> analytics.orders",
        "  why:   schema_contract.changed_types is freeze",
        "  fix:   columns: give amount the type 'decimal(12,2)', then: penstock dlq redrive",
    ]
    with pytest.raises(Rejected, match="column 'note' is new, not in contract v3"):
        evolve(frozen, V3, fields(id="integer", note="varchar"), where)
    assert evolve(frozen, V3, fields(id="smallint")) is V3


def test_what_the_pipeline_file_asks_for_is_not_frozen() -> None:
    frozen = SchemaContract("freeze", "freeze")
    asked = frozenset({"amount", "net"})
    new = evolve(frozen, V3, fields(amount="decimal(12,2)", net="double"), asked=asked)
    assert new == Contract(4, fields(id="integer", amount="decimal(12,2)", net="double"))


def test_discard_drops_new_columns_and_keeps_types() -> None:
    discard = SchemaContract("discard", "discard")
    assert evolve(discard, V3, fields(id="varchar", note="varchar")) is V3


# ---- in a chunk


def test_a_chunk_that_widens_a_type_is_written_in_it(bench: Bench) -> None:
    made = bench.run(
        stream(),
        bench.raw("SELECT 1.5::DECIMAL(12,2) AS amount, 'x' AS note"),
        fields(amount="decimal(12,2)", note="varchar"),
        V3,
    )
    assert made.made.contract == Contract(
        4, fields(id="integer", amount="decimal(12,2)", note="varchar")
    )
    [row] = made.good
    assert (row["id"], row["amount"], row["note"]) == (None, "1.50", "x")
    assert list(bench.types(made.made.good[0].path).values())[:3] == [
        "INTEGER",
        "DECIMAL(12,2)",
        "VARCHAR",
    ]


def test_a_frozen_contract_still_takes_what_steps_and_columns_make(bench: Bench) -> None:
    frozen = SchemaContract("freeze", "freeze")
    derived = Step("derive", {"net": "amount * 2"})
    made = bench.run(
        stream(
            schema_contract=frozen,
            steps=(derived,),
            columns=(Column("amount", type="decimal(12,2)"),),
        ),
        bench.raw("SELECT 1 AS id, 2 AS amount"),
        fields(id="integer", amount="integer"),
        V3,
    )
    assert [(f.name, f.type) for f in made.made.contract.columns] == [
        ("id", "integer"),
        ("amount", "decimal(12,2)"),
        ("net", "decimal(18,2)"),
    ]
    with pytest.raises(Rejected, match="column 'net' is new"):
        bench.run(
            stream(schema_contract=frozen),
            bench.raw("SELECT 1 AS id, 2 AS net"),
            fields(id="integer", net="integer"),
            V3,
        )


def test_numbers_and_text_in_one_column_become_text(bench: Bench) -> None:
    made = bench.run(stream(), bench.raw("SELECT 'x' AS amount"), fields(amount="varchar"), V3)
    assert [(f.name, f.type) for f in made.made.contract.columns] == [
        ("id", "integer"),
        ("amount", "varchar"),
    ]
    later = bench.run(
        stream(), bench.raw("SELECT 7 AS amount"), fields(amount="integer"), made.made.contract
    )
    assert later.made.contract.version == 4
    assert later.column("amount") == ["7"]


def test_with_discard_a_changed_type_quarantines_what_does_not_fit(bench: Bench) -> None:
    made = bench.run(
        stream(schema_contract=SchemaContract("discard", "discard")),
        bench.raw("SELECT * FROM (VALUES ('7', 1), ('7.5', 2), (NULL, 3)) AS t (amount, extra)"),
        fields(amount="varchar", extra="integer"),
        V3,
    )
    assert made.column("amount") == ["7", None]
    assert "extra" not in made.good[0]
    assert made.made.notes == ("column extra is new and was discarded",)
    [bad] = made.quarantined
    assert (bad["rule"], bad["column"], bad["value"]) == ("type", "amount", "7.5")
    assert bad["reason"] == "not integer"
    assert made.made.contract is V3


def test_an_all_null_json_field_takes_the_type_that_is_known(bench: Bench) -> None:
    contract = Contract(2, (Field("n", "bigint"),))
    raw = "SELECT '{\"n\": null}' AS _penstock_json"
    made = bench.run(stream(files="*"), bench.raw(raw), (Field("n", "varchar", "$.n"),), contract)
    assert made.made.contract is contract
    raw = 'SELECT \'{"n": "x"}\' AS _penstock_json'
    made = bench.run(stream(files="*"), bench.raw(raw), (Field("n", "varchar", "$.n"),), contract)
    assert made.made.contract == Contract(3, (Field("n", "varchar"),))


def test_a_hashed_column_is_text_whatever_it_was(bench: Bench) -> None:
    made = bench.run(
        stream(
            columns=(Column("id", mask="hash"),), steps=(Step("derive", {"net": "amount + id"}),)
        ),
        bench.raw("SELECT 1 AS id, 2 AS amount"),
        fields(id="integer", amount="integer"),
        V3,
    )
    assert [(f.name, f.type) for f in made.made.contract.columns] == [
        ("id", "varchar"),
        ("amount", "integer"),
        ("net", "integer"),
    ]
    assert (len(made.good[0]["id"]), made.good[0]["net"]) == (64, "3")


def test_the_budget_counts_rows_of_a_changed_type(bench: Bench) -> None:
    with pytest.raises(Rejected, match="2 of 2 rows are bad"):
        bench.run(
            stream(
                schema_contract=SchemaContract("evolve", "discard"),
                bad_rows=BadRows(max_ratio=0, but_at_least_rows=1),
            ),
            bench.raw("SELECT * FROM (VALUES ('a'), ('b')) AS t (amount)"),
            fields(amount="varchar"),
            V3,
        )
    assert Counts(1, 1).holds
