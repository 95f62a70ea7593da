"""The only way to the network: the gate, one attempt, and again if need be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

import attrs

from bcshopper._quota import QuotaGate, QuotaPolicy, QuotaSnapshot, shared_gate
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


@attrs.define
class SessionStats:
    """What a session has done so far.

    Attributes:
        requests: requests that went out, retries included.
        retries: how many of them repeated a failed one.
        throttled: answers with status 429.
        bytes_received: bytes of all decoded bodies.
        quota_seconds: seconds during which a request was held back for quota.
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
        self._waits_until = 0.0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._scopes: set[asyncio.Timeout] = set()
        self._scope_ended = asyncio.Event()

    @property
    def stats(self) -> SessionStats:
        """What the session has done so far: a copy, which does not change."""
        sent = 0 if self._gate is None else self._gate.state.sent
        return attrs.evolve(self._stats, window_requests=sent)

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
        return await self._until_closed(self._send(gate, request, read, watch))

    async def _send(
        self, gate: QuotaGate, request: Request, read: Callable[[Reply], T], watch: Watch
    ) -> T:
        loop = asyncio.get_running_loop()
        began, attempt = loop.time(), 0
        while True:
            attempt += 1
            async with self._slots:
                if self._quota.max_wait is not None:
                    await self._refuse_long_wait(gate, request, self._quota.max_wait)
                try:
                    return await self._attempt(gate, request, read, watch, attempt)
                except (APIError, TransportError, ResponseFormatError) as caught:
                    error = caught
            watch.failed(error)
            may_repeat = request.repeatable or effect_of(error) is Effect.NONE
            elapsed = loop.time() - began
            if not (may_repeat and await self._back_off(request, error, attempt, elapsed)):
                raise error

    async def back_off(
        self, request: Request, error: BCShopperError, attempt: int, elapsed: float
    ) -> bool:
        """Wait before another try, as long as the retry policy says.

        For callers that repeat a request themselves, in their own way; `send` does it for others.

        Returns:
            False if the policy says to give up.
        """
        self._enter()
        return await self._until_closed(self._back_off(request, error, attempt, elapsed))

    async def _back_off(
        self, request: Request, error: BCShopperError, attempt: int, elapsed: float
    ) -> bool:
        delay = self._retry.delay(error, method=request.method, attempt=attempt, elapsed=elapsed)
        if delay is None:
            return False
        self._stats.retries += 1
        _log.warning(
            "attempt %d of %s failed, next in %.1f s: %s", attempt, request.label, delay, error,
        )  # fmt: skip
        self.emit(RetryScheduled(request.method, str(request.url), attempt, delay, str(error)))
        if not isinstance(error, RateLimitError):  # for those the gate makes everyone wait
            await asyncio.sleep(delay)
        return True

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
        gate: QuotaGate,
        request: Request,
        read: Callable[[Reply], T],
        watch: Watch,
        attempt: int,
    ) -> T:
        loop = asyncio.get_running_loop()
        await gate.admit(self._quota, self._note_wait)
        try:
            watch.going_out()
            self._stats.requests += 1
            if self._on_event is not None:
                self.emit(RequestSent(request.method, str(request.url), attempt))
            started = loop.time()
            reply = await self._wire.exchange(request, attempt=attempt)
        except BaseException:
            gate.leave()
            raise
        gate.leave(reply.status, reply.headers)
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
        try:
            return read(reply)
        except MalformedDocumentError as error:
            unreadable = malformed(request, reply, error.reason, error.field)
        raise unreadable  # here, so that what the reader held does not hang on it

    async def _refuse_long_wait(self, gate: QuotaGate, request: Request, longest: float) -> None:
        wait = await gate.wait_for(self._quota)
        if wait > longest:
            raise RateLimitError(
                f"{request.label} was not sent: there is room for it in the store's quota "
                f"in {wait:.1f} s, and max_wait is {longest:g} s",
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
