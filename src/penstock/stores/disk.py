"""Files that are on the disk when a call returns, and what the filesystem's errors ask for."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from penstock.errors import PenstockError, Transient


def sync(descriptor: int) -> None:
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """The folder and those above it stand, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def place(path: Path, target: Path, move: Callable[[Path, Path], None]) -> bool:
    """`move` has put the file at `target`, durably; False if something stands there.

    Who loses waits for the winner's name to be durable too, since it builds on what it finds.
    """
    while True:
        make_folder(target.parent)
        try:
            move(path, target)
            placed = True
        except FileExistsError:
            placed = False
        except FileNotFoundError:
            if not path.exists():
                raise
            continue  # gc removed the folder, which was empty until now
        sync_folder(target.parent)
        return placed


@contextlib.contextmanager
def local_errors(path: Path) -> Iterator[None]:
    """What the filesystem says, in terms of what to do."""
    try:
        yield
    except OSError as error:
        raise _explained(error, path) from error


def _explained(error: OSError, path: Path) -> PenstockError:
    where, why = str(path), str(error.strerror or error)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return Transient(
                "the disk is full",
                where=where,
                why=f"{why}; {_free_bytes(path) / 2**20:,.1f} MiB are free there",
                fix="make room: penstock gc removes what is past its retention",
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return PenstockError(
                f"this user may not write or read {path.name!r}",
                where=where,
                why=why,
                fix=f"give user {os.getuid()} rights on {path.parent}, or set another storage.url",
            )
        case errno.EEXIST | errno.ENOTDIR | errno.ENAMETOOLONG | errno.EISDIR:
            return PenstockError(
                "an object cannot be stored under this name",
                where=where,
                why=f"{why}: {error.filename}",
                fix="move away what stands there; the storage folder is Penstock's own",
            )
        case errno.EXDEV | errno.ENOTSUP:
            return PenstockError(
                "this folder cannot hold objects",
                where=where,
                why=f"{why}; objects are linked into place, within one filesystem",
                fix="set storage.url to a folder of a local disk, without mounts inside",
            )
    return Transient("the storage folder did not answer", where=where, why=why)


def _free_bytes(path: Path) -> int:
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(there).free
