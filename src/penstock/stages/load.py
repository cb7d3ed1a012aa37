"""Load: what is staged and not yet received goes into the warehouse, one transaction a batch.

The transaction decides by the ledger (rules 9 to 12); this stage only gathers what may be ready,
and writes receipts of what the ledger says. A lost receipt is written again; a lost hint is
found by reconcile.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from penstock import codec, layout
from penstock.errors import Rejected
from penstock.model import (
    ChunkId,
    Commit,
    Contract,
    LoadRequest,
    Message,
    Plan,
    Receipt,
    Staged,
    Target,
    TargetDirty,
)
from penstock.pipeline import Stream
from penstock.ports import Journal, Store, Warehouse
from penstock.stages.assertions import check_assertions
from penstock.stages.state import RunState, read_head, read_intended, read_run, unsettled_plans

MAX_FILES = 400
"""Files of one transaction; facts of Redshift's manifests, and plenty for the others."""


@dataclass(frozen=True, slots=True)
class Load:
    """Loads all that is ready of one stream.

    Shape: `stream_of` gives the stream of a digest; the warehouse is open.
    """

    journal: Journal
    store: Store
    warehouse: Warehouse
    stream_of: Callable[[str, str], Stream]
    folder: Path
    on_loaded: Callable[[Plan, Sequence[Receipt]], None]

    def __call__(self, message: TargetDirty) -> Iterator[Message]:
        for plan in unsettled_plans(self.journal, message.key):
            state = read_run(self.journal, self.store, plan)
            stream = self.stream_of(plan.digest, plan.key.stream)
            if plan.swap or stream.asserts:
                self._load_whole(state, stream)
            else:
                self._load_ready(state, stream)
            self._settle(plan)
        yield from ()

    def _load_ready(self, state: RunState, stream: Stream) -> None:
        ready = sorted(state.unloaded, key=lambda chunk: (_version(state, chunk), chunk))
        for start in range(0, len(ready), MAX_FILES):
            self._load(state, stream, ready[start : start + MAX_FILES], None)

    def _load_whole(self, state: RunState, stream: Stream) -> None:
        """A run that replaces, or that is asserted over, loads when its last chunk is staged."""
        head, _ = read_head(self.journal, state.plan.key)
        closed = head.seq > state.plan.seq or not head.open
        if not closed or not state.complete or state.unstaged or not state.unloaded:
            return
        if not self._assertions_hold(state, stream):
            return
        if state.plan.swap:
            self._load(state, stream, sorted(state.links), state.plan)
        else:
            self._load_ready(state, stream)

    def _load(
        self, state: RunState, stream: Stream, chunks: Sequence[ChunkId], swap: Plan | None
    ) -> None:
        plan = state.plan
        commits = [state.commits[chunk] for chunk in chunks]
        newest = max(commit.contract_version for commit in commits)
        with TemporaryDirectory(dir=self.folder) as folder:
            request = LoadRequest(
                load_id=uuid.uuid4().hex,
                target=target_of(stream),
                contract=self._contract(plan, newest),
                chunks=tuple(
                    Staged(commit, plan.seq, tuple(map(str, self._fetch(commit, Path(folder)))))
                    for commit in commits
                ),
                swap=swap,
            )
            receipts = self.warehouse.load(request)
        body = codec.to_json(receipts).encode()
        self.store.create(layout.receipt_key(plan, request.load_id), body)
        self.on_loaded(plan, receipts)

    def _fetch(self, commit: Commit, folder: Path) -> tuple[Path, ...]:
        return tuple(self.store.fetch(file.key, folder) for file in commit.good)

    def _contract(self, plan: Plan, version: int) -> Contract:
        entry = self.journal.read(layout.contract_entry(plan.key, version))
        if entry is None:
            raise Rejected(f"contract v{version} of {plan.key.stream} is gone", where=str(plan.key))
        contract: Contract = codec.read(Contract, entry.value)
        return contract

    def _assertions_hold(self, state: RunState, stream: Stream) -> bool:
        """Whether the run may load. What fails is kept, and checked again only when it changes."""
        if not stream.asserts:
            return True
        key = layout.held_entry(state.plan.key, state.plan.seq)
        entry = self.journal.read(key)
        if entry is not None and entry.value["made_of"] == state.made_of:
            return False
        with TemporaryDirectory(dir=self.folder) as folder:
            paths = [
                path
                for commit in state.commits.values()
                for path in self._fetch(commit, Path(folder))
            ]
            failures = check_assertions(stream, paths, state.counts, Path(folder))
        if failures:
            value = {"made_of": state.made_of, "failures": [codec.plain(item) for item in failures]}
            self.journal.swap(key, value, entry.version if entry else None)
            return False
        if entry is not None:
            self.journal.remove(key, entry.version)
        return True

    def _settle(self, plan: Plan) -> None:
        """A run whose chunks are all received leaves the list of those to look at."""
        key = layout.unsettled_entry(plan.key, plan.seq)
        entry = self.journal.read(key)
        head, _ = read_head(self.journal, plan.key)
        if entry is None or (head.open and head.seq == plan.seq):
            return
        state = read_run(self.journal, self.store, plan)
        intended = read_intended(entry).items()
        if state.settled and all(state.wanted(c).number >= g.number for c, g in intended):
            self.journal.remove(key, entry.version)


def _version(state: RunState, chunk: ChunkId) -> int:
    commit: Commit = state.commits[chunk]
    return commit.contract_version


def target_of(stream: Stream) -> Target:
    """The table that the stream loads into, and how."""
    return Target(
        stream.name,
        stream.load.schema,
        stream.load.table,
        stream.load.write,
        stream.primary_key,
        stream.version or stream.cursor,
        stream.load.sort_key,
        stream.load.dist_key,
        stream.reupload if stream.files is not None else "append",
    )
