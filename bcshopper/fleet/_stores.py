"""The sessions of a worker: one per store, kept open, over one pool of connections."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from bcshopper._session import Session, SessionSettings
from bcshopper._transport import RetryPolicy, open_pool

OpenSession: TypeAlias = Callable[[str, SessionSettings], Session]
"""Makes the session of a store, given its name and settings to hand over; may block."""

_KEPT = 500  # sessions; what one knows of its store's quota is worth more than its memory
_RETRY = RetryPolicy(budget=5)
"""A store that is down is soon left alone: the fleet itself tries again, later and for longer."""
_CONNECTIONS = 640  # in all: ten for each of the chunks that a worker does at once


class Stores:
    """Sessions by the name of their store; those not used for longest are closed.

    Args:
        open_session: makes one.
    """

    def __init__(self, open_session: OpenSession) -> None:
        self._open_session = open_session
        self._idle: OrderedDict[str, Session] = OrderedDict()
        self._pool = open_pool(_CONNECTIONS)

    @asynccontextmanager
    async def session(self, store: str) -> AsyncIterator[Session]:
        """The store's session, kept for the next turn unless this one fails."""
        session = self._idle.pop(store, None)
        if session is None:  # which may ask a command for the token
            settings = SessionSettings(http=self._pool)
            session = await asyncio.to_thread(self._open_session, store, settings)
        try:
            yield session.with_options(retry=_RETRY)
        except BaseException:
            await session.aclose()
            raise
        await self.forget(store)  # of whoever was here meanwhile
        self._idle[store] = session
        if len(self._idle) > _KEPT:
            await self.forget(next(iter(self._idle)))

    async def forget(self, store: str) -> None:
        """Begin anew with this store next time: its token may have been replaced."""
        if session := self._idle.pop(store, None):
            await session.aclose()

    async def aclose(self) -> None:
        """Close all of them."""
        for store in list(self._idle):
            await self.forget(store)
        await self._pool.close()
