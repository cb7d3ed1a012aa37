"""dlt's side of the bench, as its documentation has it; runs in the peers' own venv.

peer_dlt.py table URI TABLE BACKEND      a Postgres table into ./warehouse.duckdb
peer_dlt.py csv FOLDER READER            flights.csv into ./warehouse.duckdb
"""

# mypy: ignore-errors
from __future__ import annotations

import sys
from pathlib import Path

import dlt
from dlt.sources.filesystem import filesystem, read_csv, read_csv_duckdb
from dlt.sources.sql_database import sql_table


def table(uri: str, name: str, backend: str) -> dlt.sources.DltResource:
    uri = uri.replace("postgresql:", "postgresql+psycopg2:")
    return sql_table(uri, table=name, schema="public", backend=backend)


def csv(folder: str, reader: str) -> dlt.sources.DltResource:
    files = filesystem(bucket_url=Path(folder).as_uri(), file_glob="flights.csv")
    readers = {
        "pandas": read_csv,
        "duckdb-arrow": lambda: read_csv_duckdb(use_pyarrow=True, na_values="NA"),
    }
    return (files | readers[reader]()).with_name("flights")


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    pipeline = dlt.pipeline(
        "bench",
        destination=dlt.destinations.duckdb("warehouse.duckdb"),
        dataset_name="bench",
        pipelines_dir="dlt",
    )
    resource = {"table": table, "csv": csv}[kind](*arguments)
    # Its default file format for DuckDB, insert_values, takes five times as long and 1 GB for
    # 100,000 rows of the bench's table. The comparison is with its better setting.
    print(pipeline.run(resource, write_disposition="append", loader_file_format="parquet"))
