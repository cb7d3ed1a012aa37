"""Reconcile: every message that ought to exist, read off the durable facts (rules 8, 10 and 13).

A lost message therefore delays rows, and never loses them. Replay and redrive are the same thing
from the other side: a chunk is wanted in its next generation, and reconcile's message follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from penstock import codec, layout
from penstock.model import (
    ChunkExtracted,
    ChunkId,
    Generation,
    Message,
    Plan,
    SlicePlanned,
    StreamKey,
    TargetDirty,
)
from penstock.ports import Journal, Store
from penstock.stages.plan import finish
from penstock.stages.state import (
    RunState,
    read_attempt,
    read_chain,
    read_contract,
    read_head,
    read_intended,
    read_plan,
    read_run,
    read_wanted,
    unsettled_plans,
)


def reconcile(journal: Journal, store: Store, key: StreamKey, digest: str) -> Iterator[Message]:
    """The messages that every unfinished run of the stream still needs, oldest run first.

    Shape: `digest` is today's pipeline file: a chunk that was rejected under another one is
    wanted again, in its next generation.
    """
    head, _ = read_head(journal, key)
    by_hand = read_plan(journal, key, head.seq) if head.open else None
    if by_hand is not None and by_hand.by_hand is not None:
        yield from finish(journal, store, by_hand)
    for plan in unsettled_plans(journal, key):
        head, _ = read_head(journal, key)
        listed = journal.read(layout.unsettled_entry(key, plan.seq))
        for chunk, generation in read_intended(listed).items():
            _want(journal, plan, chunk, generation)
        state = read_run(journal, store, plan)
        if state.closing is not None or (head.seq > plan.seq and not state.complete):
            _forget(journal, plan)
            continue
        yield from _unextracted(journal, store, state)
        yield from _untransformed(journal, state, digest)
        if _may_load(journal, state):
            yield TargetDirty(key, plan.digest)


def _forget(journal: Journal, plan: Plan) -> None:
    """The run is closed, or was given up by hand: there is nothing to do for it.

    Why: who gave it up, or closed it while another wanted it again, may have died before it took
    it off the list. The head is read before the chains: a run that is incomplete after the head
    has gone on will never be complete.
    """
    entry = journal.read(layout.unsettled_entry(plan.key, plan.seq))
    if entry is not None:
        journal.remove(entry.key, entry.version)


def _may_load(journal: Journal, state: RunState) -> bool:
    """Whether a loader would find something to do.

    Why: a hint for a run that waits for a rejected chunk, or for an assertion to hold, would come
    again for ever.
    """
    plan = state.plan
    head, _ = read_head(journal, plan.key)
    is_open = head.open and head.seq == plan.seq
    if state.settled:
        return not is_open
    if not state.unloaded or not (plan.swap or plan.asserted):
        return bool(state.unloaded)
    held = journal.read(layout.held_entry(plan.key, plan.seq))
    is_held = held is not None and held.value["made_of"] == state.made_of
    return not is_open and state.complete and not state.unstaged and not is_held


def _unextracted(journal: Journal, store: Store, state: RunState) -> Iterator[Message]:
    plan = state.plan
    head, _ = read_head(journal, plan.key)
    if not head.open or head.seq != plan.seq:
        return
    if state.complete:
        yield from finish(journal, store, plan)
        return
    for part in plan.window.slices:
        attempt = "" if part.resumable else read_attempt(store, plan, part.number)
        chain = read_chain(store, plan, part.number, attempt) if attempt is not None else []
        if not chain or not chain[-1].last:
            yield SlicePlanned(plan.key, plan.run_id, plan.seq, part.number, plan.digest)


def _untransformed(journal: Journal, state: RunState, digest: str) -> Iterator[Message]:
    plan = state.plan
    contract = read_contract(journal, plan.key)
    version = contract.version if contract else 0
    for chunk in state.unstaged:
        wanted = state.wanted(chunk)
        rejection = state.rejections.get(chunk)
        if rejection is not None and rejection.generation >= wanted.number:
            if rejection.digest != digest:
                yield from regenerate(journal, plan, [chunk], digest)
            elif rejection.contract_version < version:
                yield _extracted(plan, chunk, wanted)
            continue
        yield _extracted(plan, chunk, wanted)


def regenerate(
    journal: Journal, plan: Plan, chunks: Iterable[ChunkId], digest: str
) -> Iterator[ChunkExtracted]:
    """Each chunk is wanted in its next generation, made with the pipeline file of `digest`.

    Why: what is about to be wanted is durable in the entry that lists the run, before any of it
    is. A loader that just found the run settled leaves such an entry where it is, and reconcile
    does what a killed caller has left undone.
    """
    wanted = _intend(journal, plan, list(chunks), digest)
    for chunk, generation in wanted.items():
        _want(journal, plan, chunk, generation)
    for chunk, generation in wanted.items():
        yield _extracted(plan, chunk, generation)


def _intend(
    journal: Journal, plan: Plan, chunks: Sequence[ChunkId], digest: str
) -> dict[ChunkId, Generation]:
    """The next generation of each chunk, which is durable as an intention."""
    key = layout.unsettled_entry(plan.key, plan.seq)
    while chunks:
        entry = journal.read(key)
        known = read_intended(entry)
        wanted = {}
        for chunk in chunks:
            before = max(
                read_wanted(journal, plan, chunk).number,
                known[chunk].number if chunk in known else 0,
            )
            wanted[chunk] = Generation(before + 1, digest)
        named = {str(chunk): codec.plain(item) for chunk, item in (known | wanted).items()}
        value = {"run_id": plan.run_id, "wanted": named}
        if journal.swap(key, value, entry.version if entry else None):
            return wanted
    return {}


def _want(journal: Journal, plan: Plan, chunk: ChunkId, wanted: Generation) -> None:
    """The chunk is wanted in this generation, or in a higher one already."""
    key = layout.generation_entry(plan.key, chunk)
    while True:
        entry = journal.read(key)
        if entry is not None and codec.read(Generation, entry.value).number >= wanted.number:
            return
        if journal.swap(key, codec.plain(wanted), entry.version if entry else None):
            return


def _extracted(plan: Plan, chunk: ChunkId, wanted: Generation) -> ChunkExtracted:
    return ChunkExtracted(plan.key, plan.run_id, plan.seq, chunk, wanted.number, wanted.digest)
