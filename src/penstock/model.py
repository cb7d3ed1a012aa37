"""The nouns of the flow: what a run is made of, and the messages between its stages.

    trigger -> Plan -> Slice -> extract -> Link (a chunk) -> transform -> Commit -> load -> Receipt

Everything here is frozen and travels as JSON (`codec`). A message is a fact in the past tense and
names the digest of the pipeline file that planned it. Rows travel in files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Json = Any
Kind = Literal["increment", "refresh"]
"""increment: what came after the cursor (or files not yet claimed). refresh: everything again."""


# ---- identity


@dataclass(frozen=True, slots=True, order=True)
class StreamKey:
    """State is kept per pipeline, environment, warehouse (its own id) and stream."""

    pipeline: str
    environment: str
    warehouse_id: str
    stream: str

    def __str__(self) -> str:
        return f"{self.pipeline}/{self.environment}/{self.warehouse_id}/{self.stream}"


@dataclass(frozen=True, slots=True, order=True)
class ChunkId:
    """One chunk of one slice of one run. Zero-padded text, so that its order is its text's order.

    `attempt` is empty for slices that resume by position: their chain is shared by all attempts.
    A slice that cannot resume has a chain per attempt, and its slice manifest names the one
    that counts.
    """

    stream: str
    run_id: str
    slice: int
    attempt: str
    number: int

    def __str__(self) -> str:
        attempt = f".{self.attempt}" if self.attempt else ""
        return f"{self.stream}/{self.run_id}/{self.slice:04d}{attempt}/{self.number:06d}"

    @staticmethod
    def parse(text: str) -> ChunkId:
        stream, run_id, slice_text, number = text.split("/")
        index, _, attempt = slice_text.partition(".")
        return ChunkId(stream, run_id, int(index), attempt, int(number))


# ---- plan


@dataclass(frozen=True, slots=True)
class Trigger:
    """A wish for a run. The same id twice is the same run."""

    id: str
    kind: Kind
    at: datetime
    """The planned time: of the schedule, the event, or the command."""


@dataclass(frozen=True, slots=True)
class Head:
    """The one mutable fact about a stream; changed only by compare-and-set."""

    seq: int = 0
    cursor: Json = None
    """The upper bound of all that was extracted, as the source gave it; None: nothing yet."""
    open: bool = False
    """Whether the run of `seq` is still open for extraction."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a run that one reader reads; `spec` is the source's own, in JSON."""

    number: int
    spec: Mapping[str, Json]
    resumable: bool = True
    """Whether a reader can go on from a chunk's position (rule 4) or must start over (rule 5)."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a source says it would read now: the closed window (lo, hi], cut into slices.

    Shape: `lo` and `hi` are the source's JSON for cursor values; both None without a cursor.
    `claims` names what is claimed by this plan: (path, version) of each file.
    """

    slices: tuple[Slice, ...]
    lo: Json = None
    hi: Json = None
    claims: tuple[tuple[str, str], ...] = ()
    replaces: bool = False
    """Whether a claimed path was claimed before in another version, and is to be replaced."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ByHand:
    """A head that a person moved: such a plan reads nothing, and sets the cursor."""

    who: str
    why: str
    cursor: Json
    abandons: str = ""
    """The run that was open, and is given up."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of one stream: immutable, stored before anything is read, never removed."""

    run_id: str
    key: StreamKey
    seq: int
    kind: Kind
    digest: str
    planned_at: datetime
    trigger_ids: tuple[str, ...]
    window: Window
    source: str
    contract_version: int
    cursor_before: Json = None
    swap: bool = False
    """Load as one replacement, once every chunk is staged: replace, refresh, re-upload."""
    asserted: bool = False
    """Load nothing before every chunk is staged and the stream's assertions hold."""
    scope: Literal["table", "files"] = "table"
    """What a swap replaces: every row of a lower seq, or those of the claimed paths."""
    by_hand: ByHand | None = None

    @property
    def ingest_date(self) -> str:
        return self.planned_at.strftime("%Y-%m-%d")


# ---- extract


@dataclass(frozen=True, slots=True)
class Field:
    """A column as the source has it.

    Shape: `type` is a logical type (docs/architecture.md, "Types"); `path` is the place inside
    `_penstock_json` for raw files that hold JSON text, else None.
    """

    name: str
    type: str
    path: str | None = None
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class File:
    """A data file in the store. Files that no link or commit record names do not exist."""

    key: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Link:
    """One chunk, made durable: a link of its slice's chain, created once and for all."""

    chunk: ChunkId
    file: File
    fields: tuple[Field, ...]
    position: Json
    """Where the next reader starts."""
    last: bool
    """Whether the slice ends here; nothing is created after a last link."""
    origin: str = ""
    """The file the rows come from, for `files` sources; a chunk never spans two."""
    cursor_max: Json = None


# ---- transform


@dataclass(frozen=True, slots=True)
class Counts:
    """read = good + quarantined + filtered + deduplicated, for every chunk."""

    read: int = 0
    good: int = 0
    quarantined: int = 0
    filtered: int = 0
    deduplicated: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.read + other.read,
            self.good + other.good,
            self.quarantined + other.quarantined,
            self.filtered + other.filtered,
            self.deduplicated + other.deduplicated,
        )

    @property
    def holds(self) -> bool:
        return self.read == self.good + self.quarantined + self.filtered + self.deduplicated


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit point of (chunk, generation), and the notification that it is staged."""

    chunk: ChunkId
    generation: int
    digest: str
    contract_version: int
    counts: Counts
    good: tuple[File, ...]
    quarantine: tuple[File, ...]
    columns: tuple[Field, ...]
    """Name and logical type of every column of the good files, in file order."""
    rules: Mapping[str, int] = field(default_factory=dict)
    """Quarantined rows by rule."""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Contract:
    """One immutable version of what a stream's rows look like."""

    version: int
    columns: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A chunk that cannot succeed under this digest and contract; reconcile passes it by."""

    chunk: ChunkId
    generation: int
    reason: str
    digest: str
    contract_version: int
    at: datetime
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """The generation that a chunk is wanted in, and the pipeline file to make it with."""

    number: int
    digest: str


# ---- load


@dataclass(frozen=True, slots=True)
class Staged:
    """One chunk as the warehouse gets it: local files, and its place in the order of writes."""

    commit: Commit
    seq: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """The table that a stream loads into."""

    stream: str
    schema: str
    table: str
    write: Literal["append", "merge", "replace"]
    primary_key: tuple[str, ...] = ()
    version: str | None = None
    sort_key: tuple[str, ...] = ()
    dist_key: str | None = None
    reupload: Literal["replace", "append", "ignore"] = "append"

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """All that one warehouse transaction needs. With `swap` it holds a whole run, else any chunks.

    Shape: `contract` is the newest version among the commits; its columns are the table's.
    """

    load_id: str
    target: Target
    contract: Contract
    chunks: tuple[Staged, ...]
    swap: Plan | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the ledger says of one chunk, written to the store after COMMIT."""

    chunk: ChunkId
    generation: int
    seq: int
    status: Literal["loaded", "superseded", "closed"]
    rows: int
    load_id: str
    loaded_at: datetime
    inserted: int = 0
    updated: int = 0


@dataclass(frozen=True, slots=True)
class Closing:
    """The sums of a run whose files gc may remove; never removed itself."""

    run_id: str
    key: StreamKey
    seq: int
    counts: Counts
    loaded: int
    superseded: int
    closed_at: datetime
    chunks: int = 0


# ---- messages


@dataclass(frozen=True, slots=True)
class SlicePlanned:
    """A slice waits to be read."""

    key: StreamKey
    run_id: str
    seq: int
    slice: int
    digest: str


@dataclass(frozen=True, slots=True)
class ChunkExtracted:
    """A chunk waits to be transformed into `generation`."""

    key: StreamKey
    run_id: str
    seq: int
    chunk: ChunkId
    generation: int
    digest: str


@dataclass(frozen=True, slots=True)
class TargetDirty:
    """A hint: something of this stream may be ready to load."""

    key: StreamKey
    digest: str


Message = SlicePlanned | ChunkExtracted | TargetDirty
