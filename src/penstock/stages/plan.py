"""Plan: a trigger becomes a run, once; and an extracted run is closed, once (rules 1 to 3 and 6).

Every seq of a stream has exactly one plan, made by a conditional create under that seq; the head
follows it by compare-and-set. Whoever finds a plan one ahead of the head moves the head for the
one that died in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from penstock import codec, layout
from penstock.model import (
    Head,
    Json,
    Message,
    Plan,
    SlicePlanned,
    StreamKey,
    TargetDirty,
    Trigger,
)
from penstock.pipeline import Stream
from penstock.ports import Claims, Clock, Entry, Journal, Source, Store
from penstock.stages.state import is_complete, read_contract, read_head, read_plan


@dataclass(frozen=True, slots=True)
class Planned:
    """Where a trigger stands: `run_id` once its run is closed for extraction ("" for a run that
    had nothing to read), `plan` while a run (its own or an earlier one) is open."""

    run_id: str | None
    plan: Plan | None


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans one stream under today's pipeline file.

    Shape: call it again until `run_id` is there; it never waits.
    Raises: Transient when the source cannot be asked; Rejected when the stream cannot be planned.
    """

    journal: Journal
    store: Store
    clock: Clock
    stream: Stream
    digest: str
    source: Callable[[], Source]

    def __call__(self, key: StreamKey, trigger: Trigger) -> Planned:
        while True:
            done = self.journal.read(layout.trigger_entry(key, trigger.id))
            if done is not None:
                return Planned(str(done.value["run_id"]), None)
            self._wait_in_line(key, trigger)
            head, version = read_head(self.journal, key)
            ahead = read_plan(self.journal, key, head.seq if head.open else head.seq + 1)
            if head.open and ahead is not None:
                return Planned(None, ahead)
            if ahead is not None:
                self._open(key, head, version, ahead)
            elif not self._plan(key, head, version):
                continue

    def _wait_in_line(self, key: StreamKey, trigger: Trigger) -> None:
        """The request is durable before anything is decided (rule 1)."""
        self.journal.swap(layout.waiting_entry(key, trigger.id), codec.plain(trigger), None)

    def _plan(self, key: StreamKey, head: Head, version: int | str | None) -> bool:
        waiting = self._waiting(key)
        if not waiting:
            return False
        # A refresh goes first: after a start-over the cursor is gone, and an increment would read
        # everything beside the rows that stand in the table until the refresh replaces them.
        kind = min(waiting, key=lambda trigger: trigger.kind != "refresh").kind
        triggers = [trigger for trigger in waiting if trigger.kind == kind]
        reads_all = kind == "refresh" or self.stream.load.write == "replace"
        window = self.source().plan(
            self.stream, "refresh" if reads_all else "increment", head.cursor, self._claims(key)
        )
        if not window.slices:
            if version is None:  # the stream is known from now on
                self.journal.swap(layout.head_entry(key), codec.plain(head), None)
            for trigger in triggers:
                self._mark_done(key, trigger.id, "")
            return False
        contract = read_contract(self.journal, key)
        plan = Plan(
            run_id=make_run_id(key, triggers[0], head.seq + 1),
            key=key,
            seq=head.seq + 1,
            kind="refresh" if reads_all else "increment",
            digest=self.digest,
            planned_at=self.clock.now(),
            trigger_ids=tuple(trigger.id for trigger in triggers),
            window=window,
            source=self.stream.source,
            contract_version=contract.version if contract else 0,
            cursor_before=head.cursor,
            swap=reads_all or window.replaces,
            asserted=bool(self.stream.asserts),
            scope="table" if reads_all else "files",
        )
        self.journal.swap(layout.unsettled_entry(key, plan.seq), {"run_id": plan.run_id}, None)
        if self.journal.swap(layout.plan_entry(key, plan.seq), codec.plain(plan), None):
            self._open(key, head, version, plan)
        return True

    def _open(self, key: StreamKey, head: Head, version: int | str | None, plan: Plan) -> None:
        opened = replace(head, seq=plan.seq, open=True)
        self.journal.swap(layout.head_entry(key), codec.plain(opened), version)

    def _waiting(self, key: StreamKey) -> list[Trigger]:
        """The requests in line, oldest first, without those that a closed run has answered."""
        waiting = []
        for entry in self.journal.scan(layout.waiting_entries(key)):
            trigger = codec.read(Trigger, entry.value)
            if self.journal.read(layout.trigger_entry(key, trigger.id)) is not None:
                self.journal.remove(entry.key, entry.version)
            else:
                waiting.append(trigger)
        return sorted(waiting, key=lambda trigger: (trigger.at, trigger.id))

    def _mark_done(self, key: StreamKey, trigger_id: str, run_id: str) -> None:
        mark_done(self.journal, key, trigger_id, run_id)

    def _claims(self, key: StreamKey) -> Claims:
        if self.stream.files is None:
            return Claims()
        claimed = (entry.value for entry in self.journal.scan(layout.claim_entries(key)))
        return Claims({value["path"]: tuple(value["versions"]) for value in claimed})


def make_run_id(key: StreamKey, trigger: Trigger, seq: int) -> str:
    """The planned time, and a hash of what asked for the run, and of its place among runs.

    Why: a run that was given up leaves its trigger waiting; the trigger's next run must not go on
    in the chains of the first (tests/faults).
    """
    identity = hashlib.sha256(f"{key}|{trigger.kind}|{trigger.id}|{seq}".encode()).hexdigest()[:8]
    return f"{trigger.at:%Y%m%dT%H%M%S}-{identity}"


def mark_done(journal: Journal, key: StreamKey, trigger_id: str, run_id: str) -> None:
    """The trigger has its run for good, and waits no more."""
    journal.swap(layout.trigger_entry(key, trigger_id), {"run_id": run_id}, None)
    entry = journal.read(layout.waiting_entry(key, trigger_id))
    if entry is not None:
        journal.remove(entry.key, entry.version)


def slices_of(plan: Plan) -> Iterator[SlicePlanned]:
    """One message per slice of the run."""
    for part in plan.window.slices:
        yield SlicePlanned(plan.key, plan.run_id, plan.seq, part.number, plan.digest)


def finish(journal: Journal, store: Store, plan: Plan) -> Iterator[Message]:
    """If every slice has its last chunk, the run is closed and the cursor has moved (rule 6).

    Why: triggers and claims are marked before the head moves, because once it has moved the next
    plan reads them. A late caller's compare-and-set fails and changes nothing.
    """
    head, version = read_head(journal, plan.key)
    if head.seq != plan.seq or not head.open or not is_complete(store, plan):
        return
    for path, claimed in plan.window.claims:
        _record_claim(journal, plan.key, path, claimed)
    for trigger_id in plan.trigger_ids:
        mark_done(journal, plan.key, trigger_id, plan.run_id)
    closed = replace(head, cursor=_cursor_after(plan, head), open=False)
    if journal.swap(layout.head_entry(plan.key), codec.plain(closed), version):
        yield TargetDirty(plan.key, plan.digest)


def _cursor_after(plan: Plan, head: Head) -> Json:
    if plan.by_hand is not None:
        return plan.by_hand.cursor
    return plan.window.hi if plan.window.hi is not None else head.cursor


def _record_claim(journal: Journal, key: StreamKey, path: str, claimed: str) -> None:
    while True:
        entry: Entry | None = journal.read(layout.claim_entry(key, path))
        versions = list(entry.value["versions"]) if entry else []
        if claimed in versions:
            return
        value = {"path": path, "versions": [*versions, claimed]}
        if journal.swap(layout.claim_entry(key, path), value, entry.version if entry else None):
            return
