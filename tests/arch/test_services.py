"""The services that other tests build on do what those tests assume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store

from penstock.errors import PenstockError

if TYPE_CHECKING:
    from conftest import Bucket, Database


def test_each_test_has_a_database_of_its_own(database: Database) -> None:
    assert database.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [("0",)]
    database.run("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, NULL), (2, '')")
    assert database.run("SELECT * FROM t ORDER BY a") == [("1", None), ("2", "")]


def test_a_statement_that_fails_says_what_the_server_said(database: Database) -> None:
    with pytest.raises(PenstockError, match='relation "nowhere" does not exist'):
        database.run("SELECT * FROM nowhere")


def test_the_bucket_refuses_a_second_create_of_one_key(s3: Bucket) -> None:
    store = S3Store(
        s3.name,
        endpoint=s3.endpoint,
        region=s3.region,
        access_key_id=s3.access_key_id,
        secret_access_key=s3.secret_access_key,
        client_options={"allow_http": True},
        virtual_hosted_style_request=False,
    )
    obstore.put(store, "a", b"first", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "a", b"second", mode="create")
    assert bytes(obstore.get(store, "a").bytes()) == b"first"
