"""How many retries a store is worth while nothing succeeds. Pure state."""

from __future__ import annotations


class RetryBudget:
    """A token bucket: each retry to a store takes one, each answer that is no failure gives one.

    So passing failures are repeated for as long as most requests succeed, and where nothing does,
    it is soon over.

    Attributes:
        spent: how many are missing.
    """

    __slots__ = ("spent",)

    def __init__(self) -> None:
        self.spent = 0

    def draw(self, budget: int) -> bool:
        """Take one of a bucket that holds so many at most; False if it is empty."""
        if self.spent >= budget:
            return False
        self.spent += 1
        return True

    def refill(self) -> None:
        """Give one back."""
        if self.spent:
            self.spent -= 1
