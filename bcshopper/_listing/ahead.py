"""Several calls ahead of the reader, in order, and never one left behind."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeAlias, TypeVar

from bcshopper._transport import Transport

T = TypeVar("T")
U = TypeVar("U")

Call: TypeAlias = Callable[[], Awaitable[T]]


async def in_order(
    next_call: Callable[[], Call[T] | None],
    finish: Callable[[T], Awaitable[U]],
    *,
    ahead: int,
    transport: Transport,
) -> AsyncGenerator[U]:
    """Yield the results of calls in the order in which they are handed out.

    Args:
        next_call: hands out the next call; None if there is none, for now: it is asked again
            after each result.
        finish: makes of a result, when its turn comes, what is yielded; `next_call` is asked after.
        ahead: how many calls may be under way or done and not yet yielded.
        transport: makes the calls, as many at once as it sends requests.
    """
    pool = _Pool(next_call, ahead, transport)
    # Not a TaskGroup: closing a generator inside of one raises a BaseExceptionGroup.
    try:
        pool.fill()
        while pool.places:
            result = await pool.places[0]
            pool.places.popleft()
            finished = await finish(result)
            pool.fill()
            yield finished
    finally:
        await pool.close()


class _Pool(Generic[T]):
    """Workers that make calls, and a place for each result, in the order of the calls.

    A task for each call instead would cost more than all of this.
    """

    def __init__(
        self, next_call: Callable[[], Call[T] | None], ahead: int, transport: Transport
    ) -> None:
        self.places: deque[asyncio.Future[T]] = deque()
        self._next_call = next_call
        self._ahead = ahead
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._workers: set[asyncio.Task[None]] = set()
        self._at_work = 0

    def fill(self) -> None:
        """Have as many calls under way as there may be."""
        while self._at_work < self._transport.concurrency and (taken := self._take()):
            self._at_work += 1
            worker = self._transport.life.spawn(self._work(*taken))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def close(self) -> None:
        """Give up what is under way."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def _take(self) -> tuple[Call[T], asyncio.Future[T]] | None:
        if len(self.places) >= self._ahead or (call := self._next_call()) is None:
            return None
        place: asyncio.Future[T] = self._loop.create_future()
        self.places.append(place)
        return call, place

    async def _work(self, call: Call[T], place: asyncio.Future[T]) -> None:
        try:
            taken: tuple[Call[T], asyncio.Future[T]] | None = (call, place)
            while taken:
                call, place = taken
                try:
                    result = await call()
                except Exception as error:  # noqa: BLE001 - it is raised when its turn comes
                    if not place.done():
                        place.set_exception(error)
                        place.exception()  # asyncio would complain if nobody came to hear of it
                else:
                    if not place.done():  # else the reader was cancelled while it waited for it
                        place.set_result(result)
                taken = self._take()
        finally:
            self._at_work -= 1
            place.cancel()  # if this was cancelled
