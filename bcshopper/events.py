"""What a session tells its `on_event` callback, as it happens.

Every event is frozen, and none carries a header, a body or the access token.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs

from bcshopper._outcomes import Outcome

__all__ = [
    "ChunkDone",
    "Event",
    "QuotaWait",
    "RequestSent",
    "ResponseReceived",
    "RetryScheduled",
]


@attrs.frozen
class RequestSent:
    """A request is going out.

    Attributes:
        method: its HTTP method.
        url: its whole URL.
        attempt: 1 for the first try.
    """

    method: str
    url: str
    attempt: int


@attrs.frozen
class ResponseReceived:
    """A whole answer has come.

    Attributes:
        method: the request's HTTP method.
        url: the request's URL.
        attempt: which try it answers.
        status: the HTTP status.
        seconds: from sending to the last byte.
        size: bytes of its decoded body.
    """

    method: str
    url: str
    attempt: int
    status: int
    seconds: float
    size: int


@attrs.frozen
class RetryScheduled:
    """A request failed and will be repeated.

    Attributes:
        method: its HTTP method.
        url: its URL.
        attempt: the try that failed.
        delay: seconds until the next one; where the store's quota holds it for longer than the
            retry policy says, these.
        reason: why it failed.
    """

    method: str
    url: str
    attempt: int
    delay: float
    reason: str


@attrs.frozen
class QuotaWait:
    """Requests to the store wait for its quota; whose `max_wait` is shorter have failed.

    Attributes:
        seconds: how long, from now on.
        reason: why.
    """

    seconds: float
    reason: str


@attrs.frozen
class ChunkDone:
    """A chunk of a batch is done, or was given up; a bad id in a stream is one of its own.

    Attributes:
        verb: `create`, `delete`, `add` or `remove`.
        outcomes: what became of each of its ids.
    """

    verb: str
    outcomes: tuple[Outcome[Any], ...]


Event: TypeAlias = RequestSent | ResponseReceived | RetryScheduled | QuotaWait | ChunkDone
