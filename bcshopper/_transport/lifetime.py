"""What has a beginning and an end with a session: its gate, its tasks, its way to the network."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from bcshopper._quota import QuotaGate, QuotaPolicy, shared_gate
from bcshopper._transport.http import Wire
from bcshopper._transport.scopes import CLOSED, Scopes
from bcshopper.errors import SessionClosedError

T = TypeVar("T")


class Lifetime:
    """From the first request of a session to its close, in one event loop.

    Args:
        wire: let go of at the end.
        store: base URL and store hash, by which sessions share a gate.
        quota: how to treat the store's quota.

    Attributes:
        scopes: what is under way.
        loop: the event loop, once there was a request.
        gate: of the store, once there was a request.
    """

    def __init__(self, wire: Wire, store: tuple[str, str], quota: QuotaPolicy) -> None:
        self.scopes = Scopes()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.gate: QuotaGate | None = None
        self._wire = wire
        self._store = store
        self._quota = quota
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self.scopes.closed

    def enter(self) -> QuotaGate:
        """The gate for a request.

        Raises:
            SessionClosedError: the session is closed, or belongs to another event loop.
        """
        loop = asyncio.get_running_loop()
        if self.gate is None and not self.closed:
            self.loop = loop
            self.gate = shared_gate(*self._store, self._quota)
            self.gate.join(self)
        if self.gate is None or self.closed or self.loop is not loop:
            raise self.closed_error()
        return self.gate

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that the session knows of, so that closing can wait for it.

        Whoever calls this still owns the task and awaits it.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Give up what is in flight or waiting, wait for it to end, and let go of the network."""
        try:
            await self.scopes.aclose()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            try:
                if self.gate is not None:
                    await self.gate.release(self)
            finally:
                await self._wire.aclose()

    def closed_error(self) -> SessionClosedError:
        """Why nothing can be sent: the session is closed, or belongs to another event loop."""
        if self.closed:
            return SessionClosedError(CLOSED)
        return SessionClosedError(
            "the session belongs to another event loop; open one inside each asyncio.run()"
        )
