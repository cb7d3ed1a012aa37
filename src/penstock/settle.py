"""One stage, one message, one outcome: the whole retry policy.

The runtime acknowledges after `settle` returns Done; by then everything that came out was sent.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from penstock.errors import PenstockError, Rejected, Transient
from penstock.model import Message

Stage = Callable[[Message], Iterator[Message]]


@dataclass(frozen=True, slots=True)
class Done:
    sent: int


@dataclass(frozen=True, slots=True)
class Retry:
    """Again after `delay_s` (None: the runtime's back-off)."""

    reason: str
    delay_s: float | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """Never again: to the dead-letter queue, with the reason."""

    reason: str


Outcome = Done | Retry | Reject


def settle(stage: Stage, message: Message, send: Callable[[Message], None]) -> Outcome:
    """The stage has run for the message, what came out was sent, and the outcome says what next.

    Why: an error nobody foresaw is a Retry, so that a bug costs receives and ends in the
    dead-letter queue with its traceback; it never acknowledges work that was not done.
    """
    sent = 0
    try:
        for follower in stage(message):
            send(follower)
            sent += 1
    except Transient as error:
        return Retry(str(error), error.retry_after_s)
    except (Rejected, PenstockError) as error:
        return Reject(str(error))
    except Exception:
        return Retry(traceback.format_exc(limit=-6))
    return Done(sent)
