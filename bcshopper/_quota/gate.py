"""The gate that every request to a store passes, from all sessions of this process."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs

from bcshopper._quota.budget import RetryBudget
from bcshopper._quota.headers import TOO_MANY, QuotaSnapshot, read_retry_after
from bcshopper._quota.local import LocalQuota
from bcshopper._quota.policy import QuotaPolicy

OnWait: TypeAlias = Callable[[float, str], None]
"""Told how many seconds requests have to wait for quota, and why."""

_WORTH_TELLING_ALL = 1.0  # seconds; of shorter waits only the first in line is told


class WaitTooLongError(Exception):
    """A request would have to wait for quota longer than its `max_wait`.

    Attributes:
        seconds: how long it would be, from now on.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@attrs.frozen(eq=False)
class _Waiter:
    policy: QuotaPolicy
    on_wait: OnWait
    until: float
    admitted: asyncio.Future[float]


class QuotaGate:
    """Lets requests through as the quota allows: first come, first served.

    Attributes:
        state: of the quota, as far as it is known here.
        budget: what all retries to the store draw from.
    """

    def __init__(self, state: LocalQuota) -> None:
        self.state = state
        self.budget = RetryBudget()
        self._waiters: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def join(self, user: object) -> None:
        """A session begins to use the gate."""

    async def release(self, user: object) -> None:
        """A session no longer uses the gate."""

    def wait_for(self, policy: QuotaPolicy) -> float:
        """Seconds for which a pause or a spent window will hold a request that comes now."""
        now = asyncio.get_running_loop().time()
        if not 0 < self.state.delay(now, policy) < math.inf:
            return 0.0
        return self.state.wait_for(now, policy, len(self._waiters))

    def admit_now(self, policy: QuotaPolicy) -> float | None:
        """The time, if a request may go out without any wait; `leave` must follow, with this time.

        Args:
            policy: of the session whose request it is.
        """
        now = asyncio.get_running_loop().time()
        if self._waiters or self.state.delay(now, policy) > 0:
            return None
        self.state.started(now, policy)
        return now

    async def admit(self, policy: QuotaPolicy, on_wait: OnWait) -> float:
        """Return the time once a request may go out; `leave` must follow, with this time.

        Args:
            policy: of the session whose request it is.
            on_wait: told of waits, while this request is one of those that wait.

        Raises:
            WaitTooLongError: the policy's `max_wait` is too short, now or as the wait got longer.
        """
        if (admitted_at := self.admit_now(policy)) is not None:
            return admitted_at
        loop = asyncio.get_running_loop()
        until = math.inf if policy.max_wait is None else loop.time() + policy.max_wait
        waiter = _Waiter(policy, on_wait, until, loop.create_future())
        self._waiters.append(waiter)
        self._let_through()
        try:
            return await waiter.admitted
        except asyncio.CancelledError:
            if not waiter.admitted.cancelled() and waiter.admitted.exception() is None:
                self.state.withdrawn()
            self._let_through()
            raise

    def leave(
        self,
        admitted_at: float,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        max_retry_after: float = math.inf,
        failed: bool = False,
    ) -> None:
        """Tell what came of a request that was admitted.

        Args:
            admitted_at: what `admit` returned.
            status: the answer's; None if none came.
            headers: the answer's.
            max_retry_after: seconds; of a longer wait that the answer asks for, only this counts.
            failed: whether that tells of an API in trouble, be it by an answer or by none.
        """
        snapshot = asked = None
        if status is not None and headers is not None:
            snapshot = QuotaSnapshot.from_headers(headers)
            if status >= 400:  # noqa: PLR2004 - HTTP
                asked = read_retry_after(headers, status=status, now=time.time())
        if asked is not None:
            asked = min(asked, max_retry_after)
        now = asyncio.get_running_loop().time()
        if failed:
            self.state.failed(now)
            if status != TOO_MANY:
                self.budget.failed(now)
        elif status is not None:
            self.budget.refill()
        self.state.finished(now, admitted_at, status, snapshot, asked, failed=failed)
        if self._waiters:
            self._let_through()

    def _let_through(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiters:
            first = self._waiters[0]
            if first.admitted.cancelled():
                self._waiters.popleft()
                continue
            delay = self.state.delay(now, first.policy)
            if delay <= 0:
                self._waiters.popleft()
                self.state.started(now, first.policy)
                first.admitted.set_result(now)
            elif delay == math.inf:
                return
            elif not self._refuse_long_waits(now):
                self._timer = loop.call_later(delay, self._let_through)
                self._tell(delay, self.state.reason(now))
                return

    def _refuse_long_waits(self, now: float) -> bool:
        """Send away who would wait too long; whether anybody was."""
        if all(waiter.until == math.inf for waiter in self._waiters):
            return False
        kept: deque[_Waiter] = deque()
        for waiter in self._waiters:
            if waiter.admitted.cancelled():
                continue
            wait = self.state.wait_for(now, waiter.policy, len(kept))
            if wait > 0 and now + wait > waiter.until:
                waiter.admitted.set_exception(WaitTooLongError(wait))
            else:
                kept.append(waiter)
        changed = len(kept) < len(self._waiters)
        self._waiters = kept
        return changed

    def _tell(self, delay: float, reason: str | None) -> None:
        if reason is None:
            return
        told = self._waiters if delay >= _WORTH_TELLING_ALL else [self._waiters[0]]
        for waiter in told:
            waiter.on_wait(delay, reason)
