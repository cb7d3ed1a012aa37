"""What can be the key of an object, in every store."""

from __future__ import annotations

import re

from penstock.errors import Rejected

UNFINISHED = ".unfinished"
"""The folder of what is being written; no key starts with it."""


def checked(key: str) -> str:
    """The key, which stays below the root.

    Raises: Rejected for an empty segment, `.`, `..`, or a character that some store refuses.
    """
    segments = key.split("/")
    strange = any(s in ("", ".", "..") or len(s.encode()) > 255 for s in segments)
    if strange or segments[0] == UNFINISHED or re.search(r"[\x00-\x1f\x7f\\]", key):
        raise Rejected(
            f"{key!r} cannot be the key of an object",
            why="keys are relative, without empty, '.' or '..' segments and control characters",
        )
    return key


def checked_prefix(prefix: str) -> tuple[str, str]:
    """The prefix cut into its folder and the start of a name."""
    folder, _, name = prefix.rpartition("/")
    if "/" in prefix:
        checked(folder)
    return folder, name


def missing(where: str) -> Rejected:
    return Rejected(
        "a file that a record names is not in the store",
        where=where,
        why="it was removed by hand, or by a lifecycle rule",
        fix="penstock audit lists what is missing; penstock run --full-refresh reads it again",
    )
