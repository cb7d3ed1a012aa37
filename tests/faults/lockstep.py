"""Threads of which one runs at a time, and a director who decides at every port call who goes on.

A worker stops before each call of a port. The director lets it go on for some calls, and may say
of the first one that the worker dies before or after its effect, or that the reply is lost.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from penstock.errors import Transient

T = TypeVar("T")
Verdict = Literal["go", "kill", "kill after", "fail", "lose reply"]


class Killed(BaseException):
    """The worker is dead; nothing it does from here on has an effect."""


@dataclass(eq=False)
class Worker:
    """What one thread does in the simulation.

    Shape: `pending` names the call it stands before ("" until it was let go the first time).
    """

    name: str
    body: Callable[[], None]
    hand: Hand | None = None
    budget: int = 0
    verdict: Verdict = "go"
    pending: str = ""
    dead: bool = False
    done: bool = False
    acked: bool = False
    crash: str = ""


@dataclass(eq=False)
class Hand:
    """A thread that does one worker's work after another's; `gate` is closed while it stands."""

    gate: threading.Lock = field(default_factory=threading.Lock)
    work: Callable[[], None] | None = None
    thread: threading.Thread | None = None


class Crew:
    """Threads that are used again, since starting one takes longer than most of their work."""

    def __init__(self) -> None:
        self._idle: list[Hand] = []
        self._all: list[Hand] = []

    def hire(self, work: Callable[[], None]) -> Hand:
        """A thread that does `work` as soon as its gate opens."""
        hand = self._idle.pop() if self._idle else self._new()
        hand.work = work
        return hand

    def release(self, hand: Hand) -> None:
        self._idle.append(hand)

    def close(self) -> None:
        """Every thread has ended."""
        for hand in self._all:
            hand.work = None
            hand.gate.release()
        for hand in self._all:
            if hand.thread is not None:
                hand.thread.join()

    def _new(self) -> Hand:
        hand = Hand()
        hand.gate.acquire()
        hand.thread = threading.Thread(target=_work, args=(hand,), daemon=True)
        hand.thread.start()
        self._all.append(hand)
        return hand


def _work(hand: Hand) -> None:
    while True:
        hand.gate.acquire()
        if hand.work is None:
            return
        hand.work()


class Lockstep:
    """All workers of one simulation. Every method but `call` is the director's."""

    def __init__(self, crew: Crew, say: Callable[..., None]) -> None:
        self.workers: list[Worker] = []
        self.current: Worker | None = None
        self.steps = 0
        self._crew = crew
        self._director = threading.Lock()
        self._director.acquire()
        self._say = say

    def spawn(self, name: str, body: Callable[[], None]) -> Worker:
        """A worker stands before its first step."""
        worker = Worker(name, body)
        self.workers.append(worker)
        return worker

    def grant(self, worker: Worker, calls: int = 1, verdict: Verdict = "go") -> None:
        """The worker made so many calls, or ended; it stands still again."""
        worker.budget, worker.verdict = calls, verdict
        if worker.hand is None:
            worker.hand = self._crew.hire(lambda: self._live(worker))
        self.current = worker
        worker.hand.gate.release()
        self._director.acquire()
        self.current = None
        if worker.done:
            self._crew.release(worker.hand)
            self.workers.remove(worker)

    def finish(self, worker: Worker) -> None:
        """The worker has ended, undisturbed."""
        while not worker.done:
            self.grant(worker, 1_000_000)

    def kill(self, worker: Worker) -> None:
        worker.dead = True
        while not worker.done:
            self.grant(worker, 1)

    def call(self, what: str, effect: Callable[[], T]) -> T:
        """`effect` has happened, unless the director said otherwise."""
        verdict = self._pause(what)
        if verdict == "fail":
            raise Transient(f"{what}: no answer")
        answer = effect()
        worker = self.current
        if worker is not None and verdict == "kill after":
            worker.dead = True
            raise Killed
        if verdict == "lose reply":
            raise Transient(f"{what}: the reply was lost")
        return answer

    def _pause(self, what: str) -> Verdict:
        worker = self.current
        if worker is None or worker.hand is None:
            return "go"
        if worker.dead:
            raise Killed
        self.steps += 1
        worker.pending = what
        worker.budget -= 1
        if worker.budget > 0:
            return "go"
        self._director.release()
        worker.hand.gate.acquire()
        verdict, worker.verdict = worker.verdict, "go"
        if worker.dead or verdict == "kill":
            worker.dead = True
            raise Killed
        if verdict != "go":
            self._say(f"{worker.name}: {verdict} at {what}")
        return verdict

    def _live(self, worker: Worker) -> None:
        try:
            if worker.dead or worker.verdict == "kill":
                raise Killed  # noqa: TRY301 - it dies as everybody does
            worker.verdict = "go"
            worker.body()
        except Killed:
            self._say(f"{worker.name} was killed at {worker.pending}")
        except Transient as error:
            self._say(f"{worker.name} died of: {error.what}")
        except BaseException:  # noqa: BLE001 - it is the simulation's to report
            worker.crash = traceback.format_exc(limit=-8)
        worker.done = True
        self._director.release()
