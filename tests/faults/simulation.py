"""The real stages, settled by the real workers' code, in one seeded schedule with faults."""

from __future__ import annotations

import random
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
from tests.faults import quick
from tests.faults.actors import Actors
from tests.faults.lockstep import Crew, Lockstep, Verdict, Worker
from tests.faults.oracle import Oracle
from tests.faults.settings import KEY, Settings, Violation
from tests.faults.source import LAG, Mode, ScriptedSource, Table
from tests.faults.world import (
    SimulatedWorkspace,
    SteppedJournal,
    SteppedQueue,
    SteppedStore,
    SteppedWarehouse,
)

from penstock import codec, layout
from penstock.model import Message, Plan, Trigger
from penstock.pipeline import BadRows, Expectation, Load, Stream
from penstock.ports import Delivery
from penstock.runtimes.embedded import Workers
from penstock.testing.clock import ManualClock
from penstock.testing.memory import MemoryJournal, MemoryStore


class Simulation:
    """One schedule: `run` raises Violation, and `trace` tells what happened."""

    def __init__(
        self,
        seed: int,
        mode: Mode,
        connection: duckdb.DuckDBPyConnection,
        crew: Crew,
        **options: Any,
    ) -> None:
        self.random = random.Random(f"{seed} {mode}")
        self.settings = replace(Settings.drawn(mode, self.random), **options)
        self.connection = connection
        self.trace: list[tuple[Any, ...]] = []
        self.clock = ManualClock()
        self.lockstep = Lockstep(crew, self.say)
        self.table = Table(mode, self.random)
        self.source = ScriptedSource(
            self.table,
            self.random,
            self.lockstep.call,
            connection,
            self.settings.resumable,
            self.settings.by_open_transactions,
        )
        self.journal = SteppedJournal(MemoryJournal(self.clock), self.lockstep, self.say)
        self.store = SteppedStore(MemoryStore(self.clock), self.lockstep, self.say, self.source)
        self.queue = SteppedQueue(self.lockstep, self.say)
        self.warehouse = SteppedWarehouse(self.lockstep, self.say)
        self.oracle = Oracle(self)
        self.actors = Actors(self)
        self.file = 0
        self.triggers: list[Trigger] = []
        self.accepted: list[Trigger] = []
        """Those that a planner answered."""
        self.asleep: list[Worker] = []
        self.crash = ""
        self._spawned = 0
        self._seen = -1

    # ---- what the runtime gives

    def say(self, *words: Any) -> None:
        self.trace.append(words)

    def emit(self, event: str, **fields: Any) -> None:
        """Listens to the workers' events: a bug ends as a retry with its traceback."""
        reason = str(fields.get("reason", ""))
        if "Traceback" in reason:
            self.crash = reason

    @property
    def digest(self) -> str:
        return f"file{self.file}"

    def stream_of(self, digest: str, name: str) -> Stream:
        """The pipeline file of that digest; one of its rules is not deterministic."""
        number, mode = int(digest.removeprefix("file")), self.settings.mode
        rejects = number % 3 == 1 and "reject" in self.settings.faults
        coin = self.random.randrange(2)
        rule = f"(uid * 7 + {number} * 5) % 4 <> 0 AND (uid % 6 <> 5 OR {coin} = 1)"
        cursor = "cur" if self.settings.has_cursor else None
        return Stream(
            name,
            "src",
            Load("main", "t", "append" if mode == "files" else mode),
            table="t" if mode != "files" else None,
            files="f*" if mode == "files" else None,
            cursor=cursor,
            primary_key=("k",) if mode == "merge" else (),
            version="ver" if mode == "merge" else None,
            expect=(Expectation("expression", {"sql": rule}),),
            bad_rows=BadRows("quarantine", 0.4 if rejects else 1.0, 0 if rejects else 100),
        )

    def reader(self, plan: Plan) -> tuple[ScriptedSource, Stream]:
        return self.source, self.stream_of(plan.digest, plan.key.stream)

    # ---- one schedule

    def run(self) -> None:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, self._stubbed():
            self.folder = Path(folder)
            self.workers = Workers(self._workspace())  # type: ignore[arg-type]
            self.stages: dict[str, Callable[..., Any]] = {
                "extract.src": self.workers._extract(),
                "transform": self.workers._transform(),
            }
            self.warehouse.open()
            try:
                self.warehouse.set_up("w")
                self.stages["load"] = self.workers._load(self.warehouse)
                self._go()
                self.oracle.check_end()
            finally:
                self.lockstep.workers += self.asleep
                for worker in list(self.lockstep.workers):
                    self.lockstep.kill(worker)
                self.warehouse.close()
                self.workers._pool.shutdown()

    def _workspace(self) -> SimulatedWorkspace:
        log = mock.Mock()
        log.emit = self.emit
        return SimulatedWorkspace(
            self.journal,
            self.store,
            self.queue,
            self.clock,
            self.folder,
            log,
            self.stream_of,
            self.reader,
        )

    @contextmanager
    def _stubbed(self) -> Iterator[None]:
        """Names are drawn from the seed, and transforms share one connection of DuckDB."""

        @contextmanager
        def connect(*_: Any, **__: Any) -> Iterator[duckdb.DuckDBPyConnection]:
            yield self.connection

        def uuid4() -> uuid.UUID:
            return uuid.UUID(int=self.random.getrandbits(128), version=4)

        with ExitStack() as stack:
            stack.enter_context(mock.patch("penstock.stages.transform.connect", connect))
            stack.enter_context(mock.patch("uuid.uuid4", uuid4))
            if not self.settings.real_transform:
                name = "penstock.stages.transform.transform_chunk"
                stack.enter_context(mock.patch(name, quick.transform_chunk))
            yield

    def _go(self) -> None:
        faults = self.settings.faults
        for _ in range(self.settings.steps):
            self._act()
            self.check_now()
        self.table.tick(LAG + 1)
        self.say("-- drain")
        self.settle()
        if "replay" in faults and self.random.random() < 0.4:
            self.file += 1
            self.spawn("replay", self.actors.replay)
            self.settle()
        if "gc" in faults and self.random.random() < 0.6:
            self.clock.advance(1)
            self.spawn("gc", self.actors.collect)
            self.settle()
        self._wake_everybody()
        self.settle()
        self._end_well()

    def _wake_everybody(self) -> None:
        self.say("-- an hour later, sleepers wake")
        self.lockstep.workers += self.asleep
        self.asleep = []
        if "duplicate" in self.settings.faults:
            for queue, body in self.random.sample(
                self.queue.graveyard, min(8, len(self.queue.graveyard))
            ):
                self.queue.put(queue, body)
            for trigger in self.triggers:
                if self.random.random() < 0.5:
                    self._spawn_planner(trigger)

    def _end_well(self) -> None:
        """A person corrects the file, so that nothing is rejected; two last runs follow."""
        self.file += 3 - self.file % 3
        self.settle()
        for _ in range(2):
            self.table.tick(LAG + 1)
            self.clock.advance(60)
            trigger = Trigger(f"final:{self.clock.now()}", "increment", self.clock.now())
            for _ in range(30):
                if self.journal.inner.read(layout.trigger_entry(KEY, trigger.id)):
                    break
                self._spawn_planner(trigger)
                self.settle()
            else:
                raise Violation("stuck: the last run does not end")

    # ---- the director

    def _act(self) -> None:
        chance, random_, faults = self.random.random(), self.random, self.settings.faults
        workers = self.lockstep.workers
        if chance < 0.50 and workers:
            self._step(random_.choice(workers))
        elif chance < 0.68 and self.queue.letters:
            if len(workers) < 8:
                name = random_.choice(list(self.queue.letters))
                self._deliver(name)
                if "duplicate" in faults and random_.random() < 0.25:
                    self._deliver(name)
        elif chance < 0.75:
            self.say(self.table.change("late" in faults and random_.random() < 0.3))
        elif chance < 0.82:
            self._tick(random_.randrange(1, 4))
        elif chance < 0.87:
            self._trigger()
        elif chance < 0.895:
            self._lose_something()
        elif chance < 0.91 and "change-file" in faults:
            self.file += 1
            self.say(f"the pipeline file is {self.digest} now")
        elif chance < 0.92 and "day" in faults:
            self.say("midnight")
            self.clock.advance(86_400)
        elif chance < 0.94:
            self.spawn("reconcile", self.actors.reconcile)
        elif chance < 0.955 and "gc" in faults:
            self.spawn("gc", self.actors.collect)
        elif chance < 0.975 and "replay" in faults:
            self.spawn("replay", self.actors.replay)
        elif chance < 0.98 and "hands" in faults:
            act = self.actors.start_over if random_.random() < 0.5 else self.actors.set_cursor
            self.spawn("hand", act)
        elif chance < 0.99 and self.asleep:
            worker = self.asleep.pop(random_.randrange(len(self.asleep)))
            workers.append(worker)
            self.say(worker.name, "wakes")

    def _tick(self, ticks: int) -> None:
        self.table.tick(ticks)
        self.clock.advance(ticks)

    def _step(self, worker: Worker) -> None:
        calls = self.random.choice([1, 1, 1, 1, 2, 2, 4, 8, 16, 48])
        verdict: Verdict = "go"
        chance, faults = self.random.random(), self.settings.faults
        if chance < 0.05 and "kill" in faults:
            verdict = self.random.choice(["kill", "kill after"])
            calls = 1
        elif chance < 0.09 and "reply" in faults:
            verdict = self.random.choice(["fail", "lose reply"])
        elif chance < 0.12 and "sleep" in faults and _may_sleep(worker):
            self.say(worker.name, "falls asleep before", worker.pending)
            self.lockstep.workers.remove(worker)
            self.asleep.append(worker)
            return
        self.grant(worker, calls, verdict)

    def grant(self, worker: Worker, calls: int, verdict: Verdict = "go") -> None:
        self.lockstep.grant(worker, calls, verdict)
        if worker.crash:
            raise Violation(f"{worker.name} crashed: {worker.crash}")
        if self.crash:
            raise Violation(f"a stage crashed: {self.crash}")

    def _lose_something(self) -> None:
        if self.queue.letters and "lose" in self.settings.faults:
            name = self.random.choice(list(self.queue.letters))
            self.say("lost:", name, self.queue.letters[name])
            self.queue.bury(name)
        elif self.queue.graveyard and "duplicate" in self.settings.faults:
            letter = self.random.choice(self.queue.graveyard)
            self.queue.put(*letter)
            self.say("comes again:", letter)

    def check_now(self) -> None:
        if self.warehouse.changes != self._seen:
            self._seen = self.warehouse.changes
            self.oracle.check_table()
        if self.random.random() < 0.04:
            self.oracle.check_audit(final=False)

    # ---- workers

    def spawn(self, name: str, body: Callable[[], None]) -> Worker:
        self._spawned += 1
        return self.lockstep.spawn(f"{name}#{self._spawned}", body)

    def _deliver(self, name: str) -> Worker:
        queue, body = self.queue.letters[name]
        delivery = Delivery(queue, name, body, name, 1, self.clock.now())
        kind = queue.partition(".")[0]
        worker = self.spawn(kind, lambda: self.workers._settle([delivery], self.stages[queue]))
        self.say(worker.name, "takes", _told(codec.unpack(body)))
        return worker

    def _deliver_once(self, name: str) -> None:
        """The message is delivered, and its twins are gone."""
        same = self.queue.letters[name]
        for twin in [n for n, letter in self.queue.letters.items() if letter == same]:
            if twin != name:
                self.queue.bury(twin)
        self._deliver(name)

    def _trigger(self) -> None:
        if self.triggers and "duplicate" in self.settings.faults and self.random.random() < 0.4:
            trigger = self.random.choice(self.triggers)
        else:
            kind = "refresh" if self._is_drawn("refresh", 0.2) else "increment"
            trigger = Trigger(f"t{len(self.triggers)}", kind, self.clock.now())  # type: ignore[arg-type]
            self.triggers.append(trigger)
        self._spawn_planner(trigger)

    def _is_drawn(self, fault: str, chance: float) -> bool:
        return fault in self.settings.faults and self.random.random() < chance

    def _spawn_planner(self, trigger: Trigger) -> Worker:
        digest = self.digest
        worker = self.spawn("planner", lambda: self.actors.plan(trigger, digest))
        self.say(worker.name, "has trigger", trigger.id, trigger.kind, "under", digest)
        return worker

    # ---- until nothing is missing

    def settle(self) -> None:
        """Everything in flight has arrived, and reconcile finds nothing missing."""
        for _ in range(40):
            self._drain()
            before = self.queue._sent
            self.lockstep.finish(self.spawn("reconcile", self.actors.reconcile))
            if self.queue._sent == before and not self.queue.letters:
                return
        raise Violation("stuck: reconcile finds something missing for ever")

    def _drain(self) -> None:
        for _ in range(4_000):
            workers = self.lockstep.workers
            if not workers and not self.queue.letters:
                return
            is_next = not workers or (len(workers) < 4 and self.random.random() < 0.3)
            if self.queue.letters and is_next:
                self._deliver_once(next(iter(self.queue.letters)))
            if workers:
                calls = self.random.choice([5, 40, 1_000, 1_000])
                self.grant(self.random.choice(workers), calls)
            self.check_now()
        raise Violation("stuck: does not drain")


def _may_sleep(worker: Worker) -> bool:
    """Not while it holds the warehouse's lock: whoever holds that is waited for."""
    outside = ("warehouse lock", "warehouse committed")
    return bool(worker.pending) and (
        worker.pending in outside or not worker.pending.startswith("warehouse")
    )


def _told(message: Message) -> str:
    body = codec.plain(message)
    return " ".join(str(body[k]) for k in ("run_id", "slice", "chunk", "generation") if k in body)
