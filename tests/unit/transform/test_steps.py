"""Steps: clean, derive, filter, sql and dedupe, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import Rejected
from penstock.model import Counts
from penstock.pipeline import BadRows, Column, Expectation, Step

from .conftest import Bench, Outcome, stream

ORDERS = (
    "SELECT * FROM (VALUES (1, 10, 'NO', ' a '), (2, 20, 'SE', ''), (2, 30, NULL, 'B  c')) "
    "AS t (id, amount, country, note)"
)
TYPES = {"id": "integer", "amount": "integer", "country": "varchar", "note": "varchar"}


def stepped(bench: Bench, *steps: Step, raw: str = ORDERS, **given: Any) -> Outcome:
    return bench.run(stream(steps=steps, **given), bench.raw(raw), bench.fields(**TYPES))


def sql(query: str, rows: str = "keep") -> Step:
    return Step("sql", {"query": query, "rows": rows}, line=12)


def test_clean_works_on_text_in_a_fixed_order(bench: Bench) -> None:
    options = {"trim": "*", "collapse_spaces": "*", "empty_as_null": ["note"], "upper": ["note"]}
    made = stepped(bench, Step("clean", options))
    assert made.column("note") == ["A", None, "B C"]
    made = stepped(bench, Step("clean", {"lower": "*"}))
    assert made.column("country") == ["no", "se", None]


def test_clean_trims_every_kind_of_space(bench: Bench) -> None:
    raw = "SELECT 1 AS id, 1 AS amount, chr(160) || ' x' || chr(9) AS country, chr(10) AS note"
    made = stepped(bench, Step("clean", {"trim": "*", "empty_as_null": "*"}), raw=raw)
    assert (made.column("country"), made.column("note")) == (["x"], [None])


def test_clean_of_a_number_is_refused(bench: Bench) -> None:
    with pytest.raises(Rejected, match="clean works on text, and 'amount' is INTEGER"):
        stepped(bench, Step("clean", {"trim": ["amount"]}))


def test_derive_adds_and_replaces_and_sees_the_columns_before_it(bench: Bench) -> None:
    made = stepped(bench, Step("derive", {"amount": "amount + 1", "net": "amount * 2"}))
    assert made.column("amount") == ["11", "21", "31"]
    assert made.column("net") == ["20", "40", "60"]


def test_filter_keeps_what_is_true_and_counts_the_rest(bench: Bench) -> None:
    made = stepped(bench, Step("filter", {"where": "country <> 'SE'"}))
    assert made.column("country") == ["NO"]
    assert made.made.counts == Counts(read=3, good=1, filtered=2)


@pytest.mark.parametrize(("keep", "amounts"), [("first", ["10", "20"]), ("last", ["10", "30"])])
def test_dedupe_keeps_the_first_or_the_last_in_the_chunk(
    bench: Bench, keep: str, amounts: list[str]
) -> None:
    made = stepped(bench, Step("dedupe", {"by": ["id"], "keep": keep}))
    assert sorted(made.column("amount")) == amounts
    assert made.made.counts == Counts(read=3, good=2, deduplicated=1)


def test_variables_are_bound_and_never_part_of_the_text(bench: Bench) -> None:
    hostile = "NO' OR 'a' = 'a"
    filtered = Step("filter", {"where": "country = $land"})
    assert stepped(bench, filtered, vars={"land": "NO", "unused": "x"}).column("id") == ["1"]
    assert stepped(bench, filtered, vars={"land": hostile}).made.counts.good == 0
    made = stepped(bench, sql("SELECT *, $land AS land FROM input"), vars={"land": hostile})
    assert made.column("land") == [hostile] * 3


# ---- sql


def test_a_query_may_drop_rows_and_columns_and_rows_keep_their_identity(bench: Bench) -> None:
    made = stepped(
        bench,
        sql("SELECT id, amount * 2 AS twice FROM input WHERE amount > 10;"),
        write="merge",
        primary_key=("id",),
        expect=(Expectation("between", {"column": "twice", "max": 40}),),
    )
    assert [(row["id"], row["twice"], row["_penstock_row"]) for row in made.good] == [
        ("2", "40", "1")
    ]
    assert made.quarantined[0]["row"] == '{"id":2,"amount":30,"country":null,"note":"B  c"}'
    assert made.made.counts == Counts(read=3, good=1, quarantined=1, filtered=1)


@pytest.mark.parametrize(
    "query",
    [
        "FROM input",
        "FROM input SELECT id, amount, country, note",
        "SELECT input.* FROM input",
        "SELECT i.*, i.amount + 1 AS more FROM input AS i",
        "WITH big AS (SELECT * FROM input WHERE amount > 5) SELECT * FROM big",
        "SELECT i.id, t.total FROM input i JOIN (SELECT id, sum(amount) AS total FROM input "
        "GROUP BY id) t USING (id)",
        "SELECT *, row_number() OVER (ORDER BY amount) AS place FROM input",
        "SELECT id FROM input -- all of them",
        "SELECT id FROM input ORDER BY amount",
    ],
)
def test_queries_that_keep_rows_apart_are_taken_as_they_are(bench: Bench, query: str) -> None:
    made = stepped(bench, sql(query), write="merge", primary_key=("id",))
    assert sorted(row["_penstock_row"] for row in made.good) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("SELECT DISTINCT * FROM input", "makes one row of several"),
        ("SELECT DISTINCT country FROM input", "makes one row of several"),
        ("SELECT country FROM input UNION SELECT country FROM input", "makes one row of several"),
        ("SELECT country, count(*) FROM input GROUP BY ALL", "makes one row of several"),
        ("SELECT country, count(*) FROM input GROUP BY country", "SQL"),
        ("SELECT count(*) AS n FROM input", "SQL"),
        ("WITH a AS (SELECT id FROM input) SELECT id FROM a", "SQL"),
        ("SELECT id, unnest([1, 2]) AS x FROM input", "gives 3 rows more than once"),
        ("SELECT i.* FROM input i JOIN input j USING (id)", "gives 2 rows more than once"),
        ("SELECT id FROM inputs", "SQL"),
        ("SELECT nothing FROM input", "SQL"),
        ("DROP TABLE input", "SQL"),
        ("SELECT 1; SELECT 2", "more than one SQL statement"),
        ("COPY input TO 'x'", "SQL"),
        ("SELECT id AS _penstock_row, 1 AS _penstock_cursor FROM input", "more than once"),
        ("SELECT *, 1 AS _penstock_chunk FROM input", "which row is which"),
    ],
)
def test_queries_that_mix_rows_are_refused_with_their_place(
    bench: Bench, query: str, what: str
) -> None:
    with pytest.raises(Rejected, match=what) as caught:
        stepped(bench, sql(query))
    assert "orders, step sql, line 12" in caught.value.where


def test_a_query_may_change_rows_if_it_says_so(bench: Bench) -> None:
    made = stepped(
        bench,
        sql("SELECT country, count(*) AS n FROM input GROUP BY ALL", "change"),
        expect=(Expectation("not_null", {"columns": ["country"]}),),
    )
    assert sorted((row["country"], row["n"]) for row in made.good) == [("NO", "1"), ("SE", "1")]
    assert made.made.counts == Counts(read=3, good=2, quarantined=1, filtered=0)
    assert made.quarantined[0]["row"] == '{"country":null,"n":1}'
    assert "what the steps made of" in made.quarantined[0]["position"]


def test_rows_that_a_query_adds_are_negative_in_filtered(bench: Bench) -> None:
    made = stepped(bench, sql("SELECT id, unnest([1, 2]) AS part FROM input", "change"))
    assert made.made.counts == Counts(read=3, good=6, filtered=-3)


def test_changed_rows_keep_the_cursor_if_they_keep_its_column(bench: Bench) -> None:
    made = stepped(bench, sql("SELECT max(amount) AS amount FROM input", "change"), cursor="amount")
    assert (made.good[0]["amount"], made.good[0]["_penstock_cursor"]) == ("30", "30")
    made = stepped(bench, sql("SELECT count(*) AS n FROM input", "change"), cursor="amount")
    assert made.good[0]["_penstock_cursor"] is None


# ---- what is wrong is said with its place


@pytest.mark.parametrize(
    "text",
    ["amount)", "1), (2", "1) FROM input WHERE (true", "amount; DROP TABLE x", "", "1 -- )\n) (2"],
)
def test_an_expression_cannot_leave_its_brackets(bench: Bench, text: str) -> None:
    for step in (
        Step("derive", {"x": text}, line=7),
        Step("filter", {"where": text}, line=7),
    ):
        with pytest.raises(Rejected) as caught:
            stepped(bench, step)
        assert f"orders, step {step.kind}, line 7" in caught.value.where
    with pytest.raises(Rejected) as caught:
        stepped(bench, expect=(Expectation("expression", {"sql": text}, line=8),))
    assert caught.value.where == "orders, expect expression, line 8"


def test_an_expression_may_end_in_a_comment(bench: Bench) -> None:
    made = stepped(bench, Step("derive", {"x": "amount -- as it is"}))
    assert made.column("x") == ["10", "20", "30"]


def test_a_step_that_fails_on_a_value_is_named_with_its_line(bench: Bench) -> None:
    steps = (
        Step("derive", {"more": "amount + 1"}, line=3),
        Step("derive", {"n": "CAST(country AS INTEGER)"}, line=4),
    )
    with pytest.raises(Rejected) as caught:
        stepped(bench, *steps)
    assert caught.value.where.startswith("orders, step derive, line 4; orders -> analytics.orders")
    assert "Could not convert string 'NO'" in caught.value.what
    assert "try_cast" in caught.value.fix


def test_a_rule_that_fails_on_a_value_is_named_with_its_line(bench: Bench) -> None:
    rule = Expectation("expression", {"sql": "CAST(country AS INTEGER) > 0"}, line=9)
    with pytest.raises(Rejected) as caught:
        stepped(bench, expect=(rule,))
    assert caught.value.where.startswith("orders, expect expression, line 9; ")


def test_a_rule_on_no_column_is_refused(bench: Bench) -> None:
    with pytest.raises(Rejected, match="there is no column 'amuont' here") as caught:
        stepped(bench, expect=(Expectation("between", {"column": "amuont", "min": 0}, line=3),))
    assert caught.value.why == "the columns are id, amount, country, note"


@pytest.mark.parametrize(
    "rule",
    [
        Expectation("between", {"column": "amount", "min": "ten"}),
        Expectation("accepted_values", {"column": "amount", "values": ["ten"]}),
        Expectation("matches", {"column": "country", "pattern": "("}),
        Expectation("expression", {"sql": "country"}),
    ],
)
def test_a_rule_that_does_not_fit_its_column_is_refused(bench: Bench, rule: Expectation) -> None:
    with pytest.raises(Rejected) as caught:
        stepped(bench, expect=(rule,))
    assert f"expect {rule.kind}" in caught.value.where


def test_a_step_cannot_read_other_files_or_settings(bench: Bench) -> None:
    for query in ("FROM read_text('/etc/passwd')", "SELECT * FROM '/etc/passwd'"):
        with pytest.raises(Rejected):
            stepped(bench, sql(query, "change"))


def test_what_a_column_is_declared_to_be_holds_after_the_steps(bench: Bench) -> None:
    made = stepped(
        bench,
        Step("derive", {"share": "amount / 7", "note": "note || '!!!!'"}),
        columns=(Column("share", type="decimal(12,2)"), Column("note", type="varchar(6)")),
        bad_rows=BadRows(max_ratio=1),
        raw=ORDERS.replace("(1, 10,", "(1, 14,"),
    )
    assert [(row["share"], row["note"]) for row in made.good] == []
    assert made.made.rules == {"type": 3}
    made = stepped(
        bench,
        Step("derive", {"share": "round(amount / 7, 2)"}),
        columns=(Column("share", type="decimal(12,2)"),),
    )
    assert made.column("share") == ["1.43", "2.86", "4.29"]


def test_text_that_a_step_makes_is_read_as_exactly_as_any_other(bench: Bench) -> None:
    made = stepped(
        bench,
        Step("derive", {"share": "amount || '.505'"}),
        columns=(Column("share", type="decimal(12,2)"),),
    )
    assert made.made.rules == {"type": 3}
