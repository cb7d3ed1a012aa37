"""The embedded runtime: extract, transform and load at the same time, in threads of one process.

Threads talk through the durable queue alone, so that any number of processes may work on one
pipeline, and any of them may be killed. A worker receives, settles, sends what came out, and only
then acknowledges.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from penstock import codec
from penstock.errors import Rejected, Transient
from penstock.model import (
    ChunkExtracted,
    Commit,
    Link,
    Message,
    Plan,
    Receipt,
    SlicePlanned,
    StreamKey,
    TargetDirty,
)
from penstock.ports import Delivery, Depth, Warehouse
from penstock.runtimes.workspace import Workspace
from penstock.settle import Done, Outcome, Reject, Retry, settle
from penstock.stages.extract import Extract
from penstock.stages.load import Load
from penstock.stages.transform import Transform

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKLOG = 6
"""Chunks that may wait for transform before extract pauses."""
MAX_READS = 6
"""Times a slice is read from where it stopped before its stream has failed, this time."""
POLL_S = 0.2
GATHER_S = 2.0
"""Time between two loads of a stream while more of it is on its way."""
HEARTBEAT_S = 30.0
MAX_BACKOFF_S = 20.0


@dataclass
class Workers:
    """The threads of one process.

    Shape: `start`, then `send` what planning and reconcile found; `failures` holds the last
    reason per stream whose work could not be done.
    """

    workspace: Workspace
    transformers: int = 2
    failures: dict[StreamKey, str] = field(default_factory=dict)
    changed: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(256, thread_name_prefix="penstock")
    )
    _threads: list[Future[None]] = field(default_factory=list)
    _in_hand: dict[str, Delivery] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # ---- life

    def start(self) -> None:
        """Every source has its readers, and transform, load and heartbeat run."""
        extract = self._extract()
        for source in self.workspace.pipeline.sources:
            for _ in range(source.concurrency):
                self._thread(partial(self._consume, queue_of_source(source.name), extract))
        transform = self._transform()
        for _ in range(self.transformers):
            self._thread(partial(self._consume, "transform", transform))
        self._thread(self._load_forever)
        self._thread(self._heartbeat)

    def stop(self) -> None:
        """Every thread has finished what it had in hand."""
        self._stop.set()
        self.workspace.queue.wake()
        self._pool.shutdown()

    def check(self) -> None:
        """Raises what a worker thread died of; nothing else ever ends one early."""
        for future in self._threads:
            if future.done():
                future.result()

    def _thread(self, body: Callable[[], None]) -> None:
        future = self._pool.submit(body)
        future.add_done_callback(self._ended)
        self._threads.append(future)

    def _ended(self, future: Future[None]) -> None:
        if future.exception() is not None:
            self._stop.set()
            self.changed.set()

    # ---- stages

    def _extract(self) -> Extract:
        def extracted(plan: Plan, link: Link) -> None:
            self.workspace.log.emit(
                "chunk_extracted",
                stream=plan.key.stream,
                run_id=plan.run_id,
                chunk=str(link.chunk),
                rows=link.file.rows,
                bytes=link.file.bytes,
            )

        workspace = self.workspace
        return Extract(
            workspace.journal, workspace.store, workspace.reader, workspace.folder, extracted
        )

    def _transform(self) -> Transform:
        def transformed(plan: Plan, commit: Commit) -> None:
            self.workspace.log.emit(
                "chunk_transformed",
                stream=plan.key.stream,
                run_id=plan.run_id,
                chunk=str(commit.chunk),
                generation=commit.generation,
                rows_read=commit.counts.read,
                rows_good=commit.counts.good,
                rows_quarantined=commit.counts.quarantined,
                bytes=sum(file.bytes for file in commit.good),
            )

        workspace = self.workspace
        return Transform(
            workspace.journal,
            workspace.store,
            workspace.clock,
            workspace.stream_of,
            workspace.read_reference,
            workspace.folder,
            transformed,
        )

    def _load(self, warehouse: Warehouse) -> Load:
        def loaded(plan: Plan, receipts: Sequence[Receipt]) -> None:
            self.workspace.log.emit(
                "chunks_loaded",
                stream=plan.key.stream,
                run_id=plan.run_id,
                chunks=len(receipts),
                rows_loaded=sum(receipt.rows for receipt in receipts),
                inserted=sum(receipt.inserted for receipt in receipts),
                updated=sum(receipt.updated for receipt in receipts),
            )

        workspace = self.workspace
        return Load(
            workspace.journal,
            workspace.store,
            warehouse,
            workspace.stream_of,
            workspace.folder,
            loaded,
        )

    # ---- consuming

    def _consume(self, queue: str, stage: Callable[..., Iterable[Message]]) -> None:
        is_reader = queue.startswith("extract.")
        while not self._stop.is_set():
            if is_reader and self._is_behind():
                self._stop.wait(POLL_S / 4)
                continue
            deliveries = self.workspace.queue.receive(queue)
            if not deliveries:
                self.workspace.queue.wait(POLL_S)
                continue
            self._settle(deliveries, stage)

    def _is_behind(self) -> bool:
        return self.workspace.queue.depth("transform").ready >= BACKLOG

    def _load_forever(self) -> None:
        """Loads while there are hints; the warehouse is held only meanwhile.

        Why: a warehouse that cannot be opened costs no receives: hints are taken when it is open.
        """
        wait_s = POLL_S
        while not self._stop.is_set():
            if self.workspace.queue.depth("load").ready == 0:
                self.workspace.queue.wait(POLL_S)
                continue
            warehouse = self.workspace.open_warehouse()
            try:
                warehouse.open()
                self.workspace.meet_warehouse(warehouse)
            except Transient:
                self._stop.wait(wait_s)
                wait_s = min(wait_s * 2, 2.0)
                continue
            wait_s = POLL_S
            try:
                self._drain_hints(self._load(warehouse))
            finally:
                warehouse.close()

    def _drain_hints(self, load: Load) -> None:
        idle = 0
        loaded_at: dict[str, float] = {}
        while idle < 5 and not (self._stop.is_set() and idle):
            deliveries = self.workspace.queue.receive("load", 100)
            if not deliveries:
                idle += 1
                self.workspace.queue.wait(POLL_S)
                continue
            idle = 0
            by_stream: dict[str, list[Delivery]] = {}
            for delivery in deliveries:
                by_stream.setdefault(delivery.body, []).append(delivery)
            for body, same in by_stream.items():
                self._gather(loaded_at.get(body, 0.0))
                self._settle(same, load)
                loaded_at[body] = time.monotonic()

    def _gather(self, loaded_at: float) -> None:
        """A stream that was just loaded waits a moment for more chunks, while more are coming.

        Why: a transaction a chunk costs half as much again as one for four (bench, orders).
        """
        while time.monotonic() - loaded_at < GATHER_S and self._is_busy():
            if self._stop.wait(POLL_S / 4):
                return

    def _settle(
        self, deliveries: Sequence[Delivery], stage: Callable[..., Iterable[Message]]
    ) -> None:
        """Deliveries of one and the same message are settled together."""
        queue = self.workspace.queue
        first = deliveries[0]
        with self._held(deliveries):
            try:
                message = codec.unpack(first.body)
            except Rejected as error:
                for delivery in deliveries:
                    queue.reject(delivery, str(error))
                return
            outcome = settle(stage, message, self._send_one)  # type: ignore[arg-type]
            for delivery in deliveries:
                self._apply(delivery, message, outcome)
        self.changed.set()

    def _apply(self, delivery: Delivery, message: Message, outcome: Outcome) -> None:
        queue, log = self.workspace.queue, self.workspace.log
        if isinstance(outcome, Done):
            queue.ack(delivery)
            return
        fields = {"stream": message.key.stream, "queue": delivery.queue, "reason": outcome.reason}
        most = MAX_READS if isinstance(message, SlicePlanned) else queue.max_receives
        if isinstance(outcome, Reject) or delivery.received >= most:
            if not isinstance(message, ChunkExtracted):
                self.failures[message.key] = outcome.reason
            log.emit("message_rejected", **fields)
            queue.reject(delivery, outcome.reason)
        elif isinstance(outcome, Retry):
            delay_s = outcome.delay_s
            if delay_s is None:
                delay_s = min(0.25 * 2 ** (delivery.received - 1), MAX_BACKOFF_S)
            log.emit("message_retried", delay_s=delay_s, received=delivery.received, **fields)
            queue.retry(delivery, delay_s, outcome.reason)

    # ---- sending

    def send(self, messages: Iterable[Message]) -> int:
        """The messages that are not in a queue already are durable; says how many were sent."""
        sent = 0
        by_queue: dict[str, list[str]] = {}
        for message in messages:
            by_queue.setdefault(self.queue_of(message), []).append(codec.pack(message))
        for queue, bodies in by_queue.items():
            missing = self.workspace.queue.missing(queue, bodies)
            if missing:
                self.workspace.queue.send(queue, missing)
            sent += len(missing)
        return sent

    def _send_one(self, message: Message) -> None:
        self.workspace.queue.send(self.queue_of(message), [codec.pack(message)])
        if isinstance(message, ChunkExtracted):
            while self._is_behind() and not self._stop.is_set():
                self._stop.wait(POLL_S / 4)

    def queue_of(self, message: Message) -> str:
        """The queue that the message travels in."""
        if isinstance(message, SlicePlanned):
            stream = self.workspace.stream_of(message.digest, message.key.stream)
            return queue_of_source(stream.source)
        return "load" if isinstance(message, TargetDirty) else "transform"

    def is_idle(self) -> bool:
        """Whether no message waits, is in flight, or is delayed, in this process or another."""
        return not self._is_busy() and not _has_work(self.workspace.queue.depth("load"))

    def _is_busy(self) -> bool:
        """Whether slices are read or chunks transformed, by anybody."""
        names = [queue_of_source(source.name) for source in self.workspace.pipeline.sources]
        return any(_has_work(self.workspace.queue.depth(name)) for name in (*names, "transform"))

    # ---- heartbeat

    @contextmanager
    def _held(self, deliveries: Sequence[Delivery]) -> Iterator[None]:
        """The deliveries stay invisible to others for as long as the block takes."""
        with self._lock:
            self._in_hand.update((delivery.receipt, delivery) for delivery in deliveries)
        try:
            yield
        finally:
            with self._lock:
                for delivery in deliveries:
                    self._in_hand.pop(delivery.receipt, None)

    def _heartbeat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            with self._lock:
                deliveries = list(self._in_hand.values())
            for delivery in deliveries:
                self.workspace.queue.extend(delivery)


def _has_work(depth: Depth) -> bool:
    return bool(depth.ready or depth.in_flight or depth.delayed)


def queue_of_source(name: str) -> str:
    """The queue of slices that wait to be read from this source."""
    return f"extract.{name}"
