"""Near names, and text as a person would have written it in the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near(name: str, known: Iterable[str]) -> str:
    """`did you mean "x"?`, or the known names when none is near, or nothing when there are none."""
    names = sorted(set(known))
    lowered = {candidate.lower(): candidate for candidate in names}
    found = difflib.get_close_matches(name.lower(), list(lowered), n=2, cutoff=0.6)
    if found:
        return "did you mean " + " or ".join(f'"{lowered[match]}"' for match in found) + "?"
    if not names:
        return ""
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"known: {shown}"


def place(file: str, line: int, path: tuple[str, ...] = ()) -> str:
    """`pipeline.yaml:31 streams.orders.load.write`."""
    dotted = ""
    for part in path:
        dotted += part if part.startswith("[") or not dotted else f".{part}"
    return " ".join(part for part in (f"{file}:{line}" if line else file, dotted) if part)
