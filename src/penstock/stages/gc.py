"""gc: files past retention, of runs that are accounted for, are gone (rule 14)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from penstock import codec, layout
from penstock.model import Closing, Plan, StreamKey
from penstock.pipeline import Storage
from penstock.ports import Journal, Store, Warehouse
from penstock.stages.state import RunState, read_head, read_plans, read_run


@dataclass(frozen=True, slots=True)
class Collected:
    """What gc did, or with a dry run would do, for one run."""

    stream: str
    run_id: str
    closed: bool
    """Whether the run was closed just now."""
    files: int
    bytes: int


def collect(
    journal: Journal,
    store: Store,
    warehouse: Warehouse,
    key: StreamKey,
    target: str,
    storage: Storage,
    now: datetime,
    *,
    dry_run: bool = False,
) -> Iterator[Collected]:
    """Runs past the longer of raw's and staging's retention are closed, and their files removed.

    Shape: quarantine has a retention of its own, and goes only after its run is closed.
    Why: a run is closed in the ledger first, then in the journal, and only then are its files
    removed, so that whoever still holds its messages finds them void.
    """
    for plan in read_plans(journal, key):
        if plan.by_hand is not None:
            continue
        state = read_run(journal, store, plan)
        closed = False
        if state.closing is None:
            if not _is_past(plan, now, storage.keep_raw_s, storage.keep_staging_s):
                continue
            if not is_accounted_for(journal, state):
                continue
            closed = True
            if not dry_run:
                closing = closing_of(state, now)
                warehouse.close_run(closing, target)
                entry = layout.closing_entry(key, plan.seq)
                journal.swap(entry, codec.plain(closing), None)
        found = [item for prefix in _prefixes(plan, storage, now) for item in store.list(prefix)]
        if not dry_run:
            store.delete([item.key for item in found])
        if closed or found:
            size = sum(item.bytes for item in found)
            yield Collected(key.stream, plan.run_id, closed, len(found), size)


def is_accounted_for(journal: Journal, state: RunState) -> bool:
    """Whether every row of the run has reached its end."""
    head, _ = read_head(journal, state.plan.key)
    if head.open and head.seq == state.plan.seq:
        return False
    unsettled = journal.read(layout.unsettled_entry(state.plan.key, state.plan.seq))
    return unsettled is None and state.settled


def closing_of(state: RunState, now: datetime) -> Closing:
    """The sums of the run, to stay when its files are gone."""
    loaded = superseded = 0
    for chunk, commit in state.commits.items():
        if state.receipts[chunk].status == "superseded":
            superseded += commit.counts.good
        else:
            loaded += commit.counts.good
    plan = state.plan
    return Closing(
        plan.run_id, plan.key, plan.seq, state.counts, loaded, superseded, now, len(state.links)
    )


def _is_past(plan: Plan, now: datetime, *keeps_s: float | None) -> bool:
    if any(keep_s is None for keep_s in keeps_s):
        return False
    longest_s = max(keep_s for keep_s in keeps_s if keep_s is not None)
    return now - plan.planned_at > timedelta(seconds=longest_s)


def _prefixes(plan: Plan, storage: Storage, now: datetime) -> Iterator[str]:
    yield layout.raw_prefix(plan.key.pipeline, plan.key.stream, plan.run_id)
    yield layout.staging_prefix(plan)
    yield layout.receipt_prefix(plan)
    if _is_past(plan, now, storage.keep_quarantine_s):
        yield layout.quarantine_prefix(plan)
