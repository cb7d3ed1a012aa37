"""Why pyproject says `duckdb<2`: what 2.0.0 answers wrongly, without an error."""

from __future__ import annotations

from pathlib import Path

import duckdb


def test_a_table_made_empty_and_filled_in_one_transaction_answers_rightly(tmp_path: Path) -> None:
    """Fails on DuckDB 2.0.0 (max(id) is NULL, filters and joins are empty): the pin stays until
    it passes there.
    """
    rows = 1_000_000
    with duckdb.connect(tmp_path / "pin.duckdb", config={"threads": 2}) as connection:
        connection.execute(f"CREATE TABLE a AS SELECT range AS id FROM range({rows})")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE b AS SELECT * FROM a LIMIT 0")
        connection.execute("INSERT INTO b SELECT * FROM a")
        connection.execute("COMMIT")
        whole = connection.execute("SELECT count(*), max(id) FROM b").fetchone()
        one = connection.execute("SELECT count(*) FROM b WHERE id = 4").fetchone()
        joined = connection.execute("SELECT count(*) FROM a JOIN b USING (id)").fetchone()
    assert (whole, one, joined) == ((rows, rows - 1), (1,), (rows,))
