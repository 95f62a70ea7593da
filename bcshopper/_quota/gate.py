"""The gate that every request to a store passes, from all sessions of this process."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs

from bcshopper._quota.headers import QuotaSnapshot, read_retry_after
from bcshopper._quota.local import LocalQuota
from bcshopper._quota.policy import QuotaPolicy

OnWait: TypeAlias = Callable[[float, str], None]
"""Told how many seconds requests have to wait for quota, and why."""

_WORTH_TELLING_ALL = 1.0  # seconds; of shorter waits only the first in line is told


@attrs.frozen(eq=False)
class _Waiter:
    policy: QuotaPolicy
    on_wait: OnWait
    admitted: asyncio.Future[None]


class QuotaGate:
    """Lets requests through as the quota allows: first come, first served."""

    def __init__(self, state: LocalQuota) -> None:
        self.state = state
        self._waiters: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def join(self, user: object) -> None:
        """A session begins to use the gate."""

    async def release(self, user: object) -> None:
        """A session no longer uses the gate."""

    async def wait_for(self, policy: QuotaPolicy) -> float:
        """Seconds that a request which comes now will wait for quota, as far as can be told."""
        now = asyncio.get_running_loop().time()
        return self.state.wait_for(now, policy, len(self._waiters))

    async def admit(self, policy: QuotaPolicy, on_wait: OnWait) -> None:
        """Return once a request may go out; `leave` must follow.

        Args:
            policy: of the session whose request it is.
            on_wait: told of waits, while this request is one of those that wait.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._waiters and self.state.delay(now, policy) <= 0:
            self.state.started(now, policy)
            return
        waiter = _Waiter(policy, on_wait, loop.create_future())
        self._waiters.append(waiter)
        self._let_through()
        try:
            await waiter.admitted
        except asyncio.CancelledError:
            if not waiter.admitted.cancelled():
                self.state.withdrawn()
            self._let_through()
            raise

    def leave(
        self,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Tell what came of a request that was admitted.

        Args:
            status: the answer's; None if none came.
            headers: the answer's.
        """
        snapshot = asked = None
        if status is not None and headers is not None:
            snapshot = QuotaSnapshot.from_headers(headers)
            if status >= 400:  # noqa: PLR2004 - HTTP
                asked = read_retry_after(headers, status=status, now=time.time())
        self.state.finished(asyncio.get_running_loop().time(), status, snapshot, asked)
        if self._waiters:
            self._let_through()

    def _let_through(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._waiters:
            first = self._waiters[0]
            if first.admitted.cancelled():
                self._waiters.popleft()
                continue
            now = loop.time()
            delay = self.state.delay(now, first.policy)
            if delay > 0:
                if delay < math.inf:
                    self._timer = loop.call_later(delay, self._let_through)
                    self._tell(delay, self.state.reason(now))
                return
            self._waiters.popleft()
            self.state.started(now, first.policy)
            first.admitted.set_result(None)

    def _tell(self, delay: float, reason: str | None) -> None:
        if reason is None:
            return
        told = self._waiters if delay >= _WORTH_TELLING_ALL else [self._waiters[0]]
        for waiter in told:
            waiter.on_wait(delay, reason)
