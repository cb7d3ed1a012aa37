"""What people, schedules and timers do beside the stages, each as a worker that may die of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.faults.settings import KEEP_NOTHING, KEY, TARGET

from penstock.errors import Broken, Transient
from penstock.model import ByHand, Trigger
from penstock.stages import gc, hands
from penstock.stages.plan import Planner, slices_of
from penstock.stages.reconcile import reconcile, regenerate
from penstock.stages.state import read_head, read_plans, read_run

if TYPE_CHECKING:
    from tests.faults.simulation import Simulation


@dataclass
class Actors:
    """Over the simulation's ports."""

    sim: Simulation

    def plan(self, trigger: Trigger, digest: str) -> None:
        """As `penstock run` does, but for its patience."""
        planner = Planner(
            self.sim.journal,
            self.sim.store,
            self.sim.clock,
            self.sim.stream_of(digest, KEY.stream),
            digest,
            lambda: self.sim.source,
        )
        for _ in range(3):
            try:
                planned = planner(KEY, trigger)
                self.sim.accepted.append(trigger)
                if planned.plan is not None:
                    self.sim.workers.send(slices_of(planned.plan))
                return
            except Transient:
                continue

    def reconcile(self) -> None:
        self._patiently(
            lambda: self.sim.workers.send(
                reconcile(self.sim.journal, self.sim.store, KEY, self.sim.digest)
            )
        )

    def _patiently(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Transient as error:
            worker = self.sim.lockstep.current
            self.sim.say(worker.name if worker else "", f"gives up: {error.what}")

    def collect(self) -> None:
        def act() -> None:
            now = self.sim.clock.now() + timedelta(seconds=1)
            for _ in gc.collect(
                self.sim.journal, self.sim.store, self.sim.warehouse, KEY, TARGET, KEEP_NOTHING, now
            ):
                pass

        self._patiently(act)

    def start_over(self) -> None:
        self._by_hand(
            lambda: hands.start_over(
                self.sim.journal, self.sim.store, self.sim.clock, KEY, who="ann", why="to see"
            )
        )

    def set_cursor(self) -> None:
        """The cursor is set to what it is, which must not change a row."""

        def act() -> None:
            head, version = read_head(self.sim.journal, KEY)
            if not head.open:
                move = ByHand("ann", "to see", head.cursor)
                hands._move(
                    self.sim.journal, self.sim.store, self.sim.clock, KEY, head, version, move
                )

        self._by_hand(act)

    def _by_hand(self, act: Callable[[], object]) -> None:
        with suppress(Broken):
            self._patiently(act)

    def replay(self) -> None:
        """All chunks of a run again, or those with quarantined rows, under today's file."""
        only_bad = self.sim.random.random() < 0.5
        digest = self.sim.digest

        def act() -> None:
            plans = [plan for plan in read_plans(self.sim.journal, KEY) if plan.by_hand is None]
            if not plans:
                return
            plan = self.sim.random.choice(plans)
            state = read_run(self.sim.journal, self.sim.store, plan)
            if state.closing is not None or not state.complete:
                return
            chunks = [
                chunk
                for chunk in state.links
                if not only_bad
                or (chunk in state.commits and state.commits[chunk].counts.quarantined)
            ]
            self.sim.workers.send(regenerate(self.sim.journal, plan, chunks, digest))

        self._patiently(act)
