"""What the sandbox has seen."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from itertools import islice

import attrs

_LOG_LENGTH = 10_000


@attrs.define
class LoggedRequest:
    """A request that the sandbox has seen.

    Attributes:
        method: its HTTP method.
        path: its whole path.
        query: its query, in order.
        headers: its headers, the token masked.
        body: its body.
        at: when it came, in seconds on the event loop's clock.
        status: the answer's status; None while, or if, there is none.
        took: seconds until it had ended, with or without an answer; None while it is under way.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    at: float
    status: int | None = None
    took: float | None = None


class Record:
    """What the sandbox has seen.

    Attributes:
        first: the number of the first request.
        requests: the last 10,000 requests, oldest first.
        counts: how many there were in all, by method and path below `/v3/`, such as
            `("POST", "shopper-profiles")` or `("GET", "segments/*/shopper-profiles")`.
        statuses: how many answers there were, by status.
        in_flight: requests under way now.
        peak: the most that were ever under way at once.
    """

    def __init__(self, first: int = 1) -> None:
        self.first = first
        self.requests: deque[LoggedRequest] = deque(maxlen=_LOG_LENGTH)
        self.counts: Counter[tuple[str, str]] = Counter()
        self.statuses: Counter[int] = Counter()
        self.in_flight = 0
        self.peak = 0

    @property
    def last(self) -> int:
        """The number of the newest request; one less than `first` if there is none."""
        return self.first + self.counts.total() - 1

    def since(self, number: int) -> Iterator[tuple[int, LoggedRequest]]:
        """The kept requests with a higher number, and these numbers."""
        oldest = self.last - len(self.requests) + 1
        start = max(0, number + 1 - oldest)
        return enumerate(islice(self.requests, start, None), oldest + start)

    def add(self, request: LoggedRequest, path: str) -> None:
        """Note a request, which is under way from now on, and count it under a path."""
        self.requests.append(request)
        self.counts[request.method, path] += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)

    def answered(self, request: LoggedRequest, status: int) -> None:
        """Note the status of its answer."""
        request.status = status
        self.statuses[status] += 1

    def ended(self, request: LoggedRequest, now: float) -> None:
        """Note that it is no longer under way."""
        request.took = now - request.at
        self.in_flight -= 1
