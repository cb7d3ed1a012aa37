"""Patterns meet tables that come later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import main


@pytest.mark.parametrize("on_new_table", ["load", "report"])
def test_a_table_that_is_new_is_loaded_or_reported(
    on_new_table: str, tmp_path: Path, database: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    database.run("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
    database.run("CREATE TABLE b (id int PRIMARY KEY, at timestamptz)")  # empty, and yet known
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(
        json.dumps(
            {
                "version": 1,
                "pipeline": "shop",
                "warehouse": {"type": "duckdb", "path": "w.duckdb"},
                "storage": {"url": "./data"},
                "sources": {"db": {"type": "postgres", "url": database.uri}},
                "streams": {
                    "all": {
                        "from": {"source": "db", "tables": ["public.*"]},
                        "on_new_table": on_new_table,
                    }
                },
            }
        )
    )

    def streams() -> tuple[set[str], str]:
        capfd.readouterr()
        assert main(["run", "-f", str(pipeline), "--json"]) == 0
        caught = capfd.readouterr()
        return {stream["stream"] for stream in json.loads(caught.out)["streams"]}, caught.err

    assert streams()[0] == {"all.a", "all.b"}
    database.run("CREATE TABLE c (id int PRIMARY KEY); INSERT INTO c VALUES (3)")
    names, said = streams()
    if on_new_table == "load":
        assert names == {"all.a", "all.b", "all.c"}
    else:
        assert names == {"all.a", "all.b"}
        assert "all.c is not loaded: public.c is new" in said
