"""Each queue does what every queue does; and what is SQLite's own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from penstock.journal.sqlite import SqliteJournal
from penstock.ports import Depth, Queue
from penstock.queues.sqlite import SqliteQueue
from penstock.queues.workers import Workers
from penstock.testing.clock import ManualClock
from penstock.testing.journals import read
from penstock.testing.processes import killed, together
from penstock.testing.queues import MAX_RECEIVES, VISIBILITY_S, QueueContract, bodies, take_all

Opener = Callable[[], SqliteQueue]


def opening(folder: Path, clock: ManualClock) -> Opener:
    path = folder / "journal" / "state.db"
    return partial(SqliteQueue, path, clock, VISIBILITY_S, MAX_RECEIVES)


class TestSqliteQueue(QueueContract):
    @pytest.fixture
    def opener(self, tmp_path: Path, clock: ManualClock) -> Callable[[], Queue]:
        return opening(tmp_path, clock)


@pytest.fixture
def opener(tmp_path: Path) -> Opener:
    return opening(tmp_path, ManualClock())


def _receive_two_and_tell(tell: Callable[[object], None], opener: Opener) -> None:
    queue = opener()
    tell(bodies(queue.receive("chunks", 2)))


def test_the_messages_of_a_killed_worker_come_again_at_once(opener: Opener) -> None:
    """Nobody waits for the visibility timeout after kill -9."""
    queue = opener()
    queue.send("chunks", ["1", "2", "3"])
    assert killed(_receive_two_and_tell, opener) == ["1", "2"]
    assert queue.depth("chunks") == Depth(1, 2, 0, 0)
    assert bodies(queue.receive("chunks")) == ["3"]
    assert [(d.body, d.received) for d in queue.receive("chunks", 9)] == [("1", 2), ("2", 2)]
    assert len(list((queue._workers._folder).glob("*.lock"))) == 1
    queue.close()


def test_a_new_process_finds_the_messages_of_a_killed_one(opener: Opener) -> None:
    queue = opener()
    queue.send("chunks", ["1"])
    queue.close()
    killed(_receive_two_and_tell, opener)
    queue = opener()
    assert bodies(queue.receive("chunks")) == ["1"]
    queue.close()


def _hold(number: int, barrier: Barrier, opener: Opener) -> list[str]:
    """Process 0 holds a message while process 1 looks for one."""
    queue = opener()
    taken: list[str] = []
    if number == 0:
        taken = bodies(queue.receive("chunks"))
    barrier.wait()
    if number == 1:
        taken = bodies(queue.receive("chunks"))
    barrier.wait()
    queue.close()
    return taken


def test_the_message_of_a_living_worker_stays_hidden(opener: Opener) -> None:
    queue = opener()
    queue.send("chunks", ["1"])
    assert together(2, _hold, opener) == [["1"], []]
    queue.close()


def test_a_worker_that_closes_gives_its_messages_back(opener: Opener) -> None:
    first, second = opener(), opener()
    first.send("chunks", ["1"])
    first.receive("chunks")
    assert second.receive("chunks") == []
    first.close()
    assert bodies(second.receive("chunks")) == ["1"]
    second.close()


def test_a_killed_worker_burns_receives_all_the_same(opener: Opener) -> None:
    """A message that kills its worker ends in the DLQ, also when nobody waits."""
    queue = opener()
    queue.send("chunks", ["bad"])
    for _ in range(MAX_RECEIVES):
        victim = opener()
        assert bodies(victim.receive("chunks")) == ["bad"]
        victim.close()
    assert queue.receive("chunks") == []
    assert [letter.received for letter in queue.dead()] == [MAX_RECEIVES]
    queue.close()


def test_the_reason_of_a_death_keeps_the_last_failure(tmp_path: Path) -> None:
    clock = ManualClock()
    queue = opening(tmp_path, clock)()
    queue.send("chunks", ["1"])
    queue.retry(queue.receive("chunks")[0], 0, "a bad day")
    for _ in range(MAX_RECEIVES - 1):
        queue.receive("chunks")
        clock.advance(VISIBILITY_S)
    assert queue.receive("chunks") == []
    assert queue.dead()[0].reason == "a bad day; received 3 times without an answer"
    queue.close()


def test_messages_come_oldest_first(opener: Opener) -> None:
    queue = opener()
    queue.send("chunks", ["1", "2"])
    queue.send("chunks", ["3"])
    queue.retry(queue.receive("chunks")[0], 0, "again")
    assert bodies(queue.receive("chunks", 5)) == ["1", "2", "3"]
    queue.close()


def test_a_queue_says_which_messages_it_lacks(opener: Opener) -> None:
    """Ready, delayed and in flight count; dead and acknowledged ones do not."""
    queue = opener()
    queue.send("chunks", ["acked", "dead", "in flight"])
    for delivery in queue.receive("chunks", 3):
        if delivery.body == "acked":
            queue.ack(delivery)
        elif delivery.body == "dead":
            queue.reject(delivery, "bad")
    queue.send("chunks", ["ready é\u0001", "ready é\u0001"])
    queue.send("chunks", ["delayed"], delay_s=60)
    queue.send("slices", ["elsewhere"])
    asked = ["new", "ready é\u0001", "delayed", "in flight", "dead", "acked", "elsewhere", "new"]
    assert queue.missing("chunks", asked) == ["new", "dead", "acked", "elsewhere"]
    assert queue.missing("chunks", []) == []
    queue.close()


def test_journal_and_queue_share_a_file(opener: Opener, tmp_path: Path) -> None:
    journal, queue = SqliteJournal(tmp_path / "journal" / "state.db"), opener()
    queue.send("chunks", ["1"])
    journal.swap("key", 1, None)
    assert take_all(queue) == ["1"]
    assert read(journal, "key").value == 1
    assert queue._database.rows("PRAGMA synchronous") == [(1,)]
    assert journal._database.rows("PRAGMA synchronous") == [(2,)]
    queue.close()
    journal.close()


def test_an_idle_receive_does_not_ask_for_the_write_lock(opener: Opener) -> None:
    queue, other = opener(), opener()
    with other._database.transaction():
        assert queue.receive("chunks") == []
        assert queue.depth("chunks") == Depth(0, 0, 0, 0)
    queue.close()
    other.close()


def test_wait_returns_when_something_was_sent(opener: Opener) -> None:
    queue = opener()
    assert queue.receive("chunks") == []
    waiting = threading.Thread(target=queue.wait, args=(600,))
    waiting.start()
    queue.send("chunks", ["1"])
    waiting.join()
    queue.close()


def test_wait_does_not_miss_what_was_sent_after_an_empty_receive(opener: Opener) -> None:
    queue = opener()
    assert queue.receive("chunks") == []
    queue.send("chunks", ["1"])
    queue.wait(600)
    assert bodies(queue.receive("chunks")) == ["1"]
    queue.close()


def test_wait_ends_after_its_time(opener: Opener) -> None:
    queue = opener()
    queue.receive("chunks")
    queue.wait(0.001)
    queue.close()


@pytest.mark.parametrize("wake", ["retry", "redrive", "close"])
def test_wait_returns_when_something_may_have_changed(opener: Opener, wake: str) -> None:
    queue = opener()
    queue.send("chunks", ["1"])
    (delivery,) = queue.receive("chunks")
    if wake == "redrive":
        queue.reject(delivery, "bad")
    queue.receive("chunks")
    if wake == "retry":
        queue.retry(delivery, 0, "again")
    elif wake == "redrive":
        queue.redrive([delivery.id])
    else:
        queue.close()
    queue.wait(600)
    queue.close()


# ---- workers


def test_a_worker_is_dead_when_its_lock_is_free(tmp_path: Path) -> None:
    one, other = Workers(tmp_path), Workers(tmp_path)
    name = one.own()
    with other.if_dead(name) as is_dead:
        assert not is_dead
    assert (tmp_path / f"{name}.lock").exists()
    with one.if_dead(name) as is_dead:
        assert not is_dead
    (tmp_path / f"{name}.lock").unlink()
    with one.if_dead(name) as is_dead:
        assert not is_dead, "a worker is alive to itself, whatever was cleaned away"
    one.close()
    with other.if_dead(name) as is_dead:
        assert is_dead
    other.close()


def test_files_of_dead_workers_are_removed(tmp_path: Path) -> None:
    (tmp_path / "0123.lock").write_bytes(b"")
    workers = Workers(tmp_path)
    name = workers.own()
    assert [path.stem for path in tmp_path.iterdir()] == [name]
    workers.close()
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_a_cleaner_took_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making its file and locking it, a new worker looks dead to a cleaner."""
    cleaner, workers = Workers(tmp_path), Workers(tmp_path)
    cleaned: list[Path] = []
    real_open = Path.open

    def open_and_be_cleaned(self: Path, mode: str = "r") -> object:
        file = real_open(self, mode)
        if mode == "xb" and not cleaned:
            cleaned.append(self)
            with cleaner.if_dead(self.stem) as is_dead:
                assert is_dead
        return file

    monkeypatch.setattr(Path, "open", open_and_be_cleaned)
    name = workers.own()
    assert cleaned
    assert cleaned[0].stem != name
    assert (tmp_path / f"{name}.lock").exists()
    with cleaner.if_dead(name) as is_dead:
        assert not is_dead
    workers.close()
