"""Extract: a slice becomes a chain of durable chunks (rules 4 and 5).

Raw is the write-ahead log.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from penstock import codec, layout
from penstock.errors import Rejected
from penstock.model import ChunkExtracted, ChunkId, File, Link, Message, Plan, Slice, SlicePlanned
from penstock.pipeline import Stream
from penstock.ports import Journal, Piece, Source, Store
from penstock.stages.plan import finish
from penstock.stages.state import (
    read_attempt,
    read_chain,
    read_closing,
    read_link,
    read_plan,
)


@dataclass(frozen=True, slots=True)
class Extract:
    """Reads a slice from where its chain ends.

    Shape: `reader` gives the source (today's connection) and the stream (as planned).
    Raises: what the source raises; what was read so far stays, and the next call goes on there.
    """

    journal: Journal
    store: Store
    reader: Callable[[Plan], tuple[Source, Stream]]
    folder: Path
    on_extracted: Callable[[Plan, Link], None]

    def __call__(self, message: SlicePlanned) -> Iterator[Message]:
        plan = read_plan(self.journal, message.key, message.seq)
        if plan is None or plan.run_id != message.run_id:
            raise Rejected(f"run {message.run_id} was never planned", where=str(message.key))
        if read_closing(self.journal, plan.key, plan.seq) is not None:
            return
        part = plan.window.slices[message.slice]
        with TemporaryDirectory(dir=self.folder) as folder:
            read = self._resume if part.resumable else self._start_over
            yield from read(plan, part, Path(folder))
        yield from finish(self.journal, self.store, plan)

    def _resume(self, plan: Plan, part: Slice, folder: Path) -> Iterator[Message]:
        chain = read_chain(self.store, plan, part.number, "")
        for link in chain:
            if not self._is_staged(plan, link.chunk):
                yield _extracted(plan, link.chunk)
        tail = chain[-1] if chain else None
        count = len(chain)
        while tail is None or not tail.last:
            source, stream = self.reader(plan)
            position = tail.position if tail else None
            for piece in source.read(stream, part, position, folder):
                chunk = ChunkId(plan.key.stream, plan.run_id, part.number, "", count)
                tail, won = self._create(plan, chunk, piece)
                count += 1
                yield _extracted(plan, chunk)
                if not won or tail.last:
                    break

    def _start_over(self, plan: Plan, part: Slice, folder: Path) -> Iterator[Message]:
        """Chunks of an attempt of its own; they count only if the slice manifest names it."""
        attempt = read_attempt(self.store, plan, part.number)
        if attempt is not None:
            for link in read_chain(self.store, plan, part.number, attempt):
                if not self._is_staged(plan, link.chunk):
                    yield _extracted(plan, link.chunk)
            return
        attempt = uuid.uuid4().hex[:8]
        source, stream = self.reader(plan)
        for number, piece in enumerate(source.read(stream, part, None, folder)):
            chunk = ChunkId(plan.key.stream, plan.run_id, part.number, attempt, number)
            self._create(plan, chunk, piece)
            yield _extracted(plan, chunk)
        manifest = codec.to_json({"attempt": attempt}).encode()
        self.store.create(layout.slice_manifest_key(plan.key, plan.run_id, part.number), manifest)

    def _create(self, plan: Plan, chunk: ChunkId, piece: Piece) -> tuple[Link, bool]:
        """The link that stands for this chunk now, and whether it is ours."""
        data_key = layout.raw_data_key(plan.key, chunk, uuid.uuid4().hex[:8])
        file = describe_file(piece.path, data_key, piece.rows)
        self.store.adopt(piece.path, data_key)
        link = Link(
            chunk, file, piece.fields, piece.position, piece.last, piece.origin, piece.cursor_max
        )
        if self.store.create(layout.link_key(plan.key, chunk), codec.to_json(link).encode()):
            self.on_extracted(plan, link)
            return link, True
        stored = read_link(self.store, plan.key, chunk)
        if stored is None:
            raise Rejected(f"the link of {chunk} is gone", why="files of its run were removed")
        return stored, stored == link

    def _is_staged(self, plan: Plan, chunk: ChunkId) -> bool:
        return self.store.read(layout.commit_key(plan, chunk, 0)) is not None


def _extracted(plan: Plan, chunk: ChunkId) -> ChunkExtracted:
    return ChunkExtracted(plan.key, plan.run_id, plan.seq, chunk, 0, plan.digest)


def describe_file(path: Path, key: str, rows: int) -> File:
    """The local file as it will stand at `key`: its hash and size."""
    with path.open("rb") as body:
        digest = hashlib.file_digest(body, "sha256")
    return File(key, digest.hexdigest(), path.stat().st_size, rows)
