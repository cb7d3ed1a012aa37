"""What went wrong, named by what the caller must do.

    PenstockError
    ├── SpecError      the pipeline file or the command line is wrong: correct it (exit 2)
    ├── Transient      try again later: nothing is lost, nothing was half done
    ├── Rejected       this message can never succeed: to the dead-letter queue, with the reason
    └── Broken         a promise does not hold (audit, warehouse identity, frozen contract): exit 3

A bad *row* is no error: it is quarantined, and the rest of its chunk goes on.
"""

from __future__ import annotations

from dataclasses import dataclass


class PenstockError(Exception):
    """An error that says what happened, where, why, and what to do next.

    Shape: rendered as ``what`` and up to three indented lines, ``where:``, ``why:``, ``fix:``.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.why, self.fix = what, where, why, fix

    def __str__(self) -> str:
        lines = [self.what]
        for label, text in (("where:", self.where), ("why:", self.why), ("fix:", self.fix)):
            if text:
                lines.append(f"  {label:<6} {text}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a pipeline file, with the line it stands on and a hint."""

    what: str
    where: str = ""
    why: str = ""
    fix: str = ""

    def __str__(self) -> str:
        return str(PenstockError(self.what, where=self.where, why=self.why, fix=self.fix))


class SpecError(PenstockError):
    """The pipeline file, or the command line, is wrong; ``problems`` holds every problem found."""

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        why: str = "",
        fix: str = "",
        problems: tuple[Problem, ...] = (),
    ) -> None:
        super().__init__(what, where=where, why=why, fix=fix)
        self.problems = problems or (Problem(what, where, why, fix),)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class Transient(PenstockError):
    """The work may be tried again after ``retry_after_s`` (None: the caller's own back-off)."""

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        why: str = "",
        fix: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(what, where=where, why=why, fix=fix)
        self.retry_after_s = retry_after_s


class Rejected(PenstockError):
    """The message can never succeed under this pipeline file; it goes to the dead-letter queue."""


class Broken(PenstockError):
    """A promise does not hold; nothing was changed, and a person has to choose."""

    exit_code = 3
