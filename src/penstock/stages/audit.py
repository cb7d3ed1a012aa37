"""Audit: every row that was read, accounted for, from the links to the warehouse's own ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from penstock.model import ChunkId, Counts, Plan, StreamKey
from penstock.ports import Journal, LedgerRow, Store
from penstock.stages.hands import given_up
from penstock.stages.state import RunState, read_head, read_plans, read_run


@dataclass(frozen=True, slots=True)
class RunAudit:
    """The sums of one run.

    Shape: read = good + quarantined + filtered + deduplicated + rejected + not_transformed, and
    good = loaded + superseded + not_loaded, unless `broken` says otherwise.
    """

    run_id: str
    seq: int
    status: str
    """open, in flight, settled, closed, abandoned, by hand."""
    read: int = 0
    counts: Counts = field(default_factory=Counts)
    rejected: int = 0
    not_transformed: int = 0
    loaded: int = 0
    superseded: int = 0
    not_loaded: int = 0
    chunks: int = 0
    broken: tuple[str, ...] = ()

    @property
    def in_flight(self) -> bool:
        return self.status in ("open", "in flight")


@dataclass(frozen=True, slots=True)
class StreamAudit:
    """All runs of a stream, oldest first, and what is broken beyond a single run."""

    stream: str
    runs: tuple[RunAudit, ...]
    broken: tuple[str, ...] = ()

    def holds(self, final: bool = False) -> bool:
        """Whether nothing is broken; with `final` work in flight counts as broken."""
        if self.broken or any(run.broken for run in self.runs):
            return False
        return not (final and any(run.in_flight for run in self.runs))


def audit_stream(
    journal: Journal,
    store: Store,
    key: StreamKey,
    ledger: Sequence[LedgerRow],
    rows_by_chunk: Mapping[str, int] | None = None,
) -> StreamAudit:
    """The stream's sums, and every way in which they do not hold.

    Shape: `ledger` is the warehouse's, of this stream's target or all; `rows_by_chunk` counts
    the target's rows (append and replace streams only), None to leave that check out.
    """
    mine = {row.chunk: row for row in ledger if row.chunk.stream == key.stream}
    plans = list(read_plans(journal, key))
    abandoned = given_up(iter(plans))
    runs = []
    known = set()
    for plan in plans:
        known.add(plan.run_id)
        runs.append(_audit_run(journal, store, plan, mine, plan.run_id in abandoned))
    broken = [
        f"the ledger has chunk {chunk}, but run {chunk.run_id} was never planned"
        for chunk in mine
        if chunk.run_id not in known
    ]
    if rows_by_chunk is not None:
        broken += _compare_rows(mine, rows_by_chunk)
    return StreamAudit(key.stream, tuple(runs), tuple(broken))


def _audit_run(
    journal: Journal,
    store: Store,
    plan: Plan,
    ledger: Mapping[ChunkId, LedgerRow],
    abandoned: bool,
) -> RunAudit:
    if plan.by_hand is not None:
        return RunAudit(plan.run_id, plan.seq, "by hand")
    state = read_run(journal, store, plan)
    if state.closing is not None:
        return _audit_closed(state)
    broken = [] if abandoned else _chain_gaps(state)
    loaded = superseded = not_loaded = not_transformed = rejected = 0
    for chunk, link in state.links.items():
        commit = state.commits.get(chunk)
        if commit is None:
            if chunk in state.rejections:
                rejected += link.file.rows
            else:
                not_transformed += link.file.rows
            continue
        if not commit.counts.holds or commit.counts.read != link.file.rows:
            broken.append(f"chunk {chunk}: {link.file.rows} rows in raw, but {commit.counts}")
        row = ledger.get(chunk)
        good = commit.counts.good
        if row is None or row.generation < commit.generation:
            not_loaded += good
        elif row.status == "superseded":
            superseded += good
        else:
            loaded += row.rows
            if row.rows != good:
                broken.append(f"chunk {chunk}: {good} good rows, {row.rows} in the ledger")
        if row is None and state.is_received(chunk):
            broken.append(f"chunk {chunk}: there is a receipt, but the ledger has no row")
    broken += _unrecorded(state, ledger, abandoned)
    return RunAudit(
        plan.run_id,
        plan.seq,
        _status(journal, state, abandoned),
        state.rows_read,
        state.counts,
        rejected,
        not_transformed,
        loaded,
        superseded,
        not_loaded,
        len(state.links),
        tuple(broken),
    )


def _status(journal: Journal, state: RunState, abandoned: bool) -> str:
    head, _ = read_head(journal, state.plan.key)
    if abandoned:
        return "abandoned"
    if head.open and head.seq == state.plan.seq:
        return "open"
    return "settled" if state.settled else "in flight"


def _audit_closed(state: RunState) -> RunAudit:
    closing = state.closing
    assert closing is not None
    counts = closing.counts
    broken = []
    if not counts.holds:
        broken.append(f"the closing record's sums do not hold: {counts}")
    if counts.good != closing.loaded + closing.superseded:
        broken.append(
            f"the closing record has {counts.good} good rows, "
            f"{closing.loaded} loaded and {closing.superseded} superseded"
        )
    return RunAudit(
        closing.run_id,
        closing.seq,
        "closed",
        counts.read,
        counts,
        0,
        0,
        closing.loaded,
        closing.superseded,
        0,
        closing.chunks,
        tuple(broken),
    )


def _chain_gaps(state: RunState) -> list[str]:
    chains: dict[tuple[int, str], list[ChunkId]] = {}
    for chunk in sorted(state.links):
        chains.setdefault((chunk.slice, chunk.attempt), []).append(chunk)
    gaps = []
    for (number, _), chain in chains.items():
        if [chunk.number for chunk in chain] != list(range(len(chain))):
            gaps.append(f"slice {number}: its chain has a gap: {[chunk.number for chunk in chain]}")
        if any(state.links[chunk].last for chunk in chain[:-1]):
            gaps.append(f"slice {number}: there are chunks after its last one")
    return gaps


def _unrecorded(state: RunState, ledger: Mapping[ChunkId, LedgerRow], abandoned: bool) -> list[str]:
    """Ledger rows of this run that no commit record stands behind."""
    missing = []
    for chunk, row in ledger.items():
        if chunk.run_id != state.plan.run_id:
            continue
        unknown = chunk not in state.links and not abandoned
        if unknown or (
            row.generation == state.wanted(chunk).number
            and chunk not in state.commits
            and not abandoned
        ):
            missing.append(f"chunk {chunk}: the ledger has it, but there is no commit record")
    return missing


def _compare_rows(ledger: Mapping[ChunkId, LedgerRow], counted: Mapping[str, int]) -> list[str]:
    """The target's rows against the ledger; a chunk that was replaced later may have none."""
    known = {str(chunk): row for chunk, row in ledger.items()}
    broken = []
    for name, rows in counted.items():
        row = known.get(name)
        if row is None:
            broken.append(f"the table has {rows} rows of chunk {name}, the ledger none")
        elif row.status != "loaded" or row.rows != rows:
            broken.append(
                f"the table has {rows} rows of chunk {name}, the ledger {row.rows} ({row.status})"
            )
    return broken
