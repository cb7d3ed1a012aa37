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
    """One thread of the simulation.

    Shape: `pending` names the call it stands before ("" until it was let go the first time).
    """

    name: str
    thread: threading.Thread | None = None
    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    budget: int = 0
    verdict: Verdict = "go"
    pending: str = ""
    dead: bool = False
    done: bool = False
    crash: str = ""


class Lockstep:
    """All workers of one simulation. Every method but `call` is the director's."""

    def __init__(self, say: Callable[..., None]) -> None:
        self.workers: list[Worker] = []
        self.current: Worker | None = None
        self.steps = 0
        self._director = threading.Semaphore(0)
        self._say = say

    def spawn(self, name: str, body: Callable[[], None]) -> Worker:
        """A worker stands before its first step."""
        worker = Worker(name)
        worker.thread = threading.Thread(target=self._live, args=(worker, body), daemon=True)
        self.workers.append(worker)
        worker.thread.start()
        return worker

    def grant(self, worker: Worker, calls: int = 1, verdict: Verdict = "go") -> None:
        """The worker made so many calls, or ended; it stands still again."""
        worker.budget, worker.verdict = calls, verdict
        self.current = worker
        worker.gate.release()
        self._director.acquire()
        self.current = None
        if worker.done:
            assert worker.thread is not None
            worker.thread.join()
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
        if worker is None or threading.current_thread() is not worker.thread:
            return "go"
        if worker.dead:
            raise Killed
        self.steps += 1
        worker.pending = what
        worker.budget -= 1
        if worker.budget <= 0:
            self._director.release()
            worker.gate.acquire()
            verdict, worker.verdict = worker.verdict, "go"
        else:
            verdict = "go"
        if verdict == "kill":
            worker.dead = True
        if worker.dead:
            raise Killed
        if verdict != "go":
            self._say(f"{worker.name}: {verdict} at {what}")
        return verdict

    def _live(self, worker: Worker, body: Callable[[], None]) -> None:
        worker.gate.acquire()
        worker.verdict = "go" if worker.verdict != "kill" else "kill"
        try:
            if not worker.dead and worker.verdict == "go":
                body()
        except Killed:
            self._say(f"{worker.name} was killed at {worker.pending}")
        except BaseException:  # noqa: BLE001 - it is the simulation's to report
            worker.crash = traceback.format_exc(limit=-8)
        worker.done = True
        self._director.release()
