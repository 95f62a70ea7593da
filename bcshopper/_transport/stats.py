"""What a session counts."""

from __future__ import annotations

import attrs


@attrs.define
class SessionStats:
    """What a session has done so far.

    Attributes:
        requests: requests that went out, retries included.
        retries: how many of them repeated a failed one.
        throttled: answers with status 429.
        bytes_received: bytes of all decoded bodies.
        quota_seconds: seconds that have passed while requests were held back for quota, however
            many of them.
        window_requests: requests of this process in the quota's newest window.
    """

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    bytes_received: int = 0
    quota_seconds: float = 0.0
    window_requests: int = 0


class Tally:
    """Counts, and knows how much of the wait that was told has passed.

    Attributes:
        stats: what was counted, with all of the wait that was told.
        at_gate: requests that wait to be let through.
    """

    __slots__ = ("_waits_until", "at_gate", "stats")

    def __init__(self) -> None:
        self.stats = SessionStats()
        self.at_gate = 0
        self._waits_until = 0.0

    def so_far(self, now: float, window_requests: int) -> SessionStats:
        """A copy, which counts only the waits that have passed."""
        stats = attrs.evolve(self.stats, window_requests=window_requests)
        if self.at_gate:
            stats.quota_seconds -= max(0.0, self._waits_until - now)
        return stats

    def wait(self, now: float, seconds: float) -> float:
        """Count a wait, once however many requests are told of it; how much of it is news."""
        news = now + seconds - max(now, self._waits_until)
        if news > 0:
            self.stats.quota_seconds += news
            self._waits_until = now + seconds
        return news

    def all_are_through(self, now: float) -> None:
        """Nobody waits any more: what is left of the wait does not come to pass."""
        self.stats.quota_seconds -= max(0.0, self._waits_until - now)
        self._waits_until = min(self._waits_until, now)
