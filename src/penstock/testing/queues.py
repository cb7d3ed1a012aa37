"""What every queue does. Subclass `QueueContract`, say how to open yours, and run pytest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from multiprocessing.synchronize import Barrier

import pytest

from penstock.ports import Delivery, Depth, Queue
from penstock.testing.clock import ManualClock
from penstock.testing.journals import close
from penstock.testing.processes import killed, together

VISIBILITY_S = 30.0
MAX_RECEIVES = 3
MESSAGES = 60


class QueueContract:
    """The tests of a queue. `opener` is a fixture: a picklable function that opens the queue.

    Every call of it opens the same queues, empty when a test begins, with the fixture `clock`,
    a visibility timeout of `VISIBILITY_S`, and `MAX_RECEIVES`.
    """

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def opener(self, clock: ManualClock) -> Callable[[], Queue]:
        raise NotImplementedError("make a fixture `opener` that opens your queue")

    @pytest.fixture
    def queue(self, opener: Callable[[], Queue]) -> Iterator[Queue]:
        queue = opener()
        yield queue
        close(queue)

    def test_an_empty_queue_gives_nothing(self, queue: Queue) -> None:
        assert queue.receive("chunks") == []
        assert queue.depth("chunks") == Depth(0, 0, 0, 0)

    def test_a_message_comes_as_it_was_sent(self, queue: Queue, clock: ManualClock) -> None:
        body = '{"é": "☃ \\u0000 \'\\""}' + "x" * 60_000
        queue.send("chunks", [body])
        sent_at = clock.now()
        clock.advance(5)
        (delivery,) = queue.receive("chunks")
        assert (delivery.queue, delivery.body, delivery.received) == ("chunks", body, 1)
        assert delivery.sent_at == sent_at

    def test_messages_stay_in_their_queue(self, queue: Queue) -> None:
        queue.send("chunks", ["c"])
        queue.send("slices", ["s"])
        assert bodies(queue.receive("slices", 10)) == ["s"]
        assert queue.depth("chunks") == Depth(1, 0, 0, 0)

    def test_a_receive_gives_at_most_its_limit(self, queue: Queue) -> None:
        queue.send("chunks", ["1", "2", "3"])
        assert len(queue.receive("chunks", 2)) <= 2
        assert len(queue.receive("chunks")) <= 1

    def test_every_message_of_a_batch_comes_once(self, queue: Queue) -> None:
        """In any order: stages may not need one."""
        queue.send("chunks", [str(number) for number in range(25)])
        assert sorted(take_all(queue), key=int) == [str(number) for number in range(25)]

    def test_equal_bodies_are_different_messages(self, queue: Queue) -> None:
        queue.send("chunks", ["same", "same"])
        first, second = queue.receive("chunks", 2)
        queue.ack(first)
        assert queue.depth("chunks").in_flight == 1
        queue.ack(second)
        assert queue.depth("chunks") == Depth(0, 0, 0, 0)

    def test_a_received_message_is_hidden(self, queue: Queue, clock: ManualClock) -> None:
        queue.send("chunks", ["1"])
        queue.receive("chunks")
        clock.advance(VISIBILITY_S - 1)
        assert queue.receive("chunks") == []
        assert queue.depth("chunks") == Depth(0, 1, 0, 0)

    def test_an_acknowledged_message_never_comes_again(
        self, queue: Queue, clock: ManualClock
    ) -> None:
        queue.send("chunks", ["1"])
        queue.ack(queue.receive("chunks")[0])
        clock.advance(VISIBILITY_S * 10)
        assert queue.receive("chunks") == []
        assert queue.depth("chunks") == Depth(0, 0, 0, 0)

    def test_a_forgotten_message_comes_again(self, queue: Queue, clock: ManualClock) -> None:
        queue.send("chunks", ["1"])
        (first,) = queue.receive("chunks")
        clock.advance(VISIBILITY_S)
        (second,) = queue.receive("chunks")
        assert (second.id, second.body, second.received) == (first.id, "1", 2)
        assert second.receipt != first.receipt

    def test_a_late_worker_cannot_touch_what_another_received(
        self, queue: Queue, clock: ManualClock
    ) -> None:
        queue.send("chunks", ["1"])
        (late,) = queue.receive("chunks")
        clock.advance(VISIBILITY_S)
        (current,) = queue.receive("chunks")
        assert not queue.extend(late)
        queue.retry(late, 0, "late")
        queue.reject(late, "late")
        queue.ack(late)
        assert queue.depth("chunks") == Depth(0, 1, 0, 0)
        assert queue.extend(current)
        queue.ack(current)
        assert queue.depth("chunks") == Depth(0, 0, 0, 0)

    def test_an_extended_message_stays_hidden(self, queue: Queue, clock: ManualClock) -> None:
        queue.send("chunks", ["1"])
        (delivery,) = queue.receive("chunks")
        for _ in range(4):
            clock.advance(VISIBILITY_S - 1)
            assert queue.extend(delivery)
        assert queue.receive("chunks") == []
        clock.advance(VISIBILITY_S)
        assert queue.receive("chunks")[0].received == 2

    def test_what_is_acknowledged_cannot_be_extended(self, queue: Queue) -> None:
        queue.send("chunks", ["1"])
        (delivery,) = queue.receive("chunks")
        queue.ack(delivery)
        assert not queue.extend(delivery)

    def test_a_delayed_message_comes_later(self, queue: Queue, clock: ManualClock) -> None:
        queue.send("chunks", ["1"], delay_s=10)
        assert queue.receive("chunks") == []
        assert queue.depth("chunks") == Depth(0, 0, 1, 0)
        clock.advance(10)
        assert bodies(queue.receive("chunks")) == ["1"]

    def test_a_retried_message_comes_after_its_delay(
        self, queue: Queue, clock: ManualClock
    ) -> None:
        queue.send("chunks", ["1"])
        queue.retry(queue.receive("chunks")[0], 10, "the warehouse is away")
        assert queue.receive("chunks") == []
        clock.advance(10)
        assert queue.receive("chunks")[0].received == 2

    def test_a_message_retried_at_once_is_ready(self, queue: Queue) -> None:
        queue.send("chunks", ["1"])
        queue.retry(queue.receive("chunks")[0], 0, "again")
        assert bodies(queue.receive("chunks")) == ["1"]

    def test_a_rejected_message_is_dead_with_its_reason(
        self, queue: Queue, clock: ManualClock
    ) -> None:
        queue.send("chunks", ["1"])
        sent_at = clock.now()
        clock.advance(5)
        (delivery,) = queue.receive("chunks")
        queue.reject(delivery, "not a message: é")
        (letter,) = queue.dead("chunks")
        assert (letter.id, letter.queue, letter.body) == (delivery.id, "chunks", "1")
        assert (letter.reason, letter.received) == ("not a message: é", 1)
        assert (letter.sent_at, letter.dead_at) == (sent_at, clock.now())
        clock.advance(VISIBILITY_S * 10)
        assert queue.receive("chunks") == []
        assert queue.depth("chunks") == Depth(0, 0, 0, 1)

    def test_a_message_retried_too_often_is_dead(self, queue: Queue) -> None:
        queue.send("chunks", ["1"])
        for _ in range(MAX_RECEIVES):
            assert queue.dead() == []
            queue.retry(queue.receive("chunks")[0], 0, "a bad day")
        assert queue.receive("chunks") == []
        (letter,) = queue.dead()
        assert "a bad day" in letter.reason
        assert letter.received == MAX_RECEIVES

    def test_a_message_forgotten_too_often_is_dead(self, queue: Queue, clock: ManualClock) -> None:
        """What kills its worker every time must not do so for ever."""
        queue.send("chunks", ["1"])
        for _ in range(MAX_RECEIVES):
            assert bodies(queue.receive("chunks")) == ["1"]
            clock.advance(VISIBILITY_S)
        assert queue.receive("chunks") == []
        (letter,) = queue.dead("chunks")
        assert str(MAX_RECEIVES) in letter.reason
        assert queue.depth("chunks") == Depth(0, 0, 0, 1)

    def test_a_dying_message_does_not_hide_a_good_one(
        self, queue: Queue, clock: ManualClock
    ) -> None:
        queue.send("chunks", ["bad"])
        for _ in range(MAX_RECEIVES):
            queue.receive("chunks")
            clock.advance(VISIBILITY_S)
        queue.send("chunks", ["good"])
        assert take_all(queue) == ["good"]

    def test_dead_letters_are_listed_by_queue(self, queue: Queue) -> None:
        for name in ("chunks", "slices"):
            queue.send(name, [name])
            queue.reject(queue.receive(name)[0], "bad")
        assert [letter.body for letter in queue.dead("slices")] == ["slices"]
        assert sorted(letter.body for letter in queue.dead()) == ["chunks", "slices"]

    def test_a_redriven_letter_is_a_message_with_a_fresh_count(self, queue: Queue) -> None:
        queue.send("chunks", ["1", "2"])
        for delivery in queue.receive("chunks", 2):
            queue.reject(delivery, "bad")
        (one,) = [letter for letter in queue.dead() if letter.body == "1"]
        assert queue.redrive([one.id, "no such letter"]) == 1
        assert queue.redrive([one.id]) == 0, "it is a message now"
        (again,) = queue.receive("chunks", 5)
        assert (again.body, again.received) == ("1", 1)
        assert [letter.body for letter in queue.dead()] == ["2"]

    def test_a_discarded_letter_is_gone(self, queue: Queue) -> None:
        queue.send("chunks", ["1"])
        (delivery,) = queue.receive("chunks")
        assert queue.discard([delivery.id]) == 0, "it is in flight"
        queue.reject(delivery, "bad")
        assert queue.discard([delivery.id, "no such letter"]) == 1
        assert queue.dead() == []
        assert queue.depth("chunks") == Depth(0, 0, 0, 0)

    def test_of_racing_processes_one_receives_each_message(
        self, opener: Callable[[], Queue]
    ) -> None:
        queue = opener()
        queue.send("chunks", [str(number) for number in range(MESSAGES)])
        first, second = together(2, _take_all, opener)
        assert Counter(first + second) == Counter(str(number) for number in range(MESSAGES))
        assert queue.depth("chunks") == Depth(0, 0, 0, 0)
        close(queue)

    def test_of_racing_threads_one_receives_each_message(self, queue: Queue) -> None:
        queue.send("chunks", [str(number) for number in range(MESSAGES)])
        with ThreadPoolExecutor(4) as threads:
            taken = list(threads.map(lambda _: take_all(queue), range(4)))
        assert Counter(chain.from_iterable(taken)) == Counter(
            str(number) for number in range(MESSAGES)
        )

    def test_a_message_outlives_the_process_that_sent_it(self, opener: Callable[[], Queue]) -> None:
        killed(_send_and_tell, opener)
        queue = opener()
        assert sorted(take_all(queue)) == ["1", "2"]
        close(queue)

    def test_the_message_of_a_killed_worker_comes_again(
        self, opener: Callable[[], Queue], clock: ManualClock
    ) -> None:
        queue = opener()
        queue.send("chunks", ["1"])
        assert killed(_receive_and_tell, opener) == ["1"]
        clock.advance(VISIBILITY_S)
        (delivery,) = queue.receive("chunks")
        assert (delivery.body, delivery.received) == ("1", 2)
        close(queue)


def bodies(deliveries: list[Delivery]) -> list[str]:
    """What the deliveries say."""
    return [delivery.body for delivery in deliveries]


def take_all(queue: Queue) -> list[str]:
    """Every visible message of `chunks`, received and acknowledged."""
    taken: list[str] = []
    while deliveries := queue.receive("chunks", 3):
        for delivery in deliveries:
            taken.append(delivery.body)
            queue.ack(delivery)
    return taken


def _take_all(_: int, barrier: Barrier, opener: Callable[[], Queue]) -> list[str]:
    queue = opener()
    barrier.wait()
    taken = take_all(queue)
    close(queue)
    return taken


def _send_and_tell(tell: Callable[[object], None], opener: Callable[[], Queue]) -> None:
    opener().send("chunks", ["1", "2"])
    tell("sent")


def _receive_and_tell(tell: Callable[[object], None], opener: Callable[[], Queue]) -> None:
    queue = opener()
    tell(bodies(queue.receive("chunks")))
