"""What the stages ask of the world. Adapters fulfil these; `penstock.testing` checks that they do.

Every method may raise Transient (try again) or Rejected / Broken (see errors). A port is connected
by `open`-like calls of its runtime, never in a constructor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from penstock.model import (
    ChunkId,
    Closing,
    Field,
    Json,
    Kind,
    LoadRequest,
    Receipt,
    Slice,
    Target,
    Window,
)
from penstock.pipeline import Stream


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, in UTC, with its zone."""


# ---- store


@dataclass(frozen=True, slots=True)
class StoredObject:
    key: str
    bytes: int
    modified_at: datetime


class Store(Protocol):
    """Object storage under one root. Keys are relative, `/`-separated, and never overwritten."""

    def create(self, key: str, body: bytes) -> bool:
        """Store `body` if nothing stands at `key`; False if something does. Durable on return."""

    def adopt(self, path: Path, key: str) -> None:
        """Move a local file of this attempt to `key` (a name nobody else makes). Durable."""

    def read(self, key: str) -> bytes | None:
        """The body at `key`, or None."""

    def fetch(self, key: str, folder: Path) -> Path:
        """A local path of the object: itself where the store is local, else a copy in `folder`.

        Raises: Rejected if it is not there.
        """

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in the order of their keys."""

    def delete(self, keys: Iterable[str]) -> None:
        """The objects are gone; missing ones are no error. Only gc calls this."""


# ---- journal


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    value: Json
    version: int | str
    changed_at: datetime


class Journal(Protocol):
    """Small JSON values under keys, each changed by compare-and-set on its version."""

    def read(self, key: str) -> Entry | None: ...

    def swap(self, key: str, value: Json, expected: int | str | None) -> bool:
        """Store `value` if the version is `expected` (None: nothing there yet); False if not."""

    def remove(self, key: str, expected: int | str) -> bool:
        """Remove the entry if its version is `expected`; False if not."""

    def scan(self, prefix: str) -> Iterator[Entry]:
        """Every entry whose key starts with `prefix`, in the order of their keys."""


# ---- queue


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message in flight. `receipt` is void once the visibility timeout has passed."""

    queue: str
    id: str
    body: str
    receipt: str
    received: int
    """How often it was received, this time included."""
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class DeadLetter:
    queue: str
    id: str
    body: str
    reason: str
    received: int
    sent_at: datetime
    dead_at: datetime


@dataclass(frozen=True, slots=True)
class Depth:
    ready: int
    in_flight: int
    delayed: int
    dead: int


class Queue(Protocol):
    """A durable, at-least-once, unordered queue with a dead-letter queue beside it."""

    def send(self, queue: str, bodies: Sequence[str], delay_s: float = 0) -> None:
        """The messages are durable when this returns."""

    def receive(self, queue: str, limit: int = 1) -> list[Delivery]:
        """Up to `limit` visible messages, now hidden for the visibility timeout; may be empty."""

    def ack(self, delivery: Delivery) -> None: ...

    def retry(self, delivery: Delivery, delay_s: float, reason: str) -> None:
        """Visible again after `delay_s`; into the DLQ if it was received too often."""

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Into the DLQ at once."""

    def extend(self, delivery: Delivery) -> bool:
        """The visibility timeout starts anew; False if the delivery is no longer ours."""

    def depth(self, queue: str) -> Depth: ...

    def dead(self, queue: str | None = None) -> list[DeadLetter]: ...

    def redrive(self, ids: Sequence[str]) -> int:
        """Those dead letters are messages again, with a fresh count."""

    def discard(self, ids: Sequence[str]) -> int: ...


# ---- source


@dataclass(frozen=True, slots=True)
class Piece:
    """What a source reads at one go: a local Parquet file that becomes one chunk.

    Shape: columns as `fields` names them, and where they apply `_penstock_line` (BIGINT, 1-based
    line or record in its file), `_penstock_error` and `_penstock_raw` (VARCHAR; a record that
    could not be read: why, and its text, all other columns NULL), `_penstock_json` (VARCHAR; a
    record as JSON text, whose fields have a `path`).
    """

    path: Path
    rows: int
    fields: tuple[Field, ...]
    position: Json
    last: bool
    origin: str = ""
    cursor_max: Json = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Something a source offers: a table, a view, or a group of files."""

    name: str
    fields: tuple[Field, ...]
    primary_key: tuple[str, ...] = ()
    cursors: tuple[str, ...] = ()
    """Columns that look like cursors, likeliest first; never used unasked."""
    rows_estimate: int | None = None
    kind: str = "table"
    hints: Mapping[str, Json] = field(default_factory=dict)
    """What `discover` proposes for the stream: `from` keys, format, column types."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What earlier plans of a `files` stream have claimed: path -> versions."""

    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Source(Protocol):
    """A place rows come from. Made by `from_config`; connects at first use, closed by `close`."""

    def check(self) -> str:
        """The source has answered; says who it is, in a few words."""

    def discover(self) -> list[Dataset]: ...

    def describe(self, stream: Stream) -> Dataset:
        """What this stream would read: its columns after include / exclude, and its key."""

    def plan(self, stream: Stream, kind: Kind, cursor: Json, claims: Claims) -> Window:
        """The closed window after `cursor` (None: from the start), cut into slices."""

    def read(self, stream: Stream, part: Slice, position: Json, folder: Path) -> Iterator[Piece]:
        """The slice's pieces after `position` (None: from its start), files made in `folder`.

        The last piece has `last`; there is always one, which may hold no rows.
        """

    def close(self) -> None: ...


@runtime_checkable
class TakesFiles(Protocol):
    """A source whose streams take files by pattern, and which can say what none of them takes."""

    def unclaimed(self, streams: Sequence[Stream]) -> list[str]: ...


# ---- warehouse


@dataclass(frozen=True, slots=True)
class LedgerRow:
    target: str
    chunk: ChunkId
    generation: int
    seq: int
    status: str
    rows: int
    load_id: str
    loaded_at: datetime


@dataclass(frozen=True, slots=True)
class Rows:
    """A query's answer; `types` are the warehouse's own names."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


class Warehouse(Protocol):
    """The place rows go to. `open` connects (Transient while another process holds it)."""

    def open(self, read_only: bool = False) -> None: ...

    def close(self) -> None: ...

    def identity(self) -> str | None:
        """The id written into the ledger when it was set up; None: not set up."""

    def set_up(self, identity: str) -> None:
        """Ledger, locks and identity stand; an identity already there stays."""

    def load(self, request: LoadRequest) -> list[Receipt]:
        """One transaction has done what DESIGN.md's rules 9 to 12 say, for every chunk asked.

        Shape: one receipt per chunk of the request, as the ledger now has it.
        Raises: Transient when it may be tried again; nothing was half done.
        Rejected when a chunk can never load.
        """

    def ledger(self, target: str | None = None) -> list[LedgerRow]: ...

    def count(self, target: Target, by_chunk: bool = False) -> Mapping[str, int]:
        """Rows of the target by `_penstock_chunk` ({"": all} without `by_chunk`)."""

    def close_run(self, closing: Closing, target: str) -> None:
        """Load refuses this run from now on, in its own transaction."""

    def query(self, sql: str, limit: int | None = None) -> Rows: ...
