"""The store's request quota as this process knows it: when a request may go. Pure state."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import attrs

from bcshopper._quota.budget import NO_ACCIDENT
from bcshopper._quota.headers import TOO_MANY, QuotaSnapshot
from bcshopper._quota.policy import QuotaPolicy

MARGIN = 0.25
"""Seconds after a window's end before the next one is tried: clocks and networks are not exact."""
_PATIENCE = 10.0
"""Seconds after which a request that went alone, to see, is no longer waited for."""
_COARSEST = 1.0  # seconds; some announce a window's end in whole ones, and so up to one too early
_LONGEST_MARGIN = 2.5  # seconds; an end announced earlier than that was not meant as one
_SHORTEST_BACKOFF = 1.0  # seconds of the first pause of ours; each one after it is twice as long
_LONGEST_BACKOFF = 30.0  # ... but no longer than this
_CEILING_LIFTED = 32.0  # requests in flight; who gets so far is under no load any more
OVERLOADED = frozenset({TOO_MANY, 503})
"""Statuses that, without a quota that is spent, tell of a platform under load."""


def is_trouble(status: int) -> bool:
    """Whether an answer alone tells of an API that is not well."""
    return status == TOO_MANY or status >= 500  # noqa: PLR2004 - HTTP


class LocalQuota:
    """The quota of one store, as this process knows it.

    Within a window the API's count of what is left can only fall, and some of our requests in
    flight may be in it already or not: so only as many may be in flight as are left. Towards the
    end of the quota that slows down by itself, and what other apps take is seen before it hurts.

    Before the first answer, and after each window's end, one request goes alone, to see. Where that
    shows that the window lasts longer than announced, the next one goes a second later, and from
    then on each window is given so much longer.

    Of all sessions together, no more requests are in flight than the store takes at once.

    Attributes:
        snapshot: the newest headers; None if the API sends none.
        sent: requests of ours that count for this window.
        ceiling: requests in flight at most while the platform is under load; None: no such limit.
        processes: how many there are that share all of this, each with a count of its own.
    """

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self.snapshot: QuotaSnapshot | None = None
        self.sent = 0
        self.ceiling: float | None = None
        self.processes = 1
        self._uniform = uniform
        self._known = False
        self._in_flight = 0
        self._left = 0
        self._others_seen = False
        self._resets_at = -math.inf
        self._margin = MARGIN
        self._probed_at = -math.inf
        self._next_slot = -math.inf
        self._paused_until = -math.inf
        self._backoff = _SHORTEST_BACKOFF
        self._failures = 0

    @property
    def _opens_at(self) -> float:
        """When the next window may be tried."""
        return self._resets_at + self._margin

    def delay(self, now: float, policy: QuotaPolicy) -> float:
        """Seconds until a request may go: 0 for now, infinity for once an answer has come."""
        if now < self._paused_until:
            return self._paused_until - now
        window = self.snapshot if now < self._opens_at else None
        left = self._left // self.processes
        if window is not None and (left <= 0 or self.sent >= self._budget(window.limit, policy)):
            return self._opens_at - now
        if self._in_flight >= self._most_at_once(policy):
            return math.inf
        if self._known and self.snapshot is None:
            return 0.0
        if window is None:
            return max(0.0, self._probed_at + _PATIENCE - now)
        # Where other apps are at work, as many of their requests may not be counted yet either.
        if left <= self._in_flight * (2 if self._others_seen else 1):
            return math.inf
        if policy.pacing == "smooth":
            return max(0.0, self._next_slot - now)
        return 0.0

    def wait_for(self, now: float, policy: QuotaPolicy, ahead: int) -> float:
        """Seconds until there is room for a request with `ahead` others before it."""
        paused = max(0.0, self._paused_until - now)
        if self.snapshot is None or now >= self._opens_at:
            return paused
        limit = self.snapshot.limit
        missing = ahead + 1 - max(0, self._usable(limit, policy))
        if missing <= 0:
            return paused
        further_windows = (missing - 1) // self._budget(limit, policy)
        return max(paused, self._opens_at - now + further_windows * self.snapshot.window)

    def reason(self, now: float) -> str | None:
        """Why requests wait for quota, for people; None if they wait for an answer only."""
        if now < self._paused_until:
            return "the API answered 429 or 503, or fails"
        if self.snapshot is None or now >= self._opens_at:
            return None
        limit = self.snapshot.limit
        left = max(0, min(self._left, limit - self.sent))
        return f"{left} of {limit} requests are left in the window"

    def started(self, now: float, policy: QuotaPolicy) -> None:
        """A request goes out."""
        self._in_flight += 1
        self.sent += 1
        if not self._known or now >= self._opens_at:
            self._probed_at = now
        elif self.snapshot is not None and policy.pacing == "smooth":
            gap = (self._resets_at - now) / (self._usable(self.snapshot.limit, policy) + 1)
            self._next_slot = max(now, self._next_slot) + gap

    def withdrawn(self) -> None:
        """A request that was let through did not go out after all."""
        self._in_flight -= 1
        self.sent -= 1
        self._probed_at = -math.inf

    def failed(self, now: float) -> None:
        """A request that comes to an end now has failed; after a few in a row, all pause.

        An API that is down is asked less and less often: so a short outage is sat out.
        """
        self._failures += 1
        if self._failures >= NO_ACCIDENT:
            self._back_off(now, None)

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
        """A request came to an end.

        Args:
            now: the time.
            began: when it was let through.
            status: the answer's; None if none came.
            snapshot: the quota that the answer tells, if it does.
            asked: seconds to wait that the answer asks for, if it does.
            failed: whether it tells of an API in trouble.
        """
        self._in_flight -= 1
        if status is None:
            self._probed_at = -math.inf
            return
        self._known = True
        if snapshot is not None:
            self._learn(now, snapshot, began=began)
            if status == TOO_MANY:
                self._left = 0
                if asked is not None and asked > snapshot.reset_in:
                    self._paused_until = max(self._paused_until, now + asked)
        elif status in OVERLOADED:
            self._back_off(now, asked)
        elif self.snapshot is not None and now >= self._opens_at:
            self.snapshot = None  # the API no longer speaks of a quota
        if not (failed or is_trouble(status)):
            self._recover()

    def _most_at_once(self, policy: QuotaPolicy) -> int:
        """Requests that may be in flight."""
        most = max(1, policy.max_concurrent // self.processes)
        return most if self.ceiling is None else min(most, int(self.ceiling))

    def _budget(self, limit: int, policy: QuotaPolicy) -> int:
        """Requests that may go out in a window of so many."""
        return max(1, int(limit * policy.share) // self.processes)

    def _usable(self, limit: int, policy: QuotaPolicy) -> int:
        """Requests that may still go out in this window, of so many."""
        left = self._left // self.processes
        return min(left - self._in_flight, self._budget(limit, policy) - self.sent)

    def _learn(self, now: float, snapshot: QuotaSnapshot, *, began: float | None = None) -> None:
        """Take in what is known of the window, from the answer to a request that began then."""
        resets_at = now + snapshot.reset_in
        if resets_at < self._resets_at - snapshot.window / 2:
            return  # a late answer, of a window long gone
        if resets_at > self._resets_at + snapshot.window / 2:
            self._resets_at = resets_at
            self._left = snapshot.remaining
            self._next_slot = self._probed_at = -math.inf
            self._others_seen = False
            self._margin = min(self._margin, _LONGEST_MARGIN)
            self.sent = self._in_flight + (began is not None)
        else:
            if began is not None and began >= self._opens_at:  # it had not ended after all
                self._margin = max(began + _COARSEST, resets_at + MARGIN) - self._resets_at
                self._probed_at = -math.inf
            if self.snapshot is not None and snapshot.limit == self.snapshot.limit:
                self._left = min(self._left, snapshot.remaining)
            else:
                self._left = snapshot.remaining
            # Each answer was under way for a while: the earliest estimate is the best.
            self._resets_at = min(self._resets_at, resets_at)
        self._others_seen |= snapshot.remaining + self.sent < snapshot.limit
        is_over = snapshot.reset_in < 0  # others told so, and what sessions show is never below 0
        self.snapshot = attrs.evolve(snapshot, reset_in=0.0) if is_over else snapshot

    def _back_off(self, now: float, asked: float | None) -> None:
        """The platform is under load: half as many at once, after a pause."""
        if now >= self._paused_until:  # else it is one of those that went out together
            self._halve()
            self._paused_until = now + self._backoff * self._uniform(0.5, 1.0)
            self._backoff = min(_LONGEST_BACKOFF, 2 * self._backoff)
        if asked is not None:
            self._paused_until = max(self._paused_until, now + asked)

    def _halve(self) -> None:
        self.ceiling = max(1.0, (self._in_flight + 1) / 2)

    def _recover(self) -> None:
        self._backoff = _SHORTEST_BACKOFF
        self._failures = 0
        if self.ceiling is not None:
            self.ceiling += 1 / self.ceiling  # one more with each round of answers
            if self.ceiling > _CEILING_LIFTED:
                self.ceiling = None
