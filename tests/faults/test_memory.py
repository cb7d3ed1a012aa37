"""The fakes that the simulation stands on keep the published contracts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.ports import Journal, Store
from penstock.testing.journals import JournalContract
from penstock.testing.memory import MemoryJournal, MemoryStore
from penstock.testing.stores import StoreContract

RACES = 200


def _racing(act: Callable[[int], bool]) -> list[bool]:
    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(act, range(4)))


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def opener(self) -> Callable[[], Store]:
        store = MemoryStore()
        return lambda: store

    def test_of_racing_processes_one_creates(self, opener: Callable[[], Store]) -> None:
        """Processes cannot share it; threads do."""
        for race in range(RACES):
            assert sum(_racing(lambda n, race=race: opener().create(f"race/{race}", b""))) == 1


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def opener(self) -> Callable[[], Journal]:
        journal = MemoryJournal()
        return lambda: journal

    def test_of_racing_processes_one_swaps(self, opener: Callable[[], Journal]) -> None:
        """Processes cannot share it; threads do."""
        for race in range(RACES):
            assert sum(_racing(lambda n, race=race: opener().swap(f"race/{race}", n, None))) == 1

    # A process cannot share it, and it dies with its process.
    test_no_increment_of_racing_processes_is_lost = None
    test_a_change_outlives_a_killed_process = None
