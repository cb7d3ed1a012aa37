"""What every journal does. Subclass `JournalContract`, say how to open yours, and run pytest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier

import pytest

from penstock.model import Json
from penstock.ports import Entry, Journal
from penstock.testing.processes import killed, together

RACES = 30
VALUES: tuple[Json, ...] = (
    None,
    True,
    0,
    2**63,
    -1.5,
    "",
    "é ☃ \U0001f600 \x00 '\"\\",
    [],
    {},
    {"b": [1, {"c": None}], "a": "x"},
)


class JournalContract:
    """The tests of a journal. `opener` is a fixture: a picklable function that opens the journal.

    Every call of it opens the same journal, which is empty when a test begins.
    """

    @pytest.fixture
    def opener(self) -> Callable[[], Journal]:
        raise NotImplementedError("make a fixture `opener` that opens your journal")

    @pytest.fixture
    def journal(self, opener: Callable[[], Journal]) -> Iterator[Journal]:
        journal = opener()
        yield journal
        close(journal)

    def test_nothing_is_read_where_nothing_stands(self, journal: Journal) -> None:
        assert journal.read("heads/orders") is None

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_a_value_comes_back_as_it_went(self, journal: Journal, value: Json) -> None:
        assert journal.swap("key", value, None)
        assert read(journal, "key").value == value
        assert type(read(journal, "key").value) is type(value)

    def test_an_entry_is_made_only_where_nothing_stands(self, journal: Journal) -> None:
        assert journal.swap("key", 1, None)
        assert not journal.swap("key", 2, None)
        assert read(journal, "key").value == 1

    def test_an_entry_changes_only_from_the_version_that_was_read(self, journal: Journal) -> None:
        journal.swap("key", 1, None)
        first = read(journal, "key").version
        assert journal.swap("key", 2, first)
        assert not journal.swap("key", 3, first)
        assert read(journal, "key").value == 2
        assert not journal.swap("other", 1, first), "nothing stands there"
        assert journal.read("other") is None

    def test_an_entry_is_removed_only_at_the_version_that_was_read(self, journal: Journal) -> None:
        journal.swap("key", 1, None)
        first = read(journal, "key").version
        journal.swap("key", 2, first)
        assert not journal.remove("key", first)
        assert journal.remove("key", read(journal, "key").version)
        assert journal.read("key") is None
        assert not journal.remove("key", first)

    def test_a_version_never_comes_back(self, journal: Journal) -> None:
        """A worker that slept through remove and create must not overwrite what it never read."""
        versions = []
        for _ in range(5):
            assert journal.swap("key", "same", None)
            versions.append(read(journal, "key").version)
            assert journal.remove("key", versions[-1])
        assert len(set(versions)) == 5
        journal.swap("key", "same", None)
        assert not any(journal.swap("key", "late", version) for version in versions)
        assert not any(journal.remove("key", version) for version in versions)

    def test_a_version_belongs_to_its_key(self, journal: Journal) -> None:
        journal.swap("a", 1, None)
        journal.swap("b", 1, None)
        assert not journal.swap("a", 2, read(journal, "b").version)
        assert not journal.remove("a", read(journal, "b").version)

    def test_an_entry_says_when_it_changed(self, journal: Journal) -> None:
        journal.swap("key", 1, None)
        assert abs(read(journal, "key").changed_at - datetime.now(UTC)) < timedelta(minutes=10)

    def test_a_scan_gives_the_entries_of_a_prefix_in_order(self, journal: Journal) -> None:
        keys = ["a", "a%", "a/1", "a/10", "a/2", "a/é", "a/\U0001f600", "a0", "a_", "A/1", "b/1"]
        for key in reversed(keys):
            journal.swap(key, {"key": key}, None)
        for prefix in ("a/", "a", "a%", "a_", "a/1", "A", "", "é", "c"):
            found = list(journal.scan(prefix))
            assert [entry.key for entry in found] == sorted(k for k in keys if k.startswith(prefix))
            assert [entry.value for entry in found] == [{"key": entry.key} for entry in found]
        assert next(journal.scan("a/1")) == journal.read("a/1")

    def test_a_scan_of_many_entries_is_whole(self, journal: Journal) -> None:
        keys = [f"plans/{number:04d}" for number in range(1_100)]
        for key in keys:
            journal.swap(key, 1, None)
        assert [entry.key for entry in journal.scan("plans/")] == keys
        assert [entry.key for entry in journal.scan("plans/01")] == keys[100:200]

    def test_entries_may_change_while_they_are_scanned(self, journal: Journal) -> None:
        for number in range(10):
            journal.swap(f"waiting/{number}", 1, None)
        for entry in journal.scan("waiting/"):
            assert journal.remove(entry.key, entry.version)
        assert list(journal.scan("waiting/")) == []

    def test_of_racing_processes_one_swaps(self, opener: Callable[[], Journal]) -> None:
        outcomes = together(2, _create_each, opener)
        journal = opener()
        for race in range(RACES):
            winners = [number for number in (0, 1) if outcomes[number][race]]
            assert len(winners) == 1
            assert read(journal, f"race/{race:02d}").value == winners[0]
        close(journal)

    def test_no_increment_of_racing_processes_is_lost(self, opener: Callable[[], Journal]) -> None:
        together(2, _increment_often, opener)
        journal = opener()
        assert read(journal, "counter").value == 2 * RACES
        close(journal)

    def test_no_increment_of_racing_threads_is_lost(self, journal: Journal) -> None:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: _increment(journal), range(40)))
        assert read(journal, "counter").value == 40

    def test_a_change_outlives_a_killed_process(self, opener: Callable[[], Journal]) -> None:
        version = killed(_swap_and_tell, opener)
        journal = opener()
        assert read(journal, "key").value == "kept"
        assert journal.swap("key", "changed", version)
        close(journal)


def read(journal: Journal, key: str) -> Entry:
    """The entry, which is there."""
    entry = journal.read(key)
    assert entry is not None
    return entry


def close(opened: object) -> None:
    """What was opened is closed, if it can be."""
    getattr(opened, "close", lambda: None)()


def _create_each(number: int, barrier: Barrier, opener: Callable[[], Journal]) -> list[bool]:
    barrier.wait()
    journal, outcomes = opener(), []
    for race in range(RACES):
        barrier.wait()
        outcomes.append(journal.swap(f"race/{race:02d}", number, None))
    close(journal)
    return outcomes


def _increment_often(number: int, barrier: Barrier, opener: Callable[[], Journal]) -> int:
    journal = opener()
    barrier.wait()
    for _ in range(RACES):
        _increment(journal)
    close(journal)
    return number


def _increment(journal: Journal) -> None:
    while True:
        entry = journal.read("counter")
        value, version = (entry.value, entry.version) if entry else (0, None)
        if journal.swap("counter", value + 1, version):
            return


def _swap_and_tell(tell: Callable[[object], None], opener: Callable[[], Journal]) -> None:
    journal = opener()
    journal.swap("key", "kept", None)
    tell(read(journal, "key").version)
