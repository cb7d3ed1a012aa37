"""Each journal does what every journal does; and what is SQLite's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from penstock.errors import Broken, PenstockError
from penstock.journal.sqlite import SqliteJournal
from penstock.ports import Journal
from penstock.testing.journals import JournalContract, read
from penstock.testing.processes import together


class TestSqliteJournal(JournalContract):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Callable[[], Journal]:
        return partial(SqliteJournal, tmp_path / "journal" / "state.db")


def test_many_processes_open_a_new_file_together(tmp_path: Path) -> None:
    """Going over to WAL does not wait for its turn; opening takes turns."""
    assert together(6, _open_and_write, tmp_path) == list(range(6))


def _open_and_write(number: int, barrier: Barrier, folder: Path) -> int:
    for file in range(15):
        barrier.wait()
        journal = SqliteJournal(folder / f"{file}.db")
        assert journal.swap(f"by/{number}", number, None)
        journal.close()
    return number


def test_a_journal_that_is_closed_opens_again(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "state.db")
    journal.swap("key", 1, None)
    journal.close()
    journal.close()
    assert read(journal, "key").value == 1
    journal.close()


def test_every_change_is_synced_before_it_counts(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "state.db")
    journal.swap("key", 1, None)
    assert journal._database.rows("PRAGMA synchronous") == [(2,)]
    assert journal._database.rows("PRAGMA journal_mode") == [("wal",)]
    journal.close()


def test_a_file_that_is_no_journal_is_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database, but long enough to be one" * 50)
    with pytest.raises(Broken) as raised:
        SqliteJournal(tmp_path / "state.db").read("key")
    assert "state file is damaged" in str(raised.value)
    assert str(tmp_path / "state.db") in raised.value.where
    assert raised.value.fix


def test_a_place_that_takes_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(PenstockError, match="cannot be written") as raised:
        SqliteJournal(tmp_path / "state.db").read("key")
    assert raised.value.where == str(tmp_path / "state.db")
    (tmp_path / "file").write_text("")
    with pytest.raises(PenstockError, match="cannot be written"):
        SqliteJournal(tmp_path / "file" / "state.db").read("key")


def test_a_failed_change_leaves_no_transaction_open(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "state.db")
    with pytest.raises(TypeError):
        journal.swap("key", {1, 2}, None)
    with pytest.raises(ZeroDivisionError):
        _fail_halfway(journal)
    assert journal.read("half") is None
    assert journal.swap("key", 1, None)
    other = sqlite3.connect(tmp_path / "state.db", timeout=0)
    other.execute("BEGIN IMMEDIATE")
    other.close()
    journal.close()


def _fail_halfway(journal: SqliteJournal) -> None:
    with journal._database.transaction() as connection:
        connection.execute("INSERT INTO entries VALUES ('half', '1', 1, '')")
        raise ZeroDivisionError


def test_a_closed_journal_is_one_file_and_an_empty_lock(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "state.db")
    journal.swap("key", 1, None)
    journal.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.db", "state.db.opening"]
