"""One pipeline in one environment, opened: its store, journal, queue, sources and warehouse.

Every verb of the command line starts from a workspace; nothing here works in the background.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from penstock import layout
from penstock.clock import SystemClock
from penstock.errors import Broken, Rejected
from penstock.journal.sqlite import SqliteJournal
from penstock.model import Plan, StreamKey
from penstock.observe.events import EventLog
from penstock.pipeline import Options, Pipeline, Stream
from penstock.ports import Clock, Journal, Source, Store, TakesFiles, Warehouse
from penstock.queues.sqlite import SqliteQueue
from penstock.spec.registry import load_class
from penstock.spec.secrets import open_options, read_reference
from penstock.spec.streams import expand, settle_write
from penstock.spec.wire import digest, from_json, to_json
from penstock.stores import open_store


@dataclass
class Workspace:
    """The open parts of one pipeline.

    Shape: `pipeline` is the file as it stands; `concrete()` the same with patterns expanded and
    `write: auto` settled, which asks the sources.
    """

    pipeline: Pipeline
    environ: Mapping[str, str]
    store: Store
    journal: Journal
    queue: SqliteQueue
    clock: Clock
    log: EventLog
    folder: Path
    """Where attempts work; emptied of what dead processes left when a workspace opens."""
    choices: dict[str, str] = field(default_factory=dict)
    """Why each stream is written the way it is."""
    new_tables: dict[str, str] = field(default_factory=dict)
    """Streams of tables that a pattern found and only reports (`on_new_table`), and why."""
    _sources: dict[str, Source] = field(default_factory=dict)
    _pipelines: dict[str, Pipeline] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # ---- references

    def read_reference(self, text: str) -> str:
        """The text with its `${env:}` and `${secret:}` read now."""
        return read_reference(text, self.pipeline, self.environ)

    # ---- sources

    def source(self, name: str) -> Source:
        """The source, one object per process; it connects when it is first used."""
        with self._lock:
            if name not in self._sources:
                config = self.pipeline.source(name)
                opened = replace(config, options=self._open(config.options, f"sources.{name}"))
                kind = load_class("source", config.type)
                self._sources[name] = kind.from_config(opened, self._directory)
            return self._sources[name]

    def _open(self, options: Options, where: str) -> Options:
        """The options with every reference and secret read."""
        return open_options(options, self.pipeline, self.environ, where)

    def unclaimed(self, name: str) -> list[str]:
        """The files of a source that no stream of the pipeline takes."""
        source = self.source(name)
        if not isinstance(source, TakesFiles):
            return []
        return source.unclaimed([item for item in self.pipeline.streams if item.source == name])

    @property
    def _directory(self) -> Path:
        return Path(self.pipeline.directory)

    def reader(self, plan: Plan) -> tuple[Source, Stream]:
        """Today's connection, and the stream as the run was planned."""
        return self.source(plan.source), self.stream_of(plan.digest, plan.key.stream)

    # ---- warehouse

    def open_warehouse(self) -> Warehouse:
        """A new warehouse object, not connected yet."""
        config = self.pipeline.warehouse
        opened = replace(config, options=self._open(config.options, "warehouse"))
        warehouse: Warehouse = load_class("warehouse", config.type).from_config(
            opened, self._directory
        )
        return warehouse

    def warehouse_id(self) -> str | None:
        """The id of the warehouse that the journal knows."""
        entry = self.journal.read(self._warehouse_entry)
        return str(entry.value["id"]) if entry else None

    @property
    def _warehouse_entry(self) -> str:
        return layout.warehouse_entry(self.pipeline.name, self.pipeline.environment)

    def meet_warehouse(self, warehouse: Warehouse, *, start_anew: bool = False) -> str:
        """The open warehouse and the journal agree on its id (rule 9 of the pipeline file).

        Raises: Broken when the journal has state for another warehouse than the one that is there,
        unless `start_anew`.
        """
        known, actual = self.warehouse_id(), warehouse.identity()
        if known is not None and known == actual:
            return known
        if known is not None and not start_anew and self._has_state(known):
            raise self._stranger(known, actual)
        if actual is None:
            actual = known if known is not None and not self._has_state(known) else _new_id()
            warehouse.set_up(actual)
        self.know_warehouse(actual)
        return actual

    def know_warehouse(self, identity: str) -> None:
        """The journal's state is that of the warehouse with this id from now on."""
        entry = self.journal.read(self._warehouse_entry)
        self.journal.swap(self._warehouse_entry, {"id": identity}, entry.version if entry else None)

    def _has_state(self, identity: str) -> bool:
        prefix = f"head/{self.pipeline.name}/{self.pipeline.environment}/{identity}/"
        return any(entry.value["seq"] > 0 for entry in self.journal.scan(prefix))

    def _stranger(self, known: str, actual: str | None) -> Broken:
        options = self.pipeline.warehouse.options
        name = options.get("path") or options.get("database") or self.pipeline.warehouse.type
        found = f"a warehouse with id {actual}" if actual else "an empty one"
        return Broken(
            f"the warehouse {name} is not the one this pipeline has loaded: found {found}",
            where=f"pipeline {self.pipeline.name}, environment {self.pipeline.environment}",
            why=f"cursors in the journal belong to warehouse {known}; going on would leave gaps",
            fix="choose one: penstock replay --all (load again from raw)\n"
            "         penstock run --full-refresh (read everything again)\n"
            "         penstock state adopt (these tables are right, keep the cursors)",
        )

    # ---- streams and pipelines

    def key(self, stream: str) -> StreamKey:
        """The key of the stream's state, for the warehouse that the journal knows."""
        identity = self.warehouse_id() or "none"
        return StreamKey(self.pipeline.name, self.pipeline.environment, identity, stream)

    def concrete(self) -> Pipeline:
        """The pipeline with every pattern expanded and every write mode settled."""
        streams: list[Stream] = []
        for stream in self.pipeline.streams:
            if stream.tables:
                names = [dataset.name for dataset in self.source(stream.source).discover()]
                expanded = self._without_new(stream, expand(stream, names, self.pipeline.streams))
            else:
                expanded = (stream,)
            streams.extend(self._settle(item) for item in expanded)
        return replace(self.pipeline, streams=tuple(streams))

    def _without_new(self, pattern: Stream, expanded: tuple[Stream, ...]) -> tuple[Stream, ...]:
        """Those of the pattern's streams that load: all, or those known since its first run."""
        known = {name for name in self.known_streams() if name.startswith(f"{pattern.name}.")}
        if pattern.on_new_table == "load" or not known:
            return expanded
        for stream in expanded:
            if stream.name not in known:
                self.new_tables[stream.name] = f"{stream.table} is new, on_new_table is report"
        return tuple(stream for stream in expanded if stream.name in known)

    def _settle(self, stream: Stream) -> Stream:
        if not stream.auto_write:
            return stream
        key: tuple[str, ...] = ()
        if stream.files is None and not stream.primary_key:
            key = self.source(stream.source).describe(stream).primary_key
        settled, reason = settle_write(stream, key)
        self.choices[stream.name] = reason
        return settled

    def keep(self, pipeline: Pipeline) -> str:
        """The pipeline is stored under its digest, for work in flight to finish under."""
        name = digest(pipeline)
        with self._lock:
            self._pipelines[name] = pipeline
        self.store.create(layout.pipeline_key(name), to_json(pipeline).encode())
        return name

    def stream_of(self, name: str, stream: str) -> Stream:
        """The stream as the pipeline file of that digest has it.

        Raises: Rejected when that file, or the stream in it, is not there.
        """
        with self._lock:
            pipeline = self._pipelines.get(name)
        if pipeline is None:
            body = self.store.read(layout.pipeline_key(name))
            if body is None:
                raise Rejected(f"pipeline file {name[:12]} is gone", where=stream)
            pipeline = from_json(body.decode())
            with self._lock:
                self._pipelines[name] = pipeline
        found = pipeline.stream(stream)
        if found is None:
            raise Rejected(
                f"stream {stream} is not in pipeline file {name[:12]}",
                fix="put the stream back into the pipeline file, then: penstock dlq redrive",
            )
        return found

    def known_streams(self) -> Iterator[str]:
        """The names of all streams that have state, in this file or not any more."""
        prefix = f"head/{self.pipeline.name}/{self.pipeline.environment}/{self.warehouse_id()}/"
        for entry in self.journal.scan(prefix):
            yield entry.key.removeprefix(prefix)

    def close(self) -> None:
        """Sources, queue and journal are closed; the workspace is not used any more."""
        for source in self._sources.values():
            source.close()
        self.queue.close()
        if isinstance(self.journal, SqliteJournal):
            self.journal.close()


def open_workspace(pipeline: Pipeline, environ: Mapping[str, str]) -> Workspace:
    """The pipeline's store, journal and queue are open; its folders exist."""
    store, state = _open_storage(pipeline)
    clock = SystemClock()
    folder = state / "work"
    for path in (folder, state / "logs"):
        path.mkdir(parents=True, exist_ok=True)
    return Workspace(
        pipeline,
        environ,
        store,
        SqliteJournal(state / "journal.db"),
        SqliteQueue(state / "queue.db", clock),
        clock,
        EventLog(state / "logs", clock.now),
        folder,
    )


def _open_storage(pipeline: Pipeline) -> tuple[Store, Path]:
    """The store, and the local folder of journal, queue, logs and work files."""
    directory = Path(pipeline.directory)
    store = open_store(pipeline.storage.url, pipeline.storage.options, directory)
    remote = "://" in pipeline.storage.url and not pipeline.storage.url.startswith("file://")
    root = directory / ".penstock" if remote else directory / pipeline.storage.url
    state = root / "journal" / pipeline.environment
    state.mkdir(parents=True, exist_ok=True)
    return store, state


def _new_id() -> str:
    return uuid.uuid4().hex[:12]
