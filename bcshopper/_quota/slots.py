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

    Args:
        most: slots of the store.

    Attributes:
        held: how many were granted with the last report.
    """

    def __init__(self, most: int) -> None:
        self.held = 0
        self._most = most
        self._wanted = 0
        self._reported_at = -math.inf
        self._ask_at = -math.inf
        self._refusals = 0
        self._owes = False

    def usable(self, now: float) -> int:
        """How many requests may be in flight."""
        return self.held if now < self._reported_at + LEASE else 0

    def wanted(self, in_flight: int, waiting: int) -> int:
        """How many to ask for."""
        return min(self._most, in_flight + waiting)

    def due(self, now: float, in_flight: int, waiting: int, not_before: float) -> float:
        """Seconds until a report is due; infinity for not before something happens.

        Args:
            now: the time.
            in_flight: requests that have not come to an end.
            waiting: requests that would like to go.
            not_before: when they may go at the earliest.
        """
        if self._owes and in_flight <= self.held:
            return 0.0  # others wait for what it had too many
        due_at = self._reported_at + _RENEWED_AFTER if self.held or in_flight else math.inf
        if waiting and in_flight >= self.usable(now):
            is_new = self.wanted(in_flight, waiting) > self._wanted
            ask_at = self._reported_at + _SHORTEST_PAUSE if is_new else self._ask_at
            due_at = min(due_at, max(ask_at, not_before))
        return max(0.0, due_at - now)

    def granted(self, reported_at: float, number: int, *, wanted: int, in_flight: int) -> None:
        """Take in what a report, that wanted so many, was answered with.

        Whatever it says counts from the report on: so no lease ends too late.
        """
        self._owes = in_flight > number
        self._refusals = 0 if number > self.held else self._refusals + 1
        pause = _SHORTEST_PAUSE * 2.0 ** min(self._refusals, 10)
        if number >= wanted:
            pause = _RENEWED_AFTER
        self.held = number
        self._wanted = wanted
        self._reported_at = reported_at
        self._ask_at = reported_at + min(pause, _RENEWED_AFTER)

    def lost(self) -> None:
        """No answer came: nothing is leased."""
        self.held = 0
        self._owes = False
