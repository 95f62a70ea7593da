"""A store's quota of which this process leases parts, while others lease theirs. Pure state."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import attrs

from bcshopper._quota.headers import QuotaSnapshot
from bcshopper._quota.local import LocalQuota, is_trouble
from bcshopper._quota.policy import QuotaPolicy
from bcshopper._quota.slots import LeasedSlots

_HORIZONS = 20  # leases that fit into a window, one after the other
_USUAL_HORIZON = 0.5  # seconds, where there is no window
_SHORTEST_PAUSE = 0.02
"""Between reports that ask for more, as a part of the horizon, for each process that asks."""
_RETRY_AFTER = 1.0  # seconds until the store of leases is asked again once it was away


@attrs.frozen(kw_only=True)
class Report:
    """What a process tells the others, and what it asks for.

    It says how things are, not how they changed: one that gets lost, or comes twice, does no harm.

    Attributes:
        window: the window that the lease is of, as the last grant named it; 0 for none.
        sent: requests of this process that count for that window.
        in_flight: requests that were let through and have not come to an end.
        unused: how many more it may let through.
        wanted: how many it would like besides.
        slots: how many requests it would like to have in flight, those that are included.
        answered: answers since the last report that tell of no platform under load.
        busy: whether there were requests since the last report, or some wait.
        share: the fraction of the quota that all processes may use together.
        max_concurrent: requests that all processes may have in flight together.
        margin: seconds after a window's end before the next one may be tried.
        told: the quota, if there were answers since the last report, and it is known.
        is_free: whether there were answers since the last report, and the API has no quota.
        pause: seconds for which everyone should stop, as the platform is under load; 0 for none.
    """

    window: int
    sent: int
    in_flight: int
    unused: int
    wanted: int
    slots: int
    answered: int
    busy: bool
    share: float
    max_concurrent: int
    margin: float
    told: QuotaSnapshot | None
    is_free: bool
    pause: float


@attrs.frozen(kw_only=True)
class Grant:
    """What a process gets, and what it is told of the others.

    Attributes:
        window: the window that the lease is of.
        granted: how many more requests it may let through.
        valid: seconds for which it may let through any.
        slots: how many requests it may have in flight, for as long as slots are leased.
        alone: whether it is for one request only, to see what the quota is.
        known: whether anything is known of the window that is open.
        quota: the quota in the newest window known, over or not; None if there is none.
        margin: as in a report; the longest that any process has told.
        part: how many this process can hope for besides, in this window.
        busy: how many processes want some, this one included.
        processes: how many have been heard of in this window or the one before.
        closed: seconds during which nothing will be granted.
        pause: seconds for which everyone stops, as the platform is under load; 0 for none.
    """

    window: int
    granted: int = 0
    valid: float = 0.0
    slots: int = 0
    alone: bool = False
    known: bool = False
    quota: QuotaSnapshot | None = None
    margin: float = 0.0
    part: int = 0
    busy: int = 1
    processes: int = 1
    closed: float = 0.0
    pause: float = 0.0


class LeasedQuota(LocalQuota):
    """Lets through only what it has leased; while none is to be had, its part of what is left.

    That part is what it is divided by the number of processes last known.

    Whoever owns it carries reports out and grants in, one at a time, when they are due.

    Args:
        share: the fraction of the quota that all processes may use together.
        max_concurrent: requests that all processes may have in flight together.
        uniform: draws a number between two.

    Attributes:
        sharing: whether the last report was answered with a grant.
    """

    def __init__(
        self,
        share: float,
        max_concurrent: int,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        super().__init__(uniform)
        self.sharing = True
        self._share = share
        self._max_concurrent = max_concurrent
        self._slots = LeasedSlots(max_concurrent)
        self._grant = Grant(window=0)
        self._unused = 0
        self._leased = 0
        self._valid_until = -math.inf
        self._closed_until = -math.inf
        self._ask_at = -math.inf
        self._refusals = 0
        self._reported_at = -math.inf
        # Since the last report:
        self._started = 0
        self._answered = 0
        self._has_news = False
        self._is_urgent = False
        self._shared_pause = -math.inf

    # -- what a gate asks and tells

    def delay(self, now: float, policy: QuotaPolicy) -> float:
        """Seconds until a request may go: 0 for now, infinity for once a grant or answer came."""
        if not self.sharing:
            return super().delay(now, policy)
        if now < self._paused_until:
            return self._paused_until - now
        in_hand, closed_until = self._in_hand(now), self._closed(now)
        if not in_hand and now < closed_until:
            return closed_until - now
        if not in_hand or self._in_flight >= self._slots.usable(now):
            return math.inf
        if policy.pacing == "smooth" and not self._grant.alone:
            return max(0.0, self._next_slot - now)
        return 0.0

    def started(self, now: float, policy: QuotaPolicy) -> None:
        """A request goes out."""
        self._started += 1
        if self.sharing:
            self._unused -= 1
        super().started(now, policy)

    def withdrawn(self) -> None:
        """A request that was let through did not go out after all."""
        super().withdrawn()
        self._started = max(0, self._started - 1)
        if self.sharing:
            self._unused += 1
            self._is_urgent |= self._grant.alone

    def finished(
        self,
        now: float,
        began: float,
        status: int | None,
        snapshot: QuotaSnapshot | None,
        asked: float | None,
        *,
        failed: bool = False,
    ) -> None:
        """A request came to an end."""
        left = self._left
        super().finished(now, began, status, snapshot, asked, failed=failed)
        self._has_news = True
        self._answered += status is not None and not (failed or is_trouble(status))
        # These are what the others wait for, or should stop for at once.
        self._is_urgent |= (
            self._grant.alone or self._left == 0 < left or self._paused_until > self._shared_pause
        )

    def _budget(self, limit: int, policy: QuotaPolicy) -> int:
        budget = super()._budget(limit, policy)
        return max(1, budget // self._grant.busy) if self.sharing else budget

    def _usable(self, limit: int, policy: QuotaPolicy) -> int:
        if not self.sharing:
            return super()._usable(limit, policy)
        return self._unused + self._grant.part if self._left else 0

    # -- reports and grants

    def due(self, now: float, waiting: int) -> float:
        """Seconds until a report is due; infinity for not before something happens.

        Args:
            now: the time.
            waiting: requests that want to go.
        """
        if not self.sharing:
            return max(0.0, self._ask_at - now) if waiting or self._started else math.inf
        if self._is_urgent:
            return 0.0
        in_hand = self._in_hand(now)
        may_go = max(self._closed(now), self._paused_until)
        slots_due = self._slots.due(now, self._in_flight, waiting if in_hand else 0, may_go)
        is_low = self._started > 0 and in_hand <= self._leased // 2
        if (waiting and not in_hand) or (in_hand and is_low):
            return min(slots_due, max(0.0, self._closed(now) - now, self._ask_at - now))
        report_at = max(now, self._reported_at + 2 * self._horizon)
        if (in_hand or self._has_news) and report_at < self._resets_at:
            return min(slots_due, report_at - now)
        return slots_due

    def report(self, now: float, waiting: int) -> Report:
        """What to tell and to ask for now. What is not needed is given back with it."""
        size = max(waiting, self._size(now))
        self._unused = min(self._in_hand(now), size)
        tells_pause = self._paused_until > self._shared_pause
        report = Report(
            window=self._grant.window,
            sent=self.sent,
            in_flight=self._in_flight,
            unused=self._unused,
            wanted=size - self._unused,
            slots=self._wanted_slots(now, waiting),
            answered=self._answered,
            busy=waiting > 0 or self._started > 0,
            share=self._share,
            max_concurrent=self._max_concurrent,
            margin=self._margin,
            told=self._told(now) if self._has_news else None,
            is_free=self._has_news and self._known and self.snapshot is None,
            pause=max(0.0, self._paused_until - now) if tells_pause else 0.0,
        )
        self._reported_at = now
        self._started = self._answered = 0
        self._has_news = self._is_urgent = False
        self._shared_pause = self._paused_until
        return report

    def last_report(self, now: float) -> Report:
        """What to tell when no more requests will come."""
        self._started = 0
        return self.report(now, 0)

    def granted(self, now: float, report: Report, grant: Grant) -> None:
        """Take in what came of the last report."""
        self.sharing = True
        self.processes = 1
        self._known |= grant.known
        self._margin = max(self._margin, grant.margin)
        if grant.quota is not None:
            self._learn(now, grant.quota)
        elif grant.known:
            self.snapshot = None
        if grant.window != self._grant.window:
            self._unused = self._refusals = 0
        self._grant = grant
        self._unused += grant.granted
        self._leased = self._unused
        self._slots.granted(
            self._reported_at, grant.slots, wanted=report.slots, in_flight=report.in_flight
        )
        # The answer took its time: counted from the report on, nothing ends too late.
        self._valid_until = self._reported_at + grant.valid
        self._closed_until = self._reported_at + grant.closed
        if grant.granted >= report.wanted or grant.closed:
            self._refusals = 0
        else:
            self._refusals = max(1, self._refusals + (-1 if grant.granted else 1))
        self._ask_at = self._valid_until if grant.alone else self._next_question(now)
        self._join_pause(now, self._reported_at + grant.pause)
        if grant.quota is not None:
            # There may be more to spread over the window than was known when the slot was set.
            gap = (self._resets_at - now) / (self._unused + grant.part + 1)
            self._next_slot = min(self._next_slot, now + gap)

    def lost(self, now: float) -> None:
        """No grant came: go on alone, and try again later."""
        self.sharing = False
        self.processes = max(1, self._grant.processes)
        self._unused = 0
        self._slots.lost()
        self._ask_at = now + _RETRY_AFTER
        self._has_news = True
        self._shared_pause = -math.inf

    def _in_hand(self, now: float) -> int:
        return self._unused if now < self._valid_until and not self._is_spent(now) else 0

    def _wanted_slots(self, now: float, waiting: int) -> int:
        """As many as there are requests that could go; at least one for who sends now and then."""
        could_go = waiting if max(self._closed(now), self._paused_until) <= now else 0
        return max(self._slots.wanted(self._in_flight, could_go), 1 if self._started else 0)

    def _is_spent(self, now: float) -> bool:
        """Whether nothing is left of the window, whatever was leased of it."""
        return self.snapshot is not None and self._left == 0 and now < self._opens_at

    def _closed(self, now: float) -> float:
        return self._opens_at if self._is_spent(now) else self._closed_until

    @property
    def _horizon(self) -> float:
        """Seconds that a lease should last: few of a window's."""
        return _USUAL_HORIZON if self.snapshot is None else self.snapshot.window / _HORIZONS

    def _size(self, now: float) -> int:
        """How many to hold: as many as the horizon needs at the pace since the last report."""
        pace = self._started / max(now - self._reported_at, 0.001)
        return min(round(pace * self._horizon), 2 * max(1, self._leased, self._started))

    def _next_question(self, now: float) -> float:
        """When to ask again: each time that nothing is granted, after twice the pause."""
        if self._refusals == 0:
            return now
        parts = _SHORTEST_PAUSE * self._grant.busy * 2.0 ** min(self._refusals, 10)
        ask_at = now + self._horizon * min(1.0, parts)
        return min(ask_at, self._opens_at) if now < self._opens_at else ask_at

    def _told(self, now: float) -> QuotaSnapshot | None:
        if self.snapshot is None:
            return None
        return attrs.evolve(
            self.snapshot, remaining=max(0, self._left), reset_in=self._resets_at - now
        )

    def _join_pause(self, now: float, until: float) -> None:
        if until <= max(now, self._paused_until):
            return
        if now >= self._paused_until:
            self._halve()
        self._paused_until = self._shared_pause = until
