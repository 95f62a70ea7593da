"""What a session tells its `on_event` callback, as it happens.

Every event is frozen, and none carries a header, a body or the access token.
"""

from __future__ import annotations

from contextvars import Context
from typing import Any, TypeAlias

import attrs

from bcshopper._outcomes import Outcome

__all__ = [
    "ChunkDone",
    "CoalescedDone",
    "CoalescedStarted",
    "Event",
    "QuotaWait",
    "RequestEvent",
    "RequestFailed",
    "RequestGivenUp",
    "RequestSent",
    "ResponseReceived",
    "RetryScheduled",
]


@attrs.frozen
class RequestEvent:
    """What all events about one attempt to send a request have.

    After its `RequestSent`, each attempt ends in exactly one of `ResponseReceived`, `RequestFailed`
    and `RequestGivenUp`.

    Attributes:
        method: its HTTP method.
        url: its whole URL.
        attempt: 1 for the first try.
        route: method and path without ids, such as `GET /segments/{id}/shopper-profiles`.
        store: the store hash.
    """

    method: str
    url: str
    attempt: int
    route: str
    store: str


@attrs.frozen
class RequestSent(RequestEvent):
    """A request is going out."""


@attrs.frozen
class ResponseReceived(RequestEvent):
    """A whole answer has come, whatever its status.

    Attributes:
        status: the HTTP status.
        seconds: from sending to the last byte.
        size: bytes of its decoded body.
        quota_left: requests left in the store's quota window, as far as it is known.
        quota_limit: requests per window.
    """

    status: int
    seconds: float
    size: int
    quota_left: int | None
    quota_limit: int | None


@attrs.frozen
class RequestFailed(RequestEvent):
    """No whole answer came, or a success that is not what the API documents.

    Attributes:
        error: the name of the error's class in `bcshopper.errors`.
        status: the answer's HTTP status; None if none came.
        sent: False if the request surely never left.
        seconds: from sending to the failure.
    """

    error: str
    status: int | None
    sent: bool
    seconds: float


@attrs.frozen
class RequestGivenUp(RequestEvent):
    """The call was cancelled, or the session closed, before the answer came.

    Attributes:
        seconds: from sending until then.
    """

    seconds: float


@attrs.frozen
class RetryScheduled(RequestEvent):
    """An attempt failed, and there will be another one.

    Attributes:
        delay: seconds until the next one; where the store's quota holds it for longer than the
            retry policy says, these.
        reason: why it failed.
        error: the name of the error's class in `bcshopper.errors`.
    """

    delay: float
    reason: str
    error: str


@attrs.frozen
class QuotaWait:
    """Requests to the store wait for its quota; whose `max_wait` is shorter have failed.

    Attributes:
        seconds: how long, from now on.
        reason: why.
        added: how many of these seconds no event before has told.
        store: the store hash.
    """

    seconds: float
    reason: str
    added: float
    store: str


@attrs.frozen
class ChunkDone:
    """A chunk of a batch is done, or was given up; a bad id in a stream is one of its own.

    Attributes:
        verb: `create`, `delete`, `add` or `remove`.
        outcomes: what became of each of its ids.
        store: the store hash.
    """

    verb: str
    outcomes: tuple[Outcome[Any], ...]
    store: str


@attrs.frozen
class CoalescedStarted:
    """A request that calls of a `Coalescer` share is going out.

    Attributes:
        verb: `create`, `delete` or `lookup`.
        number: tells it apart from all others of the process.
        size: ids in it.
        waiting: calls of the coalescer that have no answer yet, those in it included.
        store: the store hash.
    """

    verb: str
    number: int
    size: int
    waiting: int
    store: str


@attrs.frozen
class CoalescedDone:
    """All that became of such a request is known.

    Attributes:
        verb: as it was started.
        number: as it was started.
        seconds: since it went out, look-ups and retries included.
        callers: the context in which each call for one of its ids was made.
        store: the store hash.
    """

    verb: str
    number: int
    seconds: float
    callers: tuple[Context, ...] = attrs.field(repr=False)
    store: str


Event: TypeAlias = (
    RequestSent
    | ResponseReceived
    | RequestFailed
    | RequestGivenUp
    | RetryScheduled
    | QuotaWait
    | ChunkDone
    | CoalescedStarted
    | CoalescedDone
)
