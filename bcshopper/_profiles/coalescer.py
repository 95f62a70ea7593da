"""Single calls from many tasks, sent together."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import functools
import itertools
import math
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar
from uuid import UUID

import attrs

from bcshopper import _inputs
from bcshopper._batch import FATAL, Batch
from bcshopper._customers import Lookup
from bcshopper._outcomes import BatchReport, Outcome, Status
from bcshopper._profiles.backlog import Answer, Backlog, Call, Chunk, Lane
from bcshopper._transport import Transport, Watch
from bcshopper.errors import BCShopperError, SessionClosedError
from bcshopper.events import CoalescedDone, CoalescedStarted

ItemT = TypeVar("ItemT")

MakeBatch: TypeAlias = Callable[[Callable[[], None]], Batch[ItemT]]
"""Makes a batch that calls this right before ids leave."""

_numbers = itertools.count(1)  # of shared requests, in this process
_Result: TypeAlias = tuple[dict[Any, Answer], BCShopperError | None]


class Coalescer:
    """Single calls, sent together; made by `session.shopper_profiles.coalesce`.

    Use it with `async with`, and call it from any number of tasks while the block lasts.
    Cancelling a call costs the others nothing; its id is taken out if it was not sent yet.

    A call returns what became of its own id. What is wrong for everyone, such as a refused token,
    is raised, to each caller as an exception of its own, and to those whose ids were waiting to
    be sent with the same verb.

    Creates and deletes of one customer's profile take effect in the order in which they were
    called, also while those before are not answered yet. Lookups keep no order with them.
    """

    def __init__(
        self,
        transport: Transport,
        lookup: Lookup,
        *,
        creation: MakeBatch[int],
        deletion: MakeBatch[UUID],
        delete_capacity: int,
        max_delay: float,
        max_pending: int,
        shutdown_timeout: float,
    ) -> None:
        self._transport = transport
        self._lookup = lookup
        self._creation = creation
        self._deletion = deletion
        self._shutdown_timeout = shutdown_timeout
        self._backlog = Backlog(
            delete_capacity=delete_capacity,
            count_searchable=lambda ids: len(next(lookup.requests.split(ids))),
            max_delay=max_delay,
            max_pending=max_pending,
        )
        self._width = 2 * transport.concurrency
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pump: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._idle = False
        # At most one chunk waits for the session's gate: until then ids can join or leave it.
        self._door: Chunk[Any] | None = None
        self._tasks: dict[Chunk[Any], asyncio.Task[_Result]] = {}
        self._calls = 0
        self._closing = False
        self._quiet = asyncio.Event()
        self._ended: BCShopperError | None = None

    async def create(self, customer_id: int) -> Outcome[int]:
        """Give a customer a profile; safe to repeat.

        Args:
            customer_id: the customer.

        Returns:
            What became of it, as in the report of `shopper_profiles.create`: `Status.CREATED`,
            `EXISTS`, `REJECTED` or `UNKNOWN`. All who ask for a customer at once get the same.

        Raises:
            InvalidInputError: it is not a customer id.
            SessionClosedError: the block or the session has ended; nothing was sent.
            BCShopperError: it was not sent, or refused for a reason that concerns everyone.
        """
        item = _inputs.customer_id(customer_id)
        outcome: Outcome[int] = await self._ask(self._backlog.creates, item)
        return outcome

    async def delete(self, profile_id: UUID | str) -> Outcome[UUID]:
        """Make sure that a profile does not exist; safe to repeat.

        It goes out once all creates that were called before it are answered, as any of them may
        be of the same customer.

        Args:
            profile_id: the profile.

        Returns:
            What became of it: `Status.DELETED`, `REJECTED` or `UNKNOWN`.

        Raises:
            InvalidInputError: it is not a profile id.
            SessionClosedError: the block or the session has ended; nothing was sent.
            BCShopperError: it was not sent, or refused for a reason that concerns everyone.
        """
        item = _inputs.profile_id(profile_id)
        outcome: Outcome[UUID] = await self._ask(self._backlog.deletes, item)
        return outcome

    async def lookup(self, customer_id: int) -> UUID | None:
        """Find the profile of a customer, as it is at some moment after the call.

        Args:
            customer_id: the customer.

        Returns:
            The profile's id; None for a customer without a profile, or unknown to the store.

        Raises:
            InvalidInputError: it is not a customer id.
            SessionClosedError: the block or the session has ended.
            BCShopperError: it could not be looked up.
        """
        item = _inputs.customer_id(customer_id)
        found: UUID | None = await self._ask(self._backlog.lookups, item)
        return found

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise SessionClosedError("a coalescer is for one block; make another one")
        self._loop = asyncio.get_running_loop()
        # A shared request belongs to no caller's trace; `CoalescedDone` tells whom to link it with.
        self._pump = asyncio.create_task(self._send_what_is_due())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None or issubclass(kind, Exception):
                await self._drain()
        finally:
            await self._end()

    def __repr__(self) -> str:
        state = "over" if self._ended else "closing" if self._closing else "open"
        return f"<Coalescer, {state}, {self._calls} calls wait>"

    async def _ask(self, lane: Lane[ItemT], item: ItemT) -> Any:
        loop = self._running_loop()
        call = self._backlog.ask(lane, item, loop.time(), loop.create_future())
        if self._transport.is_watched:
            call.context = contextvars.copy_context()
        if self._idle or len(lane.waiting) == lane.enough:
            self._news.set()
        self._calls += 1
        try:
            answer = await call.future
        except asyncio.CancelledError:
            self._withdraw(call)
            raise
        finally:
            self._calls -= 1
            if self._closing and not self._calls:
                self._quiet.set()
        if isinstance(answer, BaseException):
            raise _own(answer)
        return answer

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._closing:
            raise SessionClosedError("calls of a coalescer belong inside its `async with` block")
        if self._transport.life.closed or self._loop is not asyncio.get_running_loop():
            raise self._transport.life.closed_error()
        return self._loop

    def _withdraw(self, call: Call[Any]) -> None:
        chunk = self._backlog.withdraw(call)
        if chunk is not None:
            self._tasks[chunk].cancel()
        self._news.set()  # others may have waited for it

    async def _send_what_is_due(self) -> None:
        """Send each chunk when it is to go, until the block ends."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while True:
            self._news.clear()
            due = math.inf
            if self._door is None and len(self._tasks) < self._width:
                chunk = self._backlog.take(now, hurry=self._closing)
                if chunk is not None:
                    self._door = chunk
                    task = self._tasks[chunk] = self._transport.life.spawn(self._send(chunk))
                    task.add_done_callback(functools.partial(self._done, chunk))
                else:
                    due = self._backlog.next_due()
            self._idle = due == math.inf
            try:
                async with asyncio.timeout_at(None if self._idle else due):
                    await self._news.wait()
                now = loop.time()
            except TimeoutError:
                now = max(due, loop.time())  # a clock may round

    def _going_out(self, chunk: Chunk[Any]) -> None:
        if chunk.recalled:
            raise BCShopperError("recalled")  # nobody sees it: the chunk is put back
        if not chunk.sent:
            self._backlog.sent(chunk)
            self._door = None
            self._news.set()
            if self._transport.is_watched:
                self._tell_of(chunk)

    def _tell_of(self, chunk: Chunk[Any]) -> None:
        """Tell that a chunk goes out, and once it is done."""
        emit, store, verb = self._transport.emit, self._transport.store, chunk.lane.verb
        number = next(_numbers)
        began = asyncio.get_running_loop().time()
        emit(CoalescedStarted(verb, number, len(chunk.entries), self._calls, store))

        def tell_end(_: object) -> None:
            callers = tuple(
                call.context
                for entry in chunk.entries
                for call in entry.calls
                if call.context is not None
            )
            seconds = asyncio.get_running_loop().time() - began
            emit(CoalescedDone(verb, number, seconds, callers, store))

        self._tasks[chunk].add_done_callback(tell_end)

    async def _send(self, chunk: Chunk[Any]) -> _Result:
        going_out = functools.partial(self._going_out, chunk)
        if chunk.lane is self._backlog.lookups:
            return await self._look_up(chunk, Watch(going_out))
        make = self._creation if chunk.lane is self._backlog.creates else self._deletion
        batch: Batch[Any] = make(going_out)
        try:
            report = await batch.report(chunk.items, check=False)
        except asyncio.CancelledError as error:
            # This task is ours and at its end: what it knows goes on as its result.
            known = BatchReport.from_exception(error)
            if known is None:
                raise
            report = known
        return {o.item: self._answer(o, batch.fatal) for o in report}, batch.fatal

    async def _look_up(self, chunk: Chunk[int], watch: Watch) -> _Result:
        answers: dict[Any, Answer] = {}
        answers.update(await self._lookup.find_each(chunk.items, watch))
        fatal = next((answer for answer in answers.values() if isinstance(answer, FATAL)), None)
        return answers, fatal

    def _answer(self, outcome: Outcome[Any], fatal: BCShopperError | None) -> Answer:
        """What concerns one id is its outcome; what concerns everyone is to be raised."""
        if outcome.status is Status.NOT_SENT:
            return outcome.error or self._given_up()
        if outcome.status is Status.UNKNOWN:
            return attrs.evolve(outcome, error=outcome.error or self._given_up())
        if fatal is not None and outcome.error is fatal:
            return fatal
        return outcome

    def _done(self, chunk: Chunk[Any], task: asyncio.Task[_Result]) -> None:
        del self._tasks[chunk]
        if self._door is chunk:
            self._door = None
        answers: dict[Any, Answer] = {}
        fatal = None
        if not task.cancelled():
            failure = task.exception()
            if failure is None:
                answers, fatal = task.result()
            else:
                answers = dict.fromkeys(chunk.items, failure)
        if chunk.recalled:
            self._backlog.put_back(chunk)
        else:
            given_up = self._given_up()
            answers = {item: answers.get(item, given_up) for item in chunk.items}
            self._give(self._backlog.settle(chunk, answers))
        if fatal is not None:
            self._give(self._backlog.fail(chunk.lane, fatal))
        if self._ended is None:
            self._news.set()
        else:
            self._give(self._backlog.end(self._ended))

    @staticmethod
    def _give(answers: Iterable[tuple[Call[Any], Answer]]) -> None:
        for call, answer in answers:
            if not call.future.done():
                call.future.set_result(answer)

    def _given_up(self) -> BCShopperError:
        return self._ended or SessionClosedError("the request was cancelled before its answer came")

    async def _drain(self) -> None:
        """Send what is pending, and wait until everyone is answered, or the time is up."""
        await asyncio.sleep(0)  # tasks that the block has only just started make their calls
        self._closing = True
        if self._calls:
            self._news.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._shutdown_timeout):
                    await self._quiet.wait()

    async def _end(self) -> None:
        """Give up what is not answered, tell everyone, and wait until nothing is left."""
        self._closing = True
        self._ended = SessionClosedError(
            "the coalescer's block was left before this call was answered"
        )
        tasks: list[asyncio.Task[Any]] = list(self._tasks.values())
        if self._pump is not None:
            tasks.append(self._pump)
        for task in tasks:
            task.cancel()
        self._give(self._backlog.end(self._ended))
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._calls:
            await self._quiet.wait()


def _own(error: BaseException) -> BaseException:
    """An exception for one caller: one raised in several tasks gathers the tracebacks of all."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own.with_traceback(error.__traceback__)
