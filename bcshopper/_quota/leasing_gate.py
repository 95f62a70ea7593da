"""The gate whose quota is shared with other processes: it carries reports out and grants in."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from bcshopper._quota.gate import QuotaGate
from bcshopper._quota.leased import Grant, LeasedQuota

if TYPE_CHECKING:
    from bcshopper._quota.redis import QuotaStore  # which needs the extra

_SLOWEST = 0.5
"""Seconds that an exchange may take; no request waits longer for it."""
_LOOKS = 5  # parts in which that time is waited, so that a loop held up is seen
_log = logging.getLogger("bcshopper.quota")


class LeasingGate(QuotaGate):
    """A gate that leases quota as requests need it.

    Args:
        state: what it has leased.
        open_store: makes the store that it leases from; called when there is need of one.
    """

    def __init__(self, state: LeasedQuota, open_store: Callable[[], QuotaStore]) -> None:
        super().__init__(state)
        self._leases = state
        self._open_store = open_store
        self._store: QuotaStore | None = None
        self._users: WeakSet[object] = WeakSet()
        self._exchange: asyncio.Task[None] | None = None
        self._next_exchange: asyncio.TimerHandle | None = None

    def join(self, user: object) -> None:
        """Count a session that uses the gate."""
        self._users.add(user)

    async def release(self, user: object) -> None:
        """Count a session no more; with the last one, give back what is leased and disconnect."""
        self._users.discard(user)
        if self._users:
            return
        if self._next_exchange is not None:
            self._next_exchange.cancel()
            self._next_exchange = None
        # Who joins in the meantime gets a store of its own.
        exchange, store = self._exchange, self._store
        self._exchange = self._store = None
        try:
            if exchange is not None:
                await _end(exchange)
        finally:
            if store is not None:
                await self._take_leave(store)

    def leave(
        self,
        admitted_at: float,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        max_retry_after: float = math.inf,
        failed: bool = False,
    ) -> None:
        """Tell what came of a request that was admitted."""
        super().leave(admitted_at, status, headers, max_retry_after=max_retry_after, failed=failed)
        if not self._waiters:
            self._consider()

    def _let_through(self) -> None:
        super()._let_through()
        self._consider()

    def _consider(self) -> None:
        """Report and ask if that is due, or once it will be."""
        if self._exchange is not None:
            return  # it does so at its end
        loop = asyncio.get_running_loop()
        now = loop.time()
        due_at = now + self._leases.due(now, len(self._waiters))
        timer = self._next_exchange
        if due_at <= now:
            self._exchange = loop.create_task(self._report_and_ask())
        elif due_at < (math.inf if timer is None else timer.when()):
            if timer is not None:
                timer.cancel()
            self._next_exchange = loop.call_at(due_at, self._consider_again)

    def _consider_again(self) -> None:
        self._next_exchange = None
        self._consider()

    async def _report_and_ask(self) -> None:
        loop, was_sharing = asyncio.get_running_loop(), self._leases.sharing
        report = self._leases.report(loop.time(), len(self._waiters))
        try:
            if self._store is None:
                self._store = self._open_store()
            grant = await _in_time(self._store.exchange(report))
        except Exception as error:  # noqa: BLE001 - whatever it is, no request fails for it
            self._leases.lost(loop.time())
            if was_sharing:
                _log.warning(
                    "the quota is not shared for now, each process uses its part of it: %s",
                    type(error).__name__ if self._store is None else self._store.explain(error),
                )
        else:
            self._leases.granted(loop.time(), report, grant)
            if not was_sharing:
                _log.info("the quota is shared again")
        self._exchange = None
        self._let_through()

    async def _take_leave(self, store: QuotaStore) -> None:
        now = asyncio.get_running_loop().time()
        try:
            try:
                if self._leases.sharing and self._leases.due(now, 0) < math.inf:
                    await _in_time(store.exchange(self._leases.last_report(now)))
            finally:
                await store.aclose()
        except Exception as error:  # noqa: BLE001 - leases run out by themselves
            _log.debug("the quota's store was left without a word: %s", store.explain(error))


async def _in_time(exchange: Coroutine[Any, Any, Grant]) -> Grant:
    """What comes of an exchange that does not take too long.

    Only time in which this event loop was at work counts: an answer that lies there while the loop
    or the whole process is held up is not late.
    """
    task = asyncio.create_task(exchange)
    try:
        for _ in range(_LOOKS):
            done, _ = await asyncio.wait([task], timeout=_SLOWEST / _LOOKS)
            if done:
                return task.result()
        raise TimeoutError(f"no answer within {_SLOWEST:g} s")
    finally:
        await _end(task)


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
