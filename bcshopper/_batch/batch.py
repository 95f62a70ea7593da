"""Chunks of ids, concurrently, and what became of each whatever happens."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from bcshopper._batch.ledger import BadId, Ledger
from bcshopper._inputs import AnyIterable, collect, iterate
from bcshopper._outcomes import BatchReport, Outcome
from bcshopper._transport import Transport, Watch
from bcshopper.errors import (
    APIDownError,
    AuthenticationError,
    BCShopperError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    SessionClosedError,
)
from bcshopper.events import ChunkDone

ItemT = TypeVar("ItemT")

_BREATH = 1000  # ids read without a pause, after which other tasks get a turn

FATAL = (
    APIDownError,
    AuthenticationError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    SessionClosedError,
)
"""What stops a batch: whatever went out next would meet it too."""


class _StoppedError(Exception):
    """Nothing more goes out: another chunk met something fatal."""


class Batch(Generic[ItemT]):
    """One run of one verb.

    Args:
        verb: its name, for events.
        transport: through which everything goes.
        parse: checks one id.
        size: ids per chunk.
        settle: settles all ids of a chunk, and sends them with `watch`.
        on_send: called right before ids leave; what it raises stops their chunk.

    Attributes:
        transport: through which everything goes.
        fatal: what stopped it, if anything did.
    """

    def __init__(
        self,
        verb: str,
        transport: Transport,
        *,
        parse: Callable[[Any], ItemT],
        size: int,
        settle: Callable[[Batch[ItemT], Ledger[ItemT]], Awaitable[None]],
        on_send: Callable[[], None],
    ) -> None:
        self._verb = verb
        self.transport = transport
        self._parse = parse
        self._size = size
        self._settle = settle
        self._on_send = on_send
        self._width = 2 * transport.concurrency
        self.fatal: BCShopperError | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._workers: dict[asyncio.Task[None], Ledger[ItemT]] = {}

    def check(self) -> None:
        """Before a request goes out: stop it if the batch has met something fatal."""
        if self.fatal is not None:
            raise _StoppedError

    def watch(self, ledger: Ledger[ItemT], items: Sequence[ItemT]) -> Watch:
        """Keeps the ledger of each attempt to send these ids."""

        def going_out() -> None:
            self.check()
            self._on_send()
            ledger.sent(items)

        def failed(error: BCShopperError) -> None:
            ledger.failed(items, error)
            self._stop_if_down(error)

        return Watch(going_out, failed)

    @property
    def looking(self) -> Watch:
        """Watches a look-up, which changes nothing."""
        return Watch(self.check, self._stop_if_down)

    def _stop_if_down(self, error: BCShopperError) -> None:
        if self.transport.shows_api_down(error):
            down = APIDownError(
                f"the API is down: no request has succeeded for a while, the last one neither "
                f"({error}); try again later"
            )
            down.__cause__ = error
            self._stop(down)

    async def report(self, ids: AnyIterable[Any], *, check: bool) -> BatchReport[ItemT]:
        """Run over ids that fit in memory, all checked first."""
        items = await collect(ids, self._parse)
        ledgers = [
            Ledger(items[start : start + self._size]) for start in range(0, len(items), self._size)
        ]

        def report_on_all() -> BatchReport[ItemT]:
            return BatchReport(tuple(o for a in ledgers for o in a.outcomes(self.fatal)))

        waiting = iter(ledgers)
        try:
            async with aclosing(self._run(iterate(waiting))) as done:
                async for _ in done:
                    pass
        except (asyncio.CancelledError, Exception) as error:
            # The documented way to it is BatchReport.from_exception. A subclass of CancelledError
            # would not do: asyncio.timeout does not take it for a cancellation before 3.13.
            error.report = report_on_all()  # type: ignore[union-attr]  # any exception takes one
            raise
        finally:
            for ledger in waiting:  # those that the batch did not come to
                self._tell(ledger)
        result = report_on_all()
        if check:
            result.raise_for_failures()
        return result

    async def stream(self, ids: AnyIterable[Any]) -> AsyncGenerator[Outcome[ItemT]]:
        """Run over ids of any number, with no more of them in memory than are under way."""
        chunks = _Chunks(ids, self._parse, self._size)
        try:
            async with aclosing(self._run(chunks)) as done:
                async for ledger in done:
                    for outcome in ledger.outcomes(self.fatal):
                        yield outcome
                    chunks.forget(ledger)
        finally:
            if chunks.gathered:
                self._tell(Ledger(chunks.gathered))
        for outcome in Ledger(chunks.gathered).outcomes(self.fatal):
            yield outcome
        if self.fatal is not None:
            raise self.fatal
        if chunks.failure is not None:
            raise chunks.failure

    def under_way(self) -> list[Outcome[ItemT]]:
        """Of a stream that was left early: what became of the ids of which it had not told."""
        return [o for ledger in self._workers.values() for o in ledger.outcomes(self.fatal)]

    async def _run(self, ledgers: AsyncIterator[Ledger[ItemT]]) -> AsyncGenerator[Ledger[ItemT]]:
        """Settle ledgers, several at once, and yield each as soon as it is done."""
        room = asyncio.Semaphore(self._width)
        done: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()

        def end(ledger: Ledger[ItemT], worker: asyncio.Task[None]) -> None:
            done.put_nowait(worker)  # first: to be told may raise SystemExit
            self._tell(ledger)

        async def feed() -> None:
            # One task for the whole source: it may hold a timeout or a task group open.
            while True:
                await room.acquire()
                ledger = await anext(ledgers, None)
                if ledger is None:
                    return
                worker = self.transport.life.spawn(self._work(ledger))
                self._workers[worker] = ledger
                worker.add_done_callback(functools.partial(end, ledger))

        feeder = self._feeder = asyncio.create_task(feed())
        feeder.add_done_callback(done.put_nowait)
        try:
            while self._workers or not feeder.done():
                task = await done.get()
                if task is feeder:
                    if self.fatal is None or not feeder.cancelled():
                        feeder.result()
                    continue
                ledger = self._workers.pop(task)
                if not task.cancelled():  # else it was waiting when the batch stopped
                    task.result()
                yield ledger
                room.release()
        finally:
            tasks = [feeder, *self._workers]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, ledger: Ledger[ItemT]) -> None:
        if not ledger.pending:
            return
        try:
            await self._settle(self, ledger)
        except _StoppedError:
            pass
        except BCShopperError as error:
            ledger.error = error
            if isinstance(error, FATAL):
                self._stop(error)

    def _tell(self, ledger: Ledger[ItemT]) -> None:
        if self.transport.is_watched:
            outcomes = tuple(ledger.outcomes(self.fatal))
            self.transport.emit(ChunkDone(self._verb, outcomes, self.transport.store))

    def _stop(self, error: BCShopperError) -> None:
        """Let what is in flight end, and nothing else go out or wait."""
        if self.fatal is not None:
            return
        self.fatal = error
        if self._feeder is not None:
            self._feeder.cancel()
        for worker, ledger in self._workers.items():
            if not ledger.is_busy and worker is not asyncio.current_task():
                worker.cancel()


class _Chunks(AsyncIterator[Ledger[ItemT]]):
    """Cuts a source of unknown length into ledgers.

    Attributes:
        gathered: ids that were read and are in no ledger yet.
        failure: what the source raised, if it did.
    """

    def __init__(self, ids: AnyIterable[Any], parse: Callable[[Any], ItemT], size: int) -> None:
        self.gathered: list[ItemT] = []
        self.failure: Exception | None = None
        self._source = iterate(ids)
        self._parse = parse
        self._size = size
        self._under_way: set[ItemT] = set()

    def forget(self, ledger: Ledger[ItemT]) -> None:
        """These ids are done: from now on, one of them would be new."""
        self._under_way.difference_update(ledger.items)

    async def __anext__(self) -> Ledger[ItemT]:
        for read in itertools.count(1):
            if len(self.gathered) == self._size:
                break
            if read % _BREATH == 0:
                await asyncio.sleep(0)  # a source of repeats would never let go of the loop
            try:
                value = await anext(self._source)
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001 - whatever it is goes to the caller
                self.failure = error
                raise StopAsyncIteration from None
            try:
                item = self._parse(value)
            except InvalidInputError as error:
                return BadId(value, error)
            if item not in self._under_way:
                self._under_way.add(item)
                self.gathered.append(item)
        if not self.gathered:
            raise StopAsyncIteration
        ledger = Ledger(self.gathered)
        self.gathered = []
        return ledger
