"""What every store does. Subclass `StoreContract`, say how to open yours, and run pytest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from penstock.errors import Rejected
from penstock.ports import Store
from penstock.testing.processes import together

RACES = 20

IN_ORDER = (
    "a",
    "b!/x.json",
    "b-x.json",
    "b.d/x.json",
    "b/0001.json",
    "b/0001-attempt.parquet.json",
    "b/0002.json",
    "b/deep/ingest_date=2026-11-23/source=shop db/x%41~#é.json",
    "b0/x.json",
    "bé.json",
    "c",
)
"""Keys around the folder `b`; `/` sorts between `.` and `0`."""


class StoreContract:
    """The tests of a store. `opener` is a fixture: a picklable function that opens the store.

    Every call of it opens the same store, which is empty when a test begins.
    """

    @pytest.fixture
    def opener(self) -> Callable[[], Store]:
        raise NotImplementedError("make a fixture `opener` that opens your store")

    @pytest.fixture
    def store(self, opener: Callable[[], Store]) -> Store:
        return opener()

    def test_what_was_created_is_read(self, store: Store) -> None:
        body = bytes(range(256)) * 5
        assert store.create("raw/shop/0001.json", body)
        assert store.read("raw/shop/0001.json") == body

    def test_an_empty_object_is_an_object(self, store: Store) -> None:
        assert store.create("empty", b"")
        assert not store.create("empty", b"full")
        assert store.read("empty") == b""

    def test_nothing_is_read_where_nothing_stands(self, store: Store) -> None:
        store.create("folder/x", b"1")
        assert store.read("folder/y") is None
        assert store.read("folder") is None
        assert store.read("folder/x/below") is None

    def test_a_second_create_changes_nothing(self, store: Store) -> None:
        assert store.create("a/link.json", b"first")
        assert not store.create("a/link.json", b"second")
        assert not store.create("a/link.json", b"first"), "the same body is no second creation"
        assert store.read("a/link.json") == b"first"

    def test_another_opener_sees_the_same_objects(self, opener: Callable[[], Store]) -> None:
        opener().create("a/b", b"1")
        assert opener().read("a/b") == b"1"
        assert not opener().create("a/b", b"2")

    def test_of_racing_processes_one_creates(self, opener: Callable[[], Store]) -> None:
        outcomes = together(2, _create_each, opener)
        for race in range(RACES):
            winners = [number for number in (0, 1) if outcomes[number][race]]
            assert len(winners) == 1
            stored = opener().read(f"race/{race:02d}")
            assert stored == f"by {winners[0]}".encode()

    def test_objects_are_listed_in_the_order_of_their_keys(self, store: Store) -> None:
        for key in reversed(IN_ORDER):
            store.create(key, key.encode())
        assert [found.key for found in store.list("")] == sorted(IN_ORDER)
        assert [found.bytes for found in store.list("")] == [
            len(key.encode()) for key in sorted(IN_ORDER)
        ]

    @pytest.mark.parametrize(
        "prefix", ["b", "b/", "b/0", "b/0001", "b/0001.json", "b/deep/ing", "b.", "é", "bz/", "B"]
    )
    def test_a_prefix_is_the_start_of_a_key(self, store: Store, prefix: str) -> None:
        for key in IN_ORDER:
            store.create(key, b"1")
        expected = sorted(key for key in IN_ORDER if key.startswith(prefix))
        assert [found.key for found in store.list(prefix)] == expected

    def test_a_listing_of_many_objects_is_whole(self, store: Store, tmp_path: Path) -> None:
        keys = [f"many/{number:04d}" for number in range(1_050)]
        for key in keys:
            (tmp_path / "one").write_bytes(b"1")
            store.adopt(tmp_path / "one", key)
        assert [found.key for found in store.list("many/")] == keys
        assert [found.key for found in store.list("many/1")] == keys[1_000:]

    def test_an_object_says_when_it_was_stored(self, store: Store) -> None:
        store.create("a", b"1")
        (found,) = store.list("a")
        assert abs(found.modified_at - datetime.now(UTC)) < timedelta(minutes=10)

    def test_an_adopted_file_is_an_object_and_no_file_any_more(
        self, store: Store, tmp_path: Path
    ) -> None:
        (tmp_path / "part.parquet").write_bytes(b"rows")
        store.adopt(tmp_path / "part.parquet", "raw/shop/0001-x.parquet")
        assert not (tmp_path / "part.parquet").exists()
        assert store.read("raw/shop/0001-x.parquet") == b"rows"
        assert not store.create("raw/shop/0001-x.parquet", b"other")

    def test_a_large_file_is_adopted_and_fetched_whole(self, store: Store, tmp_path: Path) -> None:
        pattern = hashlib.sha256(b"penstock").digest() * 32_768
        with (tmp_path / "large").open("wb") as file:
            for number in range(18):
                file.write(number.to_bytes(4, "big") + pattern)
        before = _sha256(tmp_path / "large")
        store.adopt(tmp_path / "large", "staging/large.parquet")
        assert _sha256(store.fetch("staging/large.parquet", tmp_path)) == before

    def test_a_fetched_object_is_a_file_with_its_ending(self, store: Store, tmp_path: Path) -> None:
        """DuckDB and COPY go by the ending."""
        store.create("a/b.parquet", b"rows")
        path = store.fetch("a/b.parquet", tmp_path)
        assert path.read_bytes() == b"rows"
        assert path.suffix == ".parquet"
        assert store.fetch("a/b.parquet", tmp_path).read_bytes() == b"rows"

    def test_objects_of_one_name_in_two_folders_are_two_files(
        self, store: Store, tmp_path: Path
    ) -> None:
        store.create("a/x.json", b"1")
        store.create("b/x.json", b"2")
        assert store.fetch("a/x.json", tmp_path).read_bytes() == b"1"
        assert store.fetch("b/x.json", tmp_path).read_bytes() == b"2"

    def test_fetching_what_is_not_there_is_rejected(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(Rejected, match="not in the store"):
            store.fetch("a/b.parquet", tmp_path)
        assert list(tmp_path.rglob("*.part")) == []

    def test_deleted_objects_are_gone_and_missing_ones_no_error(self, store: Store) -> None:
        for key in ("a/1", "a/2", "b/1"):
            store.create(key, b"1")
        store.delete(["a/1", "b/1", "never/was", "a/1/below"])
        assert [found.key for found in store.list("")] == ["a/2"]
        store.delete([])
        assert store.create("b/1", b"again"), "a folder that was emptied takes objects again"

    @pytest.mark.parametrize(
        "key",
        ["../x", "a/../../x", "/etc/x", "a//b", "a/", "./a", "..", ".", "", "a\\b", "a\n", "a\0b"],
    )
    def test_a_key_that_leaves_the_root_is_refused(self, store: Store, key: str) -> None:
        with pytest.raises(Rejected, match="cannot be the key"):
            store.create(key, b"1")
        with pytest.raises(Rejected, match="cannot be the key"):
            store.read(key)
        with pytest.raises(Rejected, match="cannot be the key"):
            store.delete([key])
        assert list(store.list("")) == []

    @pytest.mark.parametrize("prefix", ["../", "../x", "a/../x", "/", "a//"])
    def test_a_listing_that_leaves_the_root_is_refused(self, store: Store, prefix: str) -> None:
        with pytest.raises(Rejected):
            list(store.list(prefix))


def _create_each(number: int, barrier: Barrier, opener: Callable[[], Store]) -> list[bool]:
    store, outcomes = opener(), []
    for race in range(RACES):
        barrier.wait()
        outcomes.append(store.create(f"race/{race:02d}", f"by {number}".encode()))
    return outcomes


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
