"""Words and numbers on the report page, escaped."""

from __future__ import annotations

import html


def text(value: object, most: int = 0) -> str:
    """The value as HTML text; longer than `most` characters, its start and an ellipsis."""
    plain = str(value)
    if most and len(plain) > most:
        plain = plain[: most - 1] + "…"
    return html.escape("".join(c if c >= " " or c in "\n\t" else "�" for c in plain))


def number(value: int) -> str:
    """1234567 as 1,234,567."""
    return f"{value:,}"


def short(value: float) -> str:
    """A number in little room: 950, 12.4k, 3.0M."""
    for limit, divisor, unit in ((10_000, 1, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M")):
        if abs(value) < limit:
            return (f"{value:,.0f}" if not unit else f"{value / divisor:.1f}").removesuffix(
                ".0"
            ) + unit
    return f"{value / 1e9:.1f}G"


def seconds(value: float) -> str:
    """0.4 s, 12 s, 2 min 5 s."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 60:
        return f"{value:.0f} s"
    return f"{int(value) // 60} min {int(value) % 60} s"


def size(count: int) -> str:
    """Bytes, in the unit that fits."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def plural(count: int, word: str) -> str:
    return f"{number(count)} {word}{'' if count == 1 else 's'}"
