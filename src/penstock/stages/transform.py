"""Transform: a raw chunk becomes staged rows and quarantined rows, once per generation (rule 7)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from penstock import codec, layout
from penstock.engine import connect
from penstock.errors import Rejected
from penstock.model import (
    ChunkExtracted,
    Commit,
    Contract,
    File,
    Link,
    Message,
    Plan,
    Rejection,
    TargetDirty,
)
from penstock.pipeline import Stream
from penstock.ports import Clock, Journal, Store
from penstock.stages.extract import describe_file
from penstock.stages.state import read_closing, read_contract, read_link, read_plan, read_wanted
from penstock.transform import LocalFile, Transformed, transform_chunk


@dataclass(frozen=True, slots=True)
class Transform:
    """Makes one generation of one chunk under the pipeline file that the message names.

    Shape: `stream_of` gives the stream of a digest; `read_reference` the value of a mask's key.
    Raises: Rejected when the chunk cannot succeed; the rejection is durable before it is raised.
    """

    journal: Journal
    store: Store
    clock: Clock
    stream_of: Callable[[str, str], Stream]
    read_reference: Callable[[str], str]
    folder: Path
    on_transformed: Callable[[Plan, Commit], None]
    memory_mb: int = 160

    def __call__(self, message: ChunkExtracted) -> Iterator[Message]:
        plan = read_plan(self.journal, message.key, message.seq)
        if plan is None:
            raise Rejected(f"run {message.run_id} was never planned", where=str(message.chunk))
        if read_closing(self.journal, plan.key, plan.seq) is not None:
            return
        if read_wanted(self.journal, plan, message.chunk).number > message.generation:
            return
        commit_key = layout.commit_key(plan, message.chunk, message.generation)
        if self.store.read(commit_key) is None:
            link = read_link(self.store, plan.key, message.chunk)
            if link is None:
                raise Rejected(f"chunk {message.chunk} has no raw data", where=str(message.key))
            with TemporaryDirectory(dir=self.folder) as folder:
                self._make(plan, link, message, commit_key, Path(folder))
        yield TargetDirty(plan.key, plan.digest)

    def _make(
        self, plan: Plan, link: Link, message: ChunkExtracted, commit_key: str, folder: Path
    ) -> None:
        stream = self.stream_of(message.digest, plan.key.stream)
        try:
            made = self._transform(plan, link, message, stream, folder)
        except Rejected as error:
            self._reject(plan, link, message, str(error))
            raise
        attempt = uuid.uuid4().hex[:8]
        good = tuple(
            self._adopt(
                file,
                layout.staged_data_key(plan, link.chunk, message.generation, attempt, part),
            )
            for part, file in enumerate(made.good)
        )
        quarantine = tuple(
            self._adopt(
                file, layout.quarantine_key(plan, link.chunk, message.generation, attempt, part)
            )
            for part, file in enumerate(made.quarantine)
        )
        commit = Commit(
            link.chunk,
            message.generation,
            message.digest,
            made.contract.version,
            made.counts,
            good,
            quarantine,
            made.columns,
            made.rules,
            link.origin,
        )
        if not commit.counts.holds or commit.counts.read != link.file.rows:
            raise Rejected(
                f"the sums of chunk {link.chunk} do not hold: {commit.counts}",
                why=f"its link names {link.file.rows} rows",
            )
        if self.store.create(commit_key, codec.to_json(commit).encode()):
            self.on_transformed(plan, commit)
        self._forget_rejection(plan, link)

    def _transform(
        self, plan: Plan, link: Link, message: ChunkExtracted, stream: Stream, folder: Path
    ) -> Transformed:
        raw = self.store.fetch(link.file.key, folder)
        while True:
            contract = read_contract(self.journal, plan.key)
            with connect([folder, raw.parent], memory_mb=self.memory_mb) as connection:
                made = transform_chunk(
                    connection,
                    stream,
                    link,
                    raw,
                    contract,
                    folder,
                    generation=message.generation,
                    seq=plan.seq,
                    read_reference=self.read_reference,
                    at=self.clock.now(),
                )
            if self._agree(plan, contract, made.contract):
                return made
            for file in (*made.good, *made.quarantine):
                file.path.unlink(missing_ok=True)

    def _agree(self, plan: Plan, before: Contract | None, used: Contract) -> bool:
        """Whether the contract that was used is the stream's: as it was, or new by our word."""
        if before is not None and used.version == before.version:
            return True
        entry = layout.contract_entry(plan.key, used.version)
        if self.journal.swap(entry, codec.plain(used), None):
            return True
        stored = self.journal.read(entry)
        return stored is not None and codec.read(Contract, stored.value) == used

    def _adopt(self, file: LocalFile, key: str) -> File:
        described = describe_file(file.path, key, file.rows)
        self.store.adopt(file.path, key)
        return described

    def _reject(self, plan: Plan, link: Link, message: ChunkExtracted, reason: str) -> None:
        contract = read_contract(self.journal, plan.key)
        rejection = Rejection(
            link.chunk,
            message.generation,
            reason,
            message.digest,
            contract.version if contract else 0,
            self.clock.now(),
            link.file.rows,
        )
        key = layout.rejection_entry(plan.key, link.chunk)
        entry = self.journal.read(key)
        self.journal.swap(key, codec.plain(rejection), entry.version if entry else None)

    def _forget_rejection(self, plan: Plan, link: Link) -> None:
        entry = self.journal.read(layout.rejection_entry(plan.key, link.chunk))
        if entry is not None:
            self.journal.remove(entry.key, entry.version)
