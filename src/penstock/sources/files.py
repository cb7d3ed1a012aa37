"""Files in a folder or a bucket: found by pattern, claimed by version, read in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from penstock.engine import connect
from penstock.errors import SpecError
from penstock.model import Json, Kind, Slice, Window
from penstock.pipeline import Load, SourceConfig, Stream
from penstock.ports import Claims, Dataset, Piece
from penstock.sources.files_discover import grouped, name_of, proposed_types
from penstock.sources.files_pattern import Pattern, compile_pattern
from penstock.sources.files_reading import FileReader
from penstock.sources.files_root import Entry, Root
from penstock.sources.formats.options import Format
from penstock.sources.formats.raw import BLOCK_BYTES, RawWriter

if TYPE_CHECKING:
    import duckdb

SLICE_BYTES = 128 << 20
SLICE_FILES = 500
LOOK_BYTES = 1 << 20
LOOK_ROWS = 20_000
LOOK_FILES = 3
LOOK_GROUPS = 50


class FilesSource:
    """A folder, or `s3://bucket/prefix`; whose files belong to streams by their `files` patterns.

    Why: uploads should appear by rename. A file that changes while it is read ends in an error
    row, and its new version is claimed by the next plan.
    """

    option_names = frozenset(
        {
            "url",
            "region",
            "endpoint",
            "access_key_id",
            "secret_access_key",
            "session_token",
            "allow_http",
        }
    )

    def __init__(self, name: str, root: Root, block_bytes: int = BLOCK_BYTES) -> None:
        self.name, self._root, self._block_bytes = name, root, block_bytes

    @classmethod
    def from_config(cls, config: SourceConfig, directory: Path) -> FilesSource:
        """The source as the pipeline file has it; nothing is opened yet.

        Raises: SpecError without a url.
        """
        options = {key: str(value) for key, value in config.options.items()}
        if not options.get("url"):
            raise SpecError(
                f"source {config.name} has no url",
                where=f"pipeline.yaml:{config.line}",
                fix="url: ./uploads, or s3://bucket/prefix",
            )
        return cls(config.name, Root(config.name, options["url"], options, directory))

    def check(self) -> str:
        """The root can be listed; says where it is and how much is in it."""
        entries = self._root.entries()
        size = sum(entry.bytes for entry in entries)
        return f"{self._root.folder or self._root.url}: {len(entries)} files, {_size(size)}"

    def discover(self) -> list[Dataset]:
        """The files in groups, each with a pattern, a format and column types to propose."""
        found: dict[str, Dataset] = {}
        for pattern, entries in grouped(self._root.entries()).items():
            name = name_of(pattern, found)
            stream = Stream(name, self.name, Load("", "", "append"), files=pattern)
            looked_at = entries if len(found) < LOOK_GROUPS else []
            found[name] = self._look(stream, looked_at)
        return list(found.values())

    def describe(self, stream: Stream) -> Dataset:
        """The columns of the newest file that the stream takes."""
        return self._look(stream, self._matching(stream))

    def unclaimed(self, streams: Iterable[Stream]) -> list[str]:
        """The files that no stream of this source takes."""
        patterns = [self._pattern(s) for s in streams if s.source == self.name]
        return [
            entry.path
            for entry in self._root.entries()
            if not any(pattern.match(entry.path) is not None for pattern in patterns)
        ]

    def plan(
        self,
        stream: Stream,
        kind: Kind,
        cursor: Json,  # noqa: ARG002
        claims: Claims,
    ) -> Window:
        """What is to be read: files not yet claimed in this version; with `refresh`, all."""
        wanted: list[Entry] = []
        claimed: list[tuple[str, str]] = []
        replaces = False
        ignored = 0
        for entry in self._matching(stream):
            before = claims.versions.get(entry.path, ())
            if kind == "increment" and entry.version in before:
                continue
            claimed.append((entry.path, entry.version))
            if kind == "increment" and before:
                if stream.reupload == "ignore":
                    claimed.pop()
                    ignored += 1
                    continue
                replaces = replaces or stream.reupload == "replace"
            wanted.append(entry)
        notes = (f"{ignored} files came again and are ignored",) if ignored else ()
        whole = stream.limit_rows is not None
        groups = [wanted] if whole and wanted else list(_groups(wanted))
        slices = tuple(
            Slice(number, {"files": [[entry.path, entry.version] for entry in group]})
            for number, group in enumerate(groups)
        )
        return Window(slices, claims=tuple(claimed), replaces=replaces, notes=notes)

    def read(self, stream: Stream, part: Slice, position: Json, folder: Path) -> Iterator[Piece]:
        """The slice's files after `position`, in blocks; a piece never spans two files.

        Shape: position {file: index in the slice, rows: read so far, at: the format's own place}.
        """
        folder.mkdir(parents=True, exist_ok=True)
        pattern, reader = self._pattern(stream), self._reader(stream)
        files: Sequence[Sequence[str]] = part.spec["files"]
        connection = connect([folder, *self._folders()])
        try:
            pieces = _pieces(files, pattern, reader, connection, folder, position, stream)
            held = next(pieces, None)
            while held is not None:
                following = next(pieces, None)
                yield replace(held, last=following is None)
                held = following
        finally:
            connection.close()

    def close(self) -> None:
        """Nothing is held open between reads."""

    def _look(self, stream: Stream, entries: Sequence[Entry]) -> Dataset:
        """What the newest file that can be read begins with, and what to propose for it."""
        name, files = stream.name, stream.files or ""
        for entry in sorted(entries, key=lambda entry: entry.modified_at, reverse=True)[
            :LOOK_FILES
        ]:
            extras = self._pattern(stream).match(entry.path) or ()
            with TemporaryDirectory(prefix="penstock-") as made:
                connection = connect([Path(made), *self._folders()])
                try:
                    writer = RawWriter(connection, Path(made), extras, LOOK_ROWS)
                    reader = replace(self._reader(stream), block_bytes=LOOK_BYTES)
                    part = next(reader.parts(entry.path, entry.version, writer, None))
                    if len(part.fields) == len(extras):
                        continue
                    columns = proposed_types(connection, part.path, part.fields)
                    commas = [c for c in columns.values() if c.pop("decimal", None)]
                    form = {**part.format, **({"decimal": ","} if commas else {}), **stream.format}
                    proposal = {
                        "from": {"files": files, "format": form},
                        "columns": columns,
                        "files": len(entries),
                    }
                    return Dataset(name, part.fields, kind="files", hints=proposal)
                finally:
                    connection.close()
        return Dataset(name, (), kind="files", hints={"from": {"files": files}})

    def _folders(self) -> list[Path]:
        return [self._root.folder] if self._root.folder else []

    def _matching(self, stream: Stream) -> list[Entry]:
        pattern = self._pattern(stream)
        return [e for e in self._root.entries(pattern.prefix) if pattern.match(e.path) is not None]

    def _pattern(self, stream: Stream) -> Pattern:
        if stream.files is None:
            raise SpecError(f"stream {stream.name} names no files", where=f"line {stream.line}")
        return compile_pattern(stream.files, f"stream {stream.name}, line {stream.line}")

    def _reader(self, stream: Stream) -> FileReader:
        where = f"stream {stream.name}, line {stream.line}"
        return FileReader(self._root, Format.of(stream.format, where), self._block_bytes)


def _pieces(
    files: Sequence[Sequence[str]],
    pattern: Pattern,
    reader: FileReader,
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    position: Json,
    stream: Stream,
) -> Iterator[Piece]:
    """The pieces after `position`, none of them marked last."""
    start: Mapping[str, Any] = position or {"file": 0, "rows": 0, "at": None}
    total: int = start["rows"]
    for index in range(start["file"], len(files)):
        path, version = files[index]
        extras = pattern.match(path) or ()
        at = start["at"] if index == start["file"] else None
        left = None if stream.limit_rows is None else stream.limit_rows - total
        if left == 0:
            return
        writer = RawWriter(connection, folder, extras, left)
        for part in reader.parts(path, version, writer, at):
            total += part.rows
            done = part.resume is None
            after = {"file": index + done, "rows": total, "at": part.resume}
            yield Piece(part.path, part.rows, part.fields, after, last=False, origin=path)
            if stream.limit_rows is not None:
                writer.limit_rows = stream.limit_rows - total
                if writer.limit_rows == 0:
                    return


def _groups(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Files for one slice each: small ones together, a large one alone."""
    group: list[Entry] = []
    size = 0
    for entry in entries:
        if group and (size + entry.bytes > SLICE_BYTES or len(group) == SLICE_FILES):
            yield group
            group, size = [], 0
        group.append(entry)
        size += entry.bytes
    if group:
        yield group


def _size(size: int) -> str:
    value = float(size)
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
