"""What will be, before it is: columns, SQL, and a preview that writes nothing."""

from __future__ import annotations

import pytest

from penstock.errors import Rejected
from penstock.model import ChunkId, Counts, Field, File, Link
from penstock.pipeline import BadRows, Column, Expectation, Step
from penstock.transform import explain_sql, preview_chunk

from .conftest import Bench, stream

LINK = Link(
    ChunkId("orders", "r", 0, "", 0),
    File("k", "", 0, 0),
    (Field("id", "integer"), Field("mail", "varchar")),
    None,
    True,
)


def test_output_fields_are_what_a_chunk_then_has(bench: Bench) -> None:
    shaped = stream(
        columns=(
            Column("customer", source="cust", type="bigint"),
            Column("mail", mask="hash"),
            Column("at", type="timestamptz", timezone="Europe/Berlin"),
            Column("day", format="%d.%m.%Y"),
            Column("note", type="varchar(20)"),
        ),
        steps=(
            Step("derive", {"net": "amount * 2", "big": "sum(amount) OVER ()", "l": "[1]"}),
            Step("sql", {"query": "SELECT * EXCLUDE (amount) FROM input"}),
        ),
        vars={"x": "1"},
    )
    types = {
        "cust": "varchar", "mail": "varchar", "at": "timestamp", "day": "varchar",
        "note": "varchar", "amount": "decimal(12,2)", "doc": "json", "flag": "boolean",
    }  # fmt: skip
    expected = {
        "customer": "bigint", "mail": "varchar", "at": "timestamptz", "day": "timestamp",
        "note": "varchar(20)", "doc": "json", "flag": "boolean", "net": "decimal(18,2)",
        "big": "decimal(38,2)", "l": "json",
    }  # fmt: skip
    assert bench.outputs(shaped, **types) == expected
    raw = bench.raw(
        "SELECT '1' AS cust, 'm' AS mail, TIMESTAMP '2020-07-01' AS at, '01.02.2020' AS day, "
        "'n' AS note, 1.5::DECIMAL(12,2) AS amount, '{}' AS doc, true AS flag"
    )
    made = bench.run(shaped, raw, bench.fields(**types))
    assert {field.name: field.type for field in made.made.contract.columns} == expected
    assert (made.good[0]["at"], made.good[0]["day"]) == (
        "2020-06-30 22:00:00+00",
        "2020-02-01 00:00:00",
    )


def test_the_sql_can_be_read_and_holds_no_key(bench: Bench) -> None:
    shaped = stream(
        columns=(Column("mail", mask="hash", key="${secret:k}"),),
        steps=(Step("filter", {"where": "id > $least"}),),
        expect=(Expectation("not_null", {"columns": ["id"]}),),
        vars={"least": "3"},
    )
    fields = (*LINK.fields, Field("amount", "decimal(12,2)"))
    text = explain_sql(bench.connection, shaped, fields)
    assert "TRY_CAST(r2 AS DECIMAL(12,2))" in text
    assert "read_parquet('<chunk>')" in text
    assert "id > $least" in text
    assert "sha256($_penstock_key_0 || chr(0)" in text
    assert text.endswith("WHERE _penstock_ok")


def test_a_preview_shows_rows_before_and_after_and_what_is_kept_back(bench: Bench) -> None:
    raw = bench.raw("SELECT * FROM (VALUES (1, 'a@x'), (-2, 'b@x'), (3, 'c@x')) AS t (id, mail)")
    before = sorted(bench.folder.iterdir())
    made = preview_chunk(
        bench.connection,
        stream(
            columns=(Column("mail", mask="redact"),),
            steps=(Step("filter", {"where": "id <> 3"}),),
            expect=(Expectation("between", {"column": "id", "min": 0}),),
            bad_rows=BadRows("fail"),
        ),
        LINK,
        raw,
        None,
        read_reference=str,
        rows=2,
    )
    assert made.raw_columns == ("id", "mail")
    assert made.raw == (("1", "***"), ("-2", "***"))
    assert made.good == (("1", "***"),)
    assert [field.name for field in made.columns] == ["id", "mail"]
    [bad] = made.quarantined
    assert dict(zip(made.quarantine_columns, bad, strict=True))["reason"] == "not at least 0"
    assert made.counts == Counts(3, 1, 1, 1)
    assert made.rules == {"between": 1}
    assert sorted(bench.folder.iterdir()) == before


def test_a_step_that_does_not_fit_is_found_without_rows(bench: Bench) -> None:
    with pytest.raises(Rejected, match="step derive, line 5"):
        bench.outputs(stream(steps=(Step("derive", {"x": "nothing + 1"}, 5),)), id="integer")
    with pytest.raises(Rejected, match="primary_key"):
        bench.outputs(stream(write="merge", primary_key=("nr",)), id="integer")


def test_a_preview_refuses_a_query_that_doubles_rows(bench: Bench) -> None:
    doubling = Step("sql", {"query": "SELECT *, unnest([1, 2]) AS part FROM input"})
    with pytest.raises(Rejected, match="gives 1 rows more than once"):
        preview_chunk(
            bench.connection,
            stream(steps=(doubling,)),
            LINK,
            bench.raw("SELECT 1 AS id, 'a' AS mail"),
            None,
            read_reference=str,
        )
