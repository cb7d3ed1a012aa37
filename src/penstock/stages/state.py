"""What is durable of one run, read back: the only way anybody learns how far a run is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from penstock import codec, layout
from penstock.model import (
    ChunkId,
    Closing,
    Commit,
    Contract,
    Counts,
    Generation,
    Head,
    Link,
    Plan,
    Receipt,
    Rejection,
    StreamKey,
)
from penstock.ports import Entry, Journal, Store


@dataclass(frozen=True, slots=True)
class RunState:
    """One run as its durable facts have it.

    Shape: `links` holds the chains that count (for slices that cannot resume: only the attempt
    that the slice manifest names, or nothing yet). `commits` and `receipts` are per chunk: the
    commit of the wanted generation, the receipt of the highest.
    """

    plan: Plan
    links: Mapping[ChunkId, Link]
    complete: bool
    """Whether every slice has its last chunk."""
    generations: Mapping[ChunkId, Generation]
    commits: Mapping[ChunkId, Commit]
    rejections: Mapping[ChunkId, Rejection]
    receipts: Mapping[ChunkId, Receipt]
    closing: Closing | None = None

    def wanted(self, chunk: ChunkId) -> Generation:
        return self.generations.get(chunk) or Generation(0, self.plan.digest)

    def is_received(self, chunk: ChunkId) -> bool:
        receipt = self.receipts.get(chunk)
        return receipt is not None and (
            receipt.generation >= self.wanted(chunk).number or receipt.status == "closed"
        )

    @property
    def unstaged(self) -> list[ChunkId]:
        return [chunk for chunk in self.links if chunk not in self.commits]

    @property
    def unloaded(self) -> list[ChunkId]:
        """Staged in the wanted generation, and without a receipt for it."""
        return [chunk for chunk in self.commits if not self.is_received(chunk)]

    @property
    def made_of(self) -> list[str]:
        """Every chunk in its wanted generation: what assertions over the run were checked on."""
        return sorted(f"{chunk} g{self.wanted(chunk).number}" for chunk in self.links)

    @property
    def settled(self) -> bool:
        return self.complete and all(self.is_received(chunk) for chunk in self.links)

    @property
    def counts(self) -> Counts:
        total = Counts()
        for commit in self.commits.values():
            total = total + commit.counts
        return total

    @property
    def rows_read(self) -> int:
        return sum(link.file.rows for link in self.links.values())


def read_head(journal: Journal, key: StreamKey) -> tuple[Head, int | str | None]:
    """The head and the version to change it by; an unknown stream has an empty one."""
    entry = journal.read(layout.head_entry(key))
    return (codec.read(Head, entry.value), entry.version) if entry else (Head(), None)


def read_plan(journal: Journal, key: StreamKey, seq: int) -> Plan | None:
    entry = journal.read(layout.plan_entry(key, seq))
    plan: Plan | None = codec.read(Plan, entry.value) if entry else None
    return plan


def read_plans(journal: Journal, key: StreamKey) -> Iterator[Plan]:
    """Every plan of the stream, oldest first."""
    for entry in journal.scan(layout.plan_entries(key)):
        yield codec.read(Plan, entry.value)


def read_closing(journal: Journal, key: StreamKey, seq: int) -> Closing | None:
    entry = journal.read(layout.closing_entry(key, seq))
    closing: Closing | None = codec.read(Closing, entry.value) if entry else None
    return closing


def read_contract(journal: Journal, key: StreamKey) -> Contract | None:
    """The newest version, or None before the first."""
    newest = None
    for entry in journal.scan(layout.contract_entries(key)):
        newest = entry
    contract: Contract | None = codec.read(Contract, newest.value) if newest else None
    return contract


def unsettled_plans(journal: Journal, key: StreamKey) -> Iterator[Plan]:
    """The plans of runs whose chunks are not all received yet, oldest first.

    Why: a planner lists the seq it is about to take, and may lose it to a head moved by hand.
    """
    for entry in journal.scan(layout.unsettled_entries(key)):
        plan = read_plan(journal, key, int(entry.key.rsplit("/", 1)[1]))
        if plan is not None and plan.by_hand is None:
            yield plan


def read_intended(entry: Entry | None) -> dict[ChunkId, Generation]:
    """The generations that somebody is about to want, by the entry that lists their run."""
    wanted = entry.value.get("wanted", {}) if entry else {}
    return {ChunkId.parse(name): codec.read(Generation, value) for name, value in wanted.items()}


def read_wanted(journal: Journal, plan: Plan, chunk: ChunkId) -> Generation:
    entry = journal.read(layout.generation_entry(plan.key, chunk))
    wanted: Generation = (
        codec.read(Generation, entry.value) if entry else Generation(0, plan.digest)
    )
    return wanted


def read_run(journal: Journal, store: Store, plan: Plan) -> RunState:
    """Everything durable about the run, from one listing of each of its folders."""
    closing = read_closing(journal, plan.key, plan.seq)
    links, complete = _read_chains(store, plan)
    generations = {
        _chunk_of(entry.key, plan): codec.read(Generation, entry.value)
        for entry in journal.scan(layout.generation_entries(plan.key, plan.run_id))
    }
    rejections = {
        _chunk_of(entry.key, plan): codec.read(Rejection, entry.value)
        for entry in journal.scan(layout.rejection_entries(plan.key, plan.run_id))
    }
    state = RunState(plan, links, complete, generations, {}, rejections, _receipts(store, plan))
    commits = _commits(store, state)
    return RunState(
        plan,
        links,
        complete,
        generations,
        commits,
        {chunk: rejection for chunk, rejection in rejections.items() if chunk not in commits},
        state.receipts,
        closing,
    )


def _chunk_of(entry_key: str, plan: Plan) -> ChunkId:
    run_id, part, number = entry_key.rsplit("/", 3)[1:]
    return ChunkId.parse(f"{plan.key.stream}/{run_id}/{part}/{number}")


def read_link(store: Store, key: StreamKey, chunk: ChunkId) -> Link | None:
    body = store.read(layout.link_key(key, chunk))
    return codec.from_json(Link, body) if body is not None else None


def read_attempt(store: Store, plan: Plan, number: int) -> str | None:
    """The attempt that the slice's manifest names; None before there is one."""
    body = store.read(layout.slice_manifest_key(plan.key, plan.run_id, number))
    return str(codec.from_json(dict, body)["attempt"]) if body is not None else None


def _read_chains(store: Store, plan: Plan) -> tuple[dict[ChunkId, Link], bool]:
    prefix = layout.raw_prefix(plan.key.pipeline, plan.key.stream, plan.run_id)
    found: dict[tuple[int, str], list[ChunkId]] = {}
    if plan.window.slices:
        for item in store.list(prefix):
            chunk = layout.chunk_of_link(plan.key.stream, plan.run_id, item.key)
            if chunk is not None:
                found.setdefault((chunk.slice, chunk.attempt), []).append(chunk)
    links: dict[ChunkId, Link] = {}
    complete = True
    for part in plan.window.slices:
        attempt = "" if part.resumable else read_attempt(store, plan, part.number)
        chain = sorted(found.get((part.number, attempt), [])) if attempt is not None else []
        last = False
        for chunk in chain:
            link = read_link(store, plan.key, chunk)
            if link is not None:
                links[chunk] = link
                last = link.last
        complete = complete and last
    return links, complete


def is_complete(store: Store, plan: Plan) -> bool:
    """Whether every slice has its last chunk."""
    return _read_chains(store, plan)[1]


def read_chain(store: Store, plan: Plan, number: int, attempt: str) -> list[Link]:
    """The links of one chain, in order, as far as they go without a gap."""
    links: list[Link] = []
    while True:
        chunk = ChunkId(plan.key.stream, plan.run_id, number, attempt, len(links))
        link = read_link(store, plan.key, chunk)
        if link is None:
            return links
        links.append(link)


def _commits(store: Store, state: RunState) -> dict[ChunkId, Commit]:
    if not state.links:
        return {}
    plan = state.plan
    present = {item.key for item in store.list(layout.staging_prefix(plan))}
    commits = {}
    for chunk in state.links:
        key = layout.commit_key(plan, chunk, state.wanted(chunk).number)
        if key in present:
            body = store.read(key)
            if body is not None:
                commits[chunk] = codec.from_json(Commit, body)
    return commits


def _receipts(store: Store, plan: Plan) -> dict[ChunkId, Receipt]:
    receipts: dict[ChunkId, Receipt] = {}
    for item in store.list(layout.receipt_prefix(plan)):
        for receipt in codec.from_json(tuple[Receipt, ...], store.read(item.key) or b"[]"):
            known = receipts.get(receipt.chunk)
            if known is None or known.generation <= receipt.generation:
                receipts[receipt.chunk] = receipt
    return receipts
