"""The `files` key of a stream: a glob whose `{…}` parts become columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from penstock.engine import RESERVED
from penstock.errors import SpecError
from penstock.model import Field
from penstock.sources.formats.raw import Extra

DIRECTIVES = {
    "Y": r"\d{4}", "y": r"\d{2}", "m": r"\d{2}", "d": r"\d{2}", "j": r"\d{3}", "H": r"\d{2}",
    "I": r"\d{2}", "M": r"\d{2}", "S": r"\d{2}", "f": r"\d{1,6}", "p": r"[AaPp][Mm]",
    "b": r"[A-Za-z]{3}", "B": r"[A-Za-z]+", "a": r"[A-Za-z]{3}", "A": r"[A-Za-z]+",
    "z": r"(?:Z|[+-]\d{2}:?\d{2})", "%": "%",
}  # fmt: skip
TIME = frozenset("HIMSfp")
TOKEN = re.compile(r"\{([^{}]*)\}|(\*\*/|\*\*|\*|\?)")


@dataclass(frozen=True, slots=True)
class PathPart:
    """A `{name}` or `{name:format}` part of a pattern."""

    name: str
    format: str | None
    type: str

    def value(self, text: str) -> str | None:
        """The text as its column has it; None if it is no such date."""
        if self.format is None:
            return text
        try:
            found = datetime.strptime(text, self.format)  # noqa: DTZ007
        except ValueError:
            return None
        return found.date().isoformat() if self.type == "date" else found.isoformat(" ")


@dataclass(frozen=True, slots=True)
class Pattern:
    """Shape: `prefix` is the folder that every match lies in."""

    text: str
    regex: re.Pattern[str]
    parts: tuple[PathPart, ...]
    prefix: str

    def match(self, path: str) -> tuple[Extra, ...] | None:
        """The columns that the path gives its rows; None if the pattern does not take it."""
        found = self.regex.fullmatch(path)
        if found is None:
            return None
        extras = []
        for part, text in zip(self.parts, found.groups(), strict=True):
            value = part.value(text)
            if value is None:
                return None
            extras.append(Extra(Field(part.name, part.type, nullable=False), value))
        return tuple(extras)


def compile_pattern(text: str, where: str) -> Pattern:
    """The pattern, ready to match paths under the source's url.

    Raises: SpecError for a part that is not `{name}` or `{name:format}`, or stands twice.
    """
    regex, parts, at = "", [], 0
    for token in TOKEN.finditer(text):
        regex += re.escape(text[at : token.start()])
        at = token.end()
        if token[2] is not None:
            regex += {"**/": "(?:.+/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}[token[2]]
            continue
        part, piece = _part(token[1], text, where)
        parts.append(part)
        regex += f"({piece})"
    regex += re.escape(text[at:])
    names = [part.name.lower() for part in parts]
    if len(set(names)) != len(names):
        raise SpecError(f"a {{…}} part stands twice in files: {text}", where=where)
    fixed = re.split(r"[*?{]", text, maxsplit=1)[0]
    return Pattern(text, re.compile(regex), tuple(parts), fixed.rpartition("/")[0])


def _part(inside: str, text: str, where: str) -> tuple[PathPart, str]:
    name, colon, form = inside.partition(":")
    if not re.fullmatch(r"[A-Za-z_]\w*", name) or name.lower().startswith(RESERVED):
        raise SpecError(
            f"{{{inside}}} in files: {text} names no column",
            where=where,
            fix="{name} or {name:%Y%m%d}",
        )
    if not colon:
        return PathPart(name, None, "varchar"), "[^/]+?"
    directives = re.findall(r"%(.)", form)
    unknown = [directive for directive in directives if directive not in DIRECTIVES]
    if unknown or not directives:
        raise SpecError(
            f"{{{inside}}} in files: {text} has no known date format",
            where=where,
            fix=f"directives that can stand here: {' '.join('%' + d for d in DIRECTIVES)}",
        )
    kind = "date" if TIME.isdisjoint(directives) else "timestamp"
    return PathPart(name, form, "timestamptz" if "z" in directives else kind), "".join(
        _digits(form)
    )


def _digits(form: str) -> Iterator[str]:
    for literal, directive in re.findall(r"([^%]*)(?:%(.))?", form):
        yield re.escape(literal)
        if directive:
            yield DIRECTIVES[directive]
