"""Heads by hand: a cursor set, or a stream started over, with a record of who and why.

Such a change is a plan like any other, under the stream's next seq, so that history has no holes
and a planner at work at the same moment loses its compare-and-set.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from penstock import codec, layout
from penstock.errors import Broken, Transient
from penstock.model import ByHand, Head, Json, Plan, StreamKey, Trigger, Window
from penstock.ports import Clock, Journal, Store
from penstock.stages.plan import finish
from penstock.stages.state import read_head, read_plan


def set_cursor(
    journal: Journal,
    store: Store,
    clock: Clock,
    key: StreamKey,
    cursor: Json,
    *,
    who: str,
    why: str,
) -> Plan:
    """The next run of the stream starts after `cursor` (the source's own JSON).

    Raises: Broken while a run is open; Transient when another process was faster.
    """
    head, version = read_head(journal, key)
    if head.open:
        raise Broken(
            f"stream {key.stream} has an open run, seq {head.seq}",
            why="its window was planned from the cursor as it is",
            fix="let it finish: penstock run; or start over: penstock state reset " + key.stream,
        )
    return _move(journal, store, clock, key, head, version, ByHand(who, why, cursor))


def start_over(
    journal: Journal, store: Store, clock: Clock, key: StreamKey, *, who: str, why: str
) -> Plan:
    """The open run, if there is one, is given up, and the next run is a full refresh.

    Why: only a refresh is sure to take back what the given-up run has already loaded: it replaces
    every row of a lower seq, and chunks of it that arrive late are superseded.
    """
    head, version = read_head(journal, key)
    abandoned = read_plan(journal, key, head.seq) if head.open else None
    request = Trigger(f"hand:{uuid.uuid4().hex}", "refresh", clock.now())
    journal.swap(layout.waiting_entry(key, request.id), codec.plain(request), None)
    by_hand = ByHand(who, why, None, abandoned.run_id if abandoned else "")
    plan = _move(journal, store, clock, key, head, version, by_hand)
    if abandoned is not None:
        entry = journal.read(layout.unsettled_entry(key, abandoned.seq))
        if entry is not None:
            journal.remove(entry.key, entry.version)
    return plan


def _move(
    journal: Journal,
    store: Store,
    clock: Clock,
    key: StreamKey,
    head: Head,
    version: int | str | None,
    by_hand: ByHand,
) -> Plan:
    now = clock.now()
    plan = Plan(
        run_id=f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}",
        key=key,
        seq=head.seq + 1,
        kind="increment",
        digest="",
        planned_at=now,
        trigger_ids=(),
        window=Window(()),
        source="",
        contract_version=0,
        cursor_before=head.cursor,
        by_hand=by_hand,
    )
    opened = Head(plan.seq, head.cursor, open=True)
    if not journal.swap(
        layout.plan_entry(key, plan.seq), codec.plain(plan), None
    ) or not journal.swap(layout.head_entry(key), codec.plain(opened), version):
        raise Transient(f"another process changed {key.stream} just now", fix="try again")
    for _ in finish(journal, store, plan):
        pass
    return plan


def given_up(plans: Iterator[Plan]) -> frozenset[str]:
    """The runs that a person gave up."""
    return frozenset(plan.by_hand.abandons for plan in plans if plan.by_hand is not None)
