"""A store and a journal that live and die with one process: for tests and simulations."""

from __future__ import annotations

import bisect
import hashlib
import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from penstock.clock import SystemClock
from penstock.codec import to_json
from penstock.model import Json
from penstock.ports import Clock, Entry, StoredObject
from penstock.stores.keys import checked, checked_prefix, missing


class MemoryStore:
    """Objects in a dictionary; safe for many threads."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._objects: dict[str, tuple[bytes, StoredObject]] = {}
        self._keys: list[str] = []
        self._lock = threading.Lock()

    def create(self, key: str, body: bytes) -> bool:
        checked(key)
        with self._lock:
            if key in self._objects:
                return False
            self._put(key, body)
            return True

    def adopt(self, path: Path, key: str) -> None:
        checked(key)
        body = path.read_bytes()
        with self._lock:
            self._put(key, body)
        path.unlink()

    def _put(self, key: str, body: bytes) -> None:
        if key not in self._objects:
            bisect.insort(self._keys, key)
        self._objects[key] = (body, StoredObject(key, len(body), self._clock.now()))

    def read(self, key: str) -> bytes | None:
        found = self._objects.get(checked(key))
        return found[0] if found else None

    def fetch(self, key: str, folder: Path) -> Path:
        """A copy in `folder`; objects of one name in two folders are two files."""
        body = self.read(key)
        if body is None:
            raise missing(key)
        name = hashlib.sha256(key.encode()).hexdigest()[:24]
        path = folder / f"{name}{Path(key).suffix}"
        path.write_bytes(body)
        return path

    def list(self, prefix: str) -> Iterator[StoredObject]:
        checked_prefix(prefix)
        with self._lock:
            found = [
                self._objects[key][1]
                for key in self._keys[bisect.bisect_left(self._keys, prefix) :]
                if key.startswith(prefix)
            ]
        yield from found

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._lock:
                if self._objects.pop(checked(key), None) is not None:
                    self._keys.remove(key)


class MemoryJournal:
    """Entries in a dictionary; safe for many threads. Versions come from one counter."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._entries: dict[str, tuple[str, Entry]] = {}
        self._keys: list[str] = []
        self._last = 0
        self._lock = threading.Lock()

    def read(self, key: str) -> Entry | None:
        found = self._entries.get(key)
        return _fresh(*found) if found else None

    def swap(self, key: str, value: Json, expected: int | str | None) -> bool:
        text = to_json(value)
        with self._lock:
            found = self._entries.get(key)
            if (found[1].version if found else None) != expected:
                return False
            if found is None:
                bisect.insort(self._keys, key)
            self._last += 1
            self._entries[key] = (text, Entry(key, None, self._last, self._clock.now()))
            return True

    def remove(self, key: str, expected: int | str) -> bool:
        with self._lock:
            found = self._entries.get(key)
            if found is None or found[1].version != expected:
                return False
            del self._entries[key]
            self._keys.remove(key)
            return True

    def scan(self, prefix: str) -> Iterator[Entry]:
        with self._lock:
            keys = [
                key
                for key in self._keys[bisect.bisect_left(self._keys, prefix) :]
                if key.startswith(prefix)
            ]
        for key in keys:
            entry = self.read(key)
            if entry is not None:
                yield entry


def _fresh(text: str, entry: Entry) -> Entry:
    """The entry with a value of its own, that nobody else can change."""
    return Entry(entry.key, json.loads(text), entry.version, entry.changed_at)
