"""The only way to the network: the gate, one attempt, and again if need be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import attrs

from bcshopper._quota import QuotaGate, QuotaPolicy, QuotaSnapshot, WaitTooLongError, shared_gate
from bcshopper._transport.convert import MalformedDocumentError
from bcshopper._transport.http import Wire
from bcshopper._transport.messages import UNWATCHED, Reply, Request, Watch
from bcshopper._transport.problems import api_error, malformed
from bcshopper._transport.retry import Effect, RetryPolicy, effect_of
from bcshopper.errors import (
    APIError,
    BCShopperError,
    InvalidInputError,
    RateLimitError,
    ResponseFormatError,
    SessionClosedError,
    TransportError,
)
from bcshopper.events import Event, QuotaWait, RequestSent, ResponseReceived, RetryScheduled

T = TypeVar("T")

logging.getLogger("bcshopper").addHandler(logging.NullHandler())  # silent unless asked
_log = logging.getLogger("bcshopper.transport")
_WORTH_SAYING = 1.0  # seconds of waiting for quota; shorter ones would fill the log
_HALF_DONE = {202: "it is accepted, and not done yet", 206: "it is not whole"}


@attrs.define
class SessionStats:
    """What a session has done so far.

    Attributes:
        requests: requests that went out, retries included.
        retries: how many of them repeated a failed one.
        throttled: answers with status 429.
        bytes_received: bytes of all decoded bodies.
        quota_seconds: seconds that have passed while requests were held back for quota, however
            many of them.
        window_requests: requests of this process in the quota's newest window.
    """

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    bytes_received: int = 0
    quota_seconds: float = 0.0
    window_requests: int = 0


class Transport:
    """Sends requests for one session: through one gate, with retries, until it is closed.

    Args:
        wire: carries one request, and its answer.
        store: base URL and store hash, by which sessions share a gate.
        concurrency: requests in flight at most.
        retry: when to try again.
        quota: how to treat the store's quota.
        on_event: told of each event.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        store: tuple[str, str],
        concurrency: int,
        retry: RetryPolicy,
        quota: QuotaPolicy,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self.concurrency = concurrency
        self.closed = False
        self._wire = wire
        self._store = store
        self._slots = asyncio.Semaphore(concurrency)
        self._retry = retry
        self._quota = quota
        self._on_event = on_event
        self._stats = SessionStats()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gate: QuotaGate | None = None
        self._at_gate = 0
        self._waits_until = 0.0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._scopes: set[asyncio.Timeout] = set()
        self._scope_ended = asyncio.Event()

    @property
    def stats(self) -> SessionStats:
        """What the session has done so far: a copy, which does not change."""
        sent = 0 if self._gate is None else self._gate.state.sent
        stats = attrs.evolve(self._stats, window_requests=sent)
        if self._at_gate and self._loop is not None:
            stats.quota_seconds -= max(0.0, self._waits_until - self._loop.time())
        return stats

    @property
    def is_api_down(self) -> bool:
        """Whether the budget for retries is spent: nothing has succeeded for a while."""
        return self._gate is not None and self._gate.budget.spent >= self._retry.budget

    @property
    def quota(self) -> QuotaSnapshot | None:
        """The store's quota as the newest answer gave it; None if none has."""
        return None if self._gate is None else self._gate.state.snapshot

    async def send(
        self, request: Request, read: Callable[[Reply], T], watch: Watch = UNWATCHED
    ) -> T:
        """Send a request, repeat it while that is safe and worth it, and read its answer.

        Args:
            request: what to send.
            read: makes the result of an answer; may raise `MalformedDocumentError`.
            watch: told of each attempt.
        """
        if request.method == "DELETE" and not request.wipes and not request.names_ids:
            raise InvalidInputError(
                f"refused to send DELETE {request.url}: without ids it deletes everything there"
            )
        gate = self._enter()
        try:
            return await self._until_closed(self._send(gate, request, read, watch))
        except WaitTooLongError as refused:
            raise self._not_sent(request, refused.seconds) from None

    async def _send(
        self, gate: QuotaGate, request: Request, read: Callable[[Reply], T], watch: Watch
    ) -> T:
        loop, longest = asyncio.get_running_loop(), self._retry.max_retry_after
        attempt, began = 0, 0.0
        error: BCShopperError | None = None
        until: float | None = None  # when another try may go out at the latest
        while True:
            attempt += 1
            waiting = asyncio.timeout_at(until)
            try:
                async with waiting, self._slots:
                    admitted_at = await self._admit(gate)
                    waiting.reschedule(None)
                    if attempt == 1:
                        began = admitted_at
                    leave = partial(gate.leave, admitted_at, max_retry_after=longest)
                    return await self._attempt(leave, request, read, watch, attempt)
            except (APIError, TransportError, ResponseFormatError) as caught:
                error = caught
            except (WaitTooLongError, TimeoutError) as late:
                if error is None or not (isinstance(late, WaitTooLongError) or waiting.expired()):
                    raise
                raise error from error.__cause__  # it was sent, and that is what it came to
            watch.failed(error)
            may_repeat = request.repeatable or effect_of(error) is Effect.NONE
            elapsed = loop.time() - began
            delay = self._schedule(gate, request, error, attempt, elapsed) if may_repeat else None
            if delay is None:
                raise error
            if delay > gate.wait_for(self._quota):  # else the gate makes it wait, in its place
                await asyncio.sleep(delay)
            if self._retry.max_elapsed is not None:
                until = began + self._retry.max_elapsed

    async def _admit(self, gate: QuotaGate) -> float:
        self._at_gate += 1
        try:
            return await gate.admit(self._quota, self._note_wait)
        finally:
            self._at_gate -= 1
            if not self._at_gate:
                now = asyncio.get_running_loop().time()
                self._stats.quota_seconds -= max(0.0, self._waits_until - now)
                self._waits_until = min(self._waits_until, now)

    async def back_off(
        self, request: Request, error: BCShopperError, attempt: int, elapsed: float
    ) -> bool:
        """Wait before another try, as long as the retry policy and the quota say.

        For callers that repeat a request themselves, in their own way; `send` does it for others.

        Args:
            request: what failed.
            error: what it came to.
            attempt: how many tries there were.
            elapsed: seconds since the first one went out, not since it was queued.

        Returns:
            False if the policy says to give up.
        """
        delay = self._schedule(self._enter(), request, error, attempt, elapsed)
        if delay is None:
            return False
        await self._until_closed(asyncio.sleep(delay))
        return True

    def _schedule(
        self, gate: QuotaGate, request: Request, error: BCShopperError, attempt: int, elapsed: float
    ) -> float | None:
        """Seconds until another try; None to give up."""
        held = gate.wait_for(self._quota)
        if self._quota.max_wait is not None and held > self._quota.max_wait:
            return None
        delay = self._retry.delay(
            error, method=request.method, attempt=attempt, elapsed=elapsed, held=held
        )
        if delay is None or not gate.budget.draw(self._retry.budget):
            return None
        self._stats.retries += 1
        _log.warning(
            "attempt %d of %s failed, next in %.1f s: %s", attempt, request.label, delay, error,
        )  # fmt: skip
        self.emit(RetryScheduled(request.method, str(request.url), attempt, delay, str(error)))
        return delay

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that the session knows of, so that closing can wait for it.

        Whoever calls this still owns the task and awaits it.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def emit(self, event: Event) -> None:
        """Tell the session's `on_event`, whose own failures harm nobody else."""
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a CancelledError, too, is not the caller's
            _log.exception("on_event raised for %r", event)

    async def aclose(self) -> None:
        """Give up what is in flight or waiting, wait for it to end, and let go of the network."""
        self.closed = True
        for scope in self._scopes:
            scope.reschedule(-1.0)
        try:
            while self._scopes:
                self._scope_ended.clear()
                await self._scope_ended.wait()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            try:
                if self._gate is not None:
                    await self._gate.release(self)
            finally:
                await self._wire.aclose()

    async def _until_closed(self, work: Coroutine[Any, Any, T]) -> T:
        """Await this; closing the session ends it with `SessionClosedError`, wherever it waits."""
        scope = asyncio.timeout(None)
        self._scopes.add(scope)
        try:
            async with scope:
                return await work
        except TimeoutError as error:
            if scope.expired() and not isinstance(error, TransportError):
                raise self.closed_error() from None
            raise
        finally:
            self._scopes.discard(scope)
            self._scope_ended.set()

    def _enter(self) -> QuotaGate:
        loop = asyncio.get_running_loop()
        if self._gate is None and not self.closed:
            self._loop = loop
            self._gate = shared_gate(*self._store, self._quota)
            self._gate.join(self)
        if self._gate is None or self.closed or self._loop is not loop:
            raise self.closed_error()
        return self._gate

    def closed_error(self) -> SessionClosedError:
        """Why nothing can be sent: the session is closed, or belongs to another event loop."""
        if self.closed:
            return SessionClosedError("the session is closed; open a new one")
        return SessionClosedError(
            "the session belongs to another event loop; open one inside each asyncio.run()"
        )

    async def _attempt(
        self,
        leave: Callable[..., None],
        request: Request,
        read: Callable[[Reply], T],
        watch: Watch,
        attempt: int,
    ) -> T:
        loop = asyncio.get_running_loop()
        try:
            watch.going_out()
            self._stats.requests += 1
            if self._on_event is not None:
                self.emit(RequestSent(request.method, str(request.url), attempt))
            started = loop.time()
            reply = await self._wire.exchange(request, attempt=attempt)
        except BaseException as error:
            leave(failed=isinstance(error, TransportError))
            raise
        leave(reply.status, reply.headers)
        self._stats.bytes_received += len(reply.body)
        if self._on_event is not None:
            self.emit(
                ResponseReceived(
                    request.method, str(request.url), attempt,
                    reply.status, loop.time() - started, len(reply.body),
                )
            )  # fmt: skip
        if reply.status == 429:  # noqa: PLR2004 - HTTP
            self._stats.throttled += 1
        if not (200 <= reply.status < 300 or reply.status in request.reads):  # noqa: PLR2004
            raise api_error(request, reply)
        if half := _HALF_DONE.get(reply.status):  # no success: whatever it says can't be relied on
            raise malformed(request, reply, half, "$")
        try:
            return read(reply)
        except MalformedDocumentError as error:
            unreadable = malformed(request, reply, error.reason, error.field)
        raise unreadable  # here, so that what the reader held does not hang on it

    def _not_sent(self, request: Request, wait: float) -> RateLimitError:
        return RateLimitError(
            f"{request.label} was not sent: there is room for it in the store's quota "
            f"in {wait:.1f} s, and max_wait is {self._quota.max_wait:g} s",
            status=429,
            title="the wait for quota is longer than max_wait",
            method=request.method,
            url=str(request.url),
            retry_after=wait,
        )

    def _note_wait(self, seconds: float, reason: str) -> None:
        """Count what a session waits, once however many of its requests do, and say so."""
        now = asyncio.get_running_loop().time()
        news = now + seconds - max(now, self._waits_until)
        if news <= 0:
            return
        self._stats.quota_seconds += news
        self._waits_until = now + seconds
        if news >= _WORTH_SAYING:
            opens = datetime.now().astimezone() + timedelta(seconds=seconds)
            _log.info("waiting %.1f s for quota, until %s: %s", seconds, f"{opens:%X}", reason)
            self.emit(QuotaWait(seconds, reason))
