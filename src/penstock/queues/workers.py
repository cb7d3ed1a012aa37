"""Which processes of this machine still live, by locks that end with them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO


class Workers:
    """A folder with one locked file per living worker.

    Why: a process that was killed frees its lock in the same moment, however it died; a process
    id can be taken again by another program, and a heartbeat is late.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._own: tuple[str, IO[bytes]] | None = None

    def own(self) -> str:
        """This process's name, alive from now on; files of earlier, dead workers are gone."""
        with self._lock:
            if self._own is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                for path in self._folder.glob("*.lock"):
                    with self.if_dead(path.stem):
                        pass
            while self._own is None:
                self._own = self._register()
            return self._own[0]

    def _register(self) -> tuple[str, IO[bytes]] | None:
        """A name whose lock is held; None if a cleaner took the file in between."""
        name = uuid.uuid4().hex
        path = self._path(name)
        file = path.open("xb")
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:  # noqa: PTH116
                return name, file
        file.close()
        return None

    @contextlib.contextmanager
    def if_dead(self, name: str) -> Iterator[bool]:
        """Whether that worker is gone; if so, its file is removed after the block."""
        if self._own is not None and name == self._own[0]:
            yield False
            return
        path = self._path(name)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            yield True
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """This process's name is given up."""
        with self._lock:
            if self._own is not None:
                name, file = self._own
                self._path(name).unlink(missing_ok=True)
                file.close()
                self._own = None

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"
