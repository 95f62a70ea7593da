"""Chunks of ids, concurrently, each with a full account whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from bcshopper._account import Account, BadId
from bcshopper._ids import AnyIterable, collect, iterate
from bcshopper._outcomes import BatchReport, Outcome
from bcshopper._retry import took_no_effect
from bcshopper._transport import Transport
from bcshopper.errors import (
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

_FATAL = (
    AuthenticationError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    SessionClosedError,
)


class _StoppedError(Exception):
    """Nothing more goes out: another chunk met something fatal."""


class Batch(Generic[ItemT]):
    """One run of one verb.

    Args:
        verb: its name, for events.
        transport: through which everything goes.
        parse: checks one id.
        size: ids per chunk.
        settle: settles all ids of a chunk's account; calls `before_send` whenever ids go out.
    """

    def __init__(
        self,
        verb: str,
        transport: Transport,
        *,
        parse: Callable[[Any], ItemT],
        size: int,
        settle: Callable[[Batch[ItemT], Account[ItemT]], Awaitable[None]],
    ) -> None:
        self._verb = verb
        self._transport = transport
        self._parse = parse
        self._size = size
        self._settle = settle
        self._width = 2 * transport.concurrency
        self._fatal: BCShopperError | None = None

    def check(self, _previous: BCShopperError | None = None) -> None:
        """Before a request goes out: stop it if the batch has met something fatal."""
        if self._fatal is not None:
            raise _StoppedError

    def before_send(
        self,
        account: Account[ItemT],
        items: Sequence[ItemT],
        previous: BCShopperError | None,
    ) -> None:
        """Before a request with these ids goes out: check, and note what that means for them."""
        self.check()
        if previous is not None and not took_no_effect(previous):
            account.doubt(items, previous)
        account.sent(items)

    async def report(self, ids: AnyIterable[Any], *, check: bool) -> BatchReport[ItemT]:
        """Run over ids that fit in memory, all checked first."""
        items = await collect(ids, self._parse)
        accounts = [
            Account(items[start : start + self._size]) for start in range(0, len(items), self._size)
        ]

        def report() -> BatchReport[ItemT]:
            return BatchReport(tuple(o for a in accounts for o in a.outcomes(self._fatal)))

        try:
            async with aclosing(self._run(iterate(accounts))) as done:
                async for _ in done:
                    pass
        except asyncio.CancelledError as error:
            # The documented way to it is BatchReport.from_exception. A subclass of CancelledError
            # would not do: asyncio.timeout does not take it for a cancellation before 3.13.
            error.report = report()  # type: ignore[attr-defined]
            raise
        result = report()
        if check:
            result.raise_for_failures()
        return result

    async def stream(self, ids: AnyIterable[Any]) -> AsyncGenerator[Outcome[ItemT]]:
        """Run over ids of any number, with no more of them in memory than are under way."""
        chunks = _Chunks(ids, self._parse, self._size)
        async with aclosing(self._run(chunks)) as done:
            async for account in done:
                for outcome in account.outcomes(self._fatal):
                    yield outcome
                chunks.forget(account)
        for outcome in Account(chunks.gathered).outcomes(self._fatal):
            yield outcome
        if self._fatal is not None:
            raise self._fatal
        if chunks.failure is not None:
            raise chunks.failure

    async def _run(self, accounts: AsyncIterator[Account[ItemT]]) -> AsyncGenerator[Account[ItemT]]:
        """Settle accounts, several at once, and yield each as soon as it is done."""
        workers: set[asyncio.Task[Account[ItemT]]] = set()
        # Its own task, so that a slow source holds back no outcome.
        feeder: asyncio.Task[Account[ItemT] | None] | None = None
        exhausted = False
        try:
            while True:
                if self._fatal is not None:
                    exhausted = True
                    if feeder is not None:
                        feeder.cancel()
                elif not exhausted and feeder is None and len(workers) < self._width:
                    feeder = asyncio.ensure_future(anext(accounts, None))
                under_way: set[asyncio.Task[Any]] = workers | ({feeder} if feeder else set())
                if not under_way:
                    return
                done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                if feeder in done:
                    account = None if feeder.cancelled() else feeder.result()
                    feeder = None
                    exhausted = exhausted or account is None
                    if account is not None:
                        workers.add(self._transport.spawn(self._work(account)))
                for worker in workers & done:
                    workers.remove(worker)
                    yield worker.result()
        finally:
            await _cancel(workers | ({feeder} if feeder else set()))

    async def _work(self, account: Account[ItemT]) -> Account[ItemT]:
        if not account.pending:
            return account
        try:
            await self._settle(self, account)
        except _StoppedError:
            pass
        except BCShopperError as error:
            account.error = error
            if isinstance(error, _FATAL) and self._fatal is None:
                self._fatal = error
        self._transport.emit(ChunkDone(self._verb, tuple(account.outcomes(self._fatal))))
        return account


class _Chunks(AsyncIterator[Account[ItemT]]):
    """Cuts a source of unknown length into accounts.

    Attributes:
        gathered: ids that were read and are in no account yet.
        failure: what the source raised, if it did.
    """

    def __init__(self, ids: AnyIterable[Any], parse: Callable[[Any], ItemT], size: int) -> None:
        self.gathered: list[ItemT] = []
        self.failure: Exception | None = None
        self._source = iterate(ids)
        self._parse = parse
        self._size = size
        self._under_way: set[ItemT] = set()

    def forget(self, account: Account[ItemT]) -> None:
        """These ids are done: from now on, one of them would be new."""
        self._under_way.difference_update(account.items)

    async def __anext__(self) -> Account[ItemT]:
        while len(self.gathered) < self._size:
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
        account = Account(self.gathered)
        self.gathered = []
        return account


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
