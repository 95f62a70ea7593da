"""How many requests this process may have in flight, of those that a store takes. Pure state."""

from __future__ import annotations

import math

LEASE = 1.0
"""Seconds for which slots are leased: so long those of a process that died are missed."""
_RENEWED_AFTER = 0.3  # seconds; two reports may get lost, or come late, before a lease ends
_SHORTEST_PAUSE = 0.02  # seconds between reports of a process that wants more slots


class LeasedSlots:
    """The slots that a process holds, while other processes hold theirs.

    A slot is room for one request in flight. A lease is renewed with each report, and what is not
    needed is given back with it.

    Attributes:
        held: how many were granted with the last report.
    """

    def __init__(self) -> None:
        self.held = 0
        self._valid_until = -math.inf
        self._renew_at = -math.inf
        self._ask_at = -math.inf
        self._refusals = 0
        self._owes = False

    def usable(self, now: float) -> int:
        """How many requests may be in flight."""
        return self.held if now < self._valid_until else 0

    def due(self, now: float, in_flight: int, waiting: int) -> float:
        """Seconds until a report is due; infinity for not before something happens.

        Args:
            now: the time.
            in_flight: requests that have not come to an end.
            waiting: requests that nothing but slots may hold up.
        """
        if self._owes and in_flight <= self.held:
            return 0.0  # others wait for what it had too many
        due_at = self._renew_at if self.held or in_flight else math.inf
        if waiting and in_flight >= self.usable(now):
            due_at = min(due_at, self._ask_at)
        return max(0.0, due_at - now)

    def granted(
        self, now: float, reported_at: float, number: int, *, wanted: int, in_flight: int
    ) -> None:
        """Take in what a report, that wanted so many, was answered with."""
        self._owes = in_flight > number
        self._refusals = self._refusals + 1 if number < wanted and number <= self.held else 0
        self.held = number
        # The answer took its time: counted from the report on, no lease ends too late.
        self._valid_until = reported_at + LEASE
        self._renew_at = reported_at + _RENEWED_AFTER
        pause = _SHORTEST_PAUSE * 2.0 ** min(self._refusals, 10)
        self._ask_at = min(now + pause, self._renew_at) if self._refusals else now

    def lost(self) -> None:
        """No answer came: nothing is leased."""
        self.held = 0
