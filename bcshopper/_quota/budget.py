"""How many retries a store is worth while nothing succeeds, and for how long. Pure state."""

from __future__ import annotations

DOWN_AFTER = 60.0
"""Seconds of nothing but failures after which an API is down: thrice what is sat out for sure."""
NO_ACCIDENT = 5
"""Failures in a row; fewer may be two requests that hung for half a minute each."""


class RetryBudget:
    """A token bucket: each retry to a store takes one, each answer that is no failure gives one.

    So passing failures are repeated for as long as most requests succeed, and where nothing does,
    it is soon over. Whoever tries again after a while finds the bucket full.

    Attributes:
        spent: how many are missing.
    """

    def __init__(self) -> None:
        self.spent = 0
        self._failing_since: float | None = None
        self._failed_at = 0.0
        self._failures = 0

    def draw(self, budget: int) -> bool:
        """Take one of a bucket that holds so many at most; False if it is empty."""
        if self.spent >= budget:
            return False
        self.spent += 1
        return True

    def refill(self) -> None:
        """Something has succeeded: give one back."""
        self._failing_since, self._failures = None, 0
        if self.spent:
            self.spent -= 1

    def failed(self, now: float) -> None:
        """A request has failed, and not for the quota."""
        if self._failing_since is None:
            self._failing_since = now
        elif now - self._failed_at > DOWN_AFTER:  # nobody has tried for so long
            self._failing_since, self._failures, self.spent = now, 0, 0
        self._failed_at = now
        self._failures += 1

    def is_down(self, now: float, budget: int) -> bool:
        """Whether the API is: all of the budget is spent, or nothing has succeeded for long."""
        since = self._failing_since
        is_long = since is not None and now - since >= DOWN_AFTER
        return self.spent >= budget or (is_long and self._failures >= NO_ACCIDENT)
