"""The sandbox's request quota: windows, fixed or sliding, shared by all clients."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from bcshopper.sandbox._rules import Rules


class _Window(Protocol):
    def used(self, now: float) -> int:
        """Requests that count now."""
        ...

    def add(self, count: int, now: float) -> None:
        """Count more of them."""
        ...

    def left(self, now: float) -> float:
        """Seconds until some of them, or all, count no more."""
        ...


class _Fixed:
    """One window after the other; the first request opens the first."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._used = 0
        self._opened: float | None = None

    def used(self, now: float) -> int:
        self._turn(now)
        return self._used

    def add(self, count: int, now: float) -> None:
        self._turn(now)
        self._used += count

    def left(self, now: float) -> float:
        return self._turn(now) + self._seconds - now

    def _turn(self, now: float) -> float:
        if self._opened is None:
            self._opened = now
        elapsed = (now - self._opened) // self._seconds
        if elapsed > 0:
            self._opened += elapsed * self._seconds
            self._used = 0
        return self._opened


class _Sliding:
    """Every request counts for as long as a window is."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._counted: deque[tuple[float, int]] = deque()
        self._used = 0

    def used(self, now: float) -> int:
        while self._counted and self._counted[0][0] + self._seconds <= now:
            self._used -= self._counted.popleft()[1]
        return self._used

    def add(self, count: int, now: float) -> None:
        self._counted.append((now, count))
        self._used += count

    def left(self, now: float) -> float:
        self.used(now)
        return self._counted[0][0] + self._seconds - now if self._counted else 0.0


class Quota:
    """Counts requests, for the whole store or for each of its resources.

    Attributes:
        limit: requests per window.
    """

    def __init__(self, limit: int, rules: Rules, resources: Iterable[str]) -> None:
        self.limit = limit
        self._rules = rules
        make: Callable[[float], _Window] = _Sliding if rules.windows == "sliding" else _Fixed
        own = resources if rules.quota_per == "resource" else ()
        self._rest = make(rules.window)
        self._windows = {name: make(rules.window) for name in own}

    def spend(self, count: int, now: float) -> None:
        """Take some of every quota, as far as there is any."""
        for window in (self._rest, *self._windows.values()):
            window.add(min(count, max(0, self.limit - window.used(now))), now)

    def admit(self, now: float, resource: str = "") -> bool:
        """Count a request; False, and nothing counted, once the quota is spent."""
        window = self._windows.get(resource, self._rest)
        if window.used(now) >= self.limit:
            return False
        window.add(1, now)
        return True

    def windows(self, now: float) -> dict[str, dict[str, float]]:
        """How full the window is, of the `store` or of each resource."""
        return {
            name: {"limit": self.limit, "used": w.used(now), "seconds_left": w.left(now)}
            for name, w in (self._windows or {"store": self._rest}).items()
        }

    def headers(self, now: float, resource: str = "", *, spent: bool = False) -> dict[str, str]:
        """The four headers that every answer carries, and what one more that refuses may carry."""
        window = self._windows.get(resource, self._rest)
        left = window.left(now)
        # rounded up, so that who waits for it does not come too early
        reset = math.ceil(max(0.0, left - self._rules.reset_error) * 1000)
        if self._rules.reset_in == "seconds":
            reset = reset // 1000 * 1000
        headers = {
            "X-Rate-Limit-Time-Window-Ms": f"{self._rules.window * 1000:.0f}",
            "X-Rate-Limit-Time-Reset-Ms": str(reset),
            "X-Rate-Limit-Requests-Quota": str(self.limit),
            "X-Rate-Limit-Requests-Left": str(max(0, self.limit - window.used(now))),
        }
        if spent and self._rules.retry_after:
            headers["X-Retry-After"] = str(math.ceil(left))
        return headers
