"""The sandbox's request quota: windows of fixed length, shared by all clients."""

from __future__ import annotations

import math


class QuotaWindow:
    """Counts requests in the window that is open; the first request opens the first."""

    def __init__(self, limit: int, seconds: float, *, reset_error: float = 0.0) -> None:
        self.limit = limit
        self.seconds = seconds
        self._reset_error = reset_error
        self._used = 0
        self._opened: float | None = None

    def spend(self, count: int, now: float) -> bool:
        """Take some of the window's quota; False, and nothing taken, once it is spent."""
        self._turn(now)
        if self._used >= self.limit:
            return False
        self._used = min(self._used + count, self.limit)
        return True

    def headers(self, now: float) -> dict[str, str]:
        """The four headers that every answer carries."""
        left = max(0.0, self._turn(now) + self.seconds - self._reset_error - now)
        return {
            "X-Rate-Limit-Time-Window-Ms": f"{self.seconds * 1000:.0f}",
            # rounded up, so that who waits for it does not come too early
            "X-Rate-Limit-Time-Reset-Ms": f"{math.ceil(left * 1000)}",
            "X-Rate-Limit-Requests-Quota": str(self.limit),
            "X-Rate-Limit-Requests-Left": str(self.limit - self._used),
        }

    def _turn(self, now: float) -> float:
        if self._opened is None:
            self._opened = now
        elapsed = (now - self._opened) // self.seconds
        if elapsed > 0:
            self._opened += elapsed * self.seconds
            self._used = 0
        return self._opened
