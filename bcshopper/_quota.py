"""The store's quota: what the API says of it, and the pause that it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import attrs


@attrs.frozen
class QuotaSnapshot:
    """The store's quota as one answer's headers gave it. All apps on the store share it.

    Attributes:
        limit: requests per window.
        remaining: requests left in the window.
        window: seconds that a window lasts.
        reset_in: seconds until the window ended, when the answer came.
    """

    limit: int
    remaining: int
    window: float
    reset_in: float

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> QuotaSnapshot | None:
        """Read the four `X-Rate-Limit-*` headers; None unless all are there and make sense."""
        try:
            limit, remaining, window, reset = (
                int(headers[f"X-Rate-Limit-{name}"])
                for name in ("Requests-Quota", "Requests-Left", "Time-Window-Ms", "Time-Reset-Ms")
            )
        except (KeyError, ValueError):
            return None
        if limit <= 0 or remaining < 0 or window <= 0 or reset < 0:
            return None
        return cls(limit, remaining, window / 1000, reset / 1000)


@attrs.frozen(kw_only=True)
class QuotaPolicy:
    """How a session treats the store's quota.

    Attributes:
        max_wait: seconds that a request may wait for quota. One that would have to wait longer
            fails at once with `RateLimitError`. None: as long as it takes.
    """

    max_wait: float | None = None


class QuotaGate:
    """Holds every request of a session back while the store's quota is spent."""

    def __init__(self, on_wait: Callable[[float], None]) -> None:
        self.snapshot: QuotaSnapshot | None = None
        self._on_wait = on_wait
        self._opens_at = 0.0

    def observe(self, headers: Mapping[str, str]) -> None:
        """Take note of an answer's headers."""
        self.snapshot = QuotaSnapshot.from_headers(headers) or self.snapshot

    def pause(self, seconds: float) -> None:
        """Keep the gate shut for at least this long."""
        opens_at = asyncio.get_running_loop().time() + seconds
        if opens_at > self._opens_at:
            self._opens_at = opens_at
            self._on_wait(seconds)

    @property
    def wait_left(self) -> float:
        """Seconds until the gate opens; 0 or less if it is open."""
        return self._opens_at - asyncio.get_running_loop().time()

    async def wait(self) -> None:
        """Return once the gate is open."""
        while (seconds := self.wait_left) > 0:  # noqa: ASYNC110 - it may be shut anew
            await asyncio.sleep(seconds)
