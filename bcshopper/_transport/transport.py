"""The only way to the network: the gate, one attempt, and again if need be."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from bcshopper._quota import TOO_MANY, QuotaGate, QuotaPolicy, QuotaSnapshot, WaitTooLongError
from bcshopper._transport.http import Wire
from bcshopper._transport.lifetime import Lifetime
from bcshopper._transport.messages import UNWATCHED, MalformedDocumentError, Reply, Request, Watch
from bcshopper._transport.problems import api_error, malformed
from bcshopper._transport.retry import Effect, RetryPolicy, effect_of, tells_of_trouble
from bcshopper._transport.scopes import CancelScope
from bcshopper._transport.stats import SessionStats, Tally
from bcshopper.errors import (
    APIError,
    BCShopperError,
    InvalidInputError,
    RateLimitError,
    RequestTimeoutError,
    ResponseFormatError,
    TransportError,
)

if TYPE_CHECKING:
    from bcshopper.events import Event

T = TypeVar("T")

logging.getLogger("bcshopper").addHandler(logging.NullHandler())  # silent unless asked
_log = logging.getLogger("bcshopper.transport")
_WORTH_SAYING = 1.0  # seconds of waiting for quota; shorter ones would fill the log
_IN_A_HURRY = 5.0
"""Seconds; a timeout that is shorter says more of the caller than of the API."""
_HALF_DONE = {202: "it is accepted, and not done yet", 206: "it is not whole"}


@attrs.frozen
class Options:
    """How much patience calls have.

    Attributes:
        retry: when to try again.
        quota: how to treat the store's quota.
        timeout: seconds for one attempt.
    """

    retry: RetryPolicy
    quota: QuotaPolicy
    timeout: float


@attrs.define(eq=False)
class _Call(Generic[T]):
    """A request, and how far it has come.

    Attributes:
        request: what to send.
        read: makes the result of an answer.
        watch: told of each attempt.
        attempt: how often it was sent.
        began: when it went out first.
        admitted_at: when it was let through last.
        error: what the last attempt came to.
    """

    request: Request
    read: Callable[[Reply], T]
    watch: Watch
    attempt: int = 0
    began: float = 0.0
    admitted_at: float = 0.0
    error: BCShopperError | None = None


class Transport:
    """Sends requests for one session: through one gate, with retries, until it is closed.

    Args:
        wire: carries one request, and its answer.
        store: base URL and store hash, by which sessions share a gate.
        concurrency: requests in flight at most.
        options: how much patience it has.
        on_event: told of each event.

    Attributes:
        store: the store hash.
        concurrency: requests in flight at most.
        life: what ends with the session.
        options: how much patience it has.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        store: tuple[str, str],
        concurrency: int,
        options: Options,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self.store = store[1]
        self.concurrency = concurrency
        self.life = Lifetime(wire, store, options.quota)
        self._wire = wire
        self._slots = asyncio.Semaphore(concurrency)
        self.options = options
        self._reporter = None
        if on_event is not None:
            from bcshopper._transport.reporter import Reporter  # noqa: PLC0415 - for those who use it

            self._reporter = Reporter(on_event, self.store)
        self._tally = Tally()

    def with_options(self, options: Options) -> Transport:
        """The same lifetime, gate, slots and counts, with other patience."""
        other = copy.copy(self)
        other.options = options
        return other

    @property
    def stats(self) -> SessionStats:
        """What the session has done so far: a copy, which does not change."""
        loop, gate = self.life.loop, self.life.gate
        if loop is None or gate is None:
            return SessionStats()
        return self._tally.so_far(loop.time(), gate.state.sent)

    @property
    def is_watched(self) -> bool:
        """Whether anybody is told of events."""
        return self._reporter is not None

    def shows_api_down(self, error: BCShopperError) -> bool:
        """Whether this is one more failure of an API of which nothing has succeeded for a while."""
        gate, now = self.life.gate, asyncio.get_running_loop().time()
        is_down = gate is not None and gate.budget.is_down(now, self.options.retry.budget)
        return is_down and self._tells_of_trouble(error)

    @property
    def quota(self) -> QuotaSnapshot | None:
        """The store's quota as the newest answer gave it; None if none has."""
        return None if self.life.gate is None else self.life.gate.state.snapshot

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
        call = _Call(request, read, watch)
        gate, scope = self.life.enter(), CancelScope(self.life.scopes)
        try:
            with scope:
                while True:
                    try:
                        return await self._attempt(gate, call, scope)
                    except (APIError, TransportError, ResponseFormatError) as error:
                        delay = self._delay_after(gate, call, error)
                        if delay is None:
                            raise
                        call.error = error
                    if delay > gate.wait_for(self.options.quota):  # else the gate makes it wait
                        await asyncio.sleep(delay)
                    if self.options.retry.max_elapsed is not None:
                        scope.end_at(call.began + self.options.retry.max_elapsed)
        except (WaitTooLongError, TimeoutError) as late:
            was_late = scope.expired or isinstance(late, WaitTooLongError)
            if call.error is not None and was_late:  # it was sent, and that is what it came to
                raise call.error from call.error.__cause__
            if isinstance(late, WaitTooLongError):
                raise self._not_sent(request, late.seconds) from None
            raise
        finally:
            call.error = None  # whose traceback leads here

    def _delay_after(
        self, gate: QuotaGate, call: _Call[Any], error: BCShopperError
    ) -> float | None:
        """Seconds until another try after this failure; None to give up."""
        call.watch.failed(error)
        if not (call.request.repeatable or effect_of(error) is Effect.NONE):
            return None
        elapsed = asyncio.get_running_loop().time() - call.began
        return self._schedule(gate, call.request, error, call.attempt, elapsed)

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
        delay = self._schedule(self.life.enter(), request, error, attempt, elapsed)
        if delay is None:
            return False
        with CancelScope(self.life.scopes):
            await asyncio.sleep(delay)
        return True

    def _schedule(
        self, gate: QuotaGate, request: Request, error: BCShopperError, attempt: int, elapsed: float
    ) -> float | None:
        """Seconds until another try; None to give up."""
        held = gate.wait_for(self.options.quota)
        if self.options.quota.max_wait is not None and held > self.options.quota.max_wait:
            return None
        delay = self.options.retry.delay(
            error, method=request.method, attempt=attempt, elapsed=elapsed, held=held
        )
        if delay is None:
            return None
        if self._tells_of_trouble(error) and not gate.budget.draw(self.options.retry.budget):
            return None
        self._tally.stats.retries += 1
        _log.warning(
            "attempt %d of %s failed, next in %.1f s: %s", attempt, request.label, delay, error,
            extra={
                "store": self.store, "route": request.route, "attempt": attempt, "delay": delay,
            },
        )  # fmt: skip
        if self._reporter is not None:
            self._reporter.retrying(request, attempt, delay, error)
        return delay

    def emit(self, event: Event) -> None:
        """Tell the session's `on_event`, whose own failures harm nobody else."""
        if self._reporter is not None:
            self._reporter.emit(event)

    async def _attempt(self, gate: QuotaGate, call: _Call[T], scope: CancelScope) -> T:
        """Wait for a turn, send the request once, and read its answer."""
        loop, stats = asyncio.get_running_loop(), self._tally.stats
        call.attempt += 1
        async with self._slots:
            admitted_at = gate.admit_now(self.options.quota)
            call.admitted_at = await self._wait_at(gate) if admitted_at is None else admitted_at
            scope.lift()
            if call.attempt == 1:
                call.began = call.admitted_at
            started = None
            try:
                call.watch.going_out()
                stats.requests += 1
                if self._reporter is not None:
                    self._reporter.sent(call.request, call.attempt)
                started = loop.time()
                reply = await self._wire.exchange(
                    call.request,
                    CancelScope(self.life.scopes, self.options.timeout),
                    attempt=call.attempt,
                )
            except BaseException as error:
                gate.leave(call.admitted_at, failed=self._tells_of_trouble(error))
                if started is not None and self._reporter is not None:
                    seconds = loop.time() - started
                    self._reporter.failed(call.request, call.attempt, seconds, error)
                raise
            seconds = loop.time() - started
            stats.bytes_received += len(reply.body)
            if reply.status == TOO_MANY:
                stats.throttled += 1
            return self._read(gate, call, reply, seconds)

    async def _wait_at(self, gate: QuotaGate) -> float:
        """Wait until the gate lets a request through, and be counted meanwhile."""
        tally = self._tally
        tally.at_gate += 1
        try:
            return await gate.admit(self.options.quota, self._note_wait)
        finally:
            tally.at_gate -= 1
            if not tally.at_gate:
                tally.all_are_through(asyncio.get_running_loop().time())

    def _read(self, gate: QuotaGate, call: _Call[T], reply: Reply, seconds: float) -> T:
        """Make the result of an answer, and tell gate and events what it was."""
        failure: Exception | None = None
        try:
            return _accept(call.request, reply, call.read)
        except Exception as error:
            failure = error
            raise
        finally:
            # What is in flight holds back others, so this comes before anybody is told.
            gate.leave(
                call.admitted_at,
                reply.status,
                reply.headers,
                max_retry_after=self.options.retry.max_retry_after,
                failed=failure is not None and self._tells_of_trouble(failure),
            )
            if self._reporter is None:
                pass
            elif isinstance(failure, ResponseFormatError):
                self._reporter.failed(call.request, call.attempt, seconds, failure)
            else:
                self._reporter.answered(call.request, call.attempt, seconds, reply, self.quota)
            failure = None  # whose traceback leads here

    def _tells_of_trouble(self, error: BaseException) -> bool:
        """Whether it counts for all calls to the store, and not only for one in a hurry."""
        in_a_hurry = isinstance(error, RequestTimeoutError) and self.options.timeout < _IN_A_HURRY
        return tells_of_trouble(error) and not in_a_hurry

    def _not_sent(self, request: Request, wait: float) -> RateLimitError:
        return RateLimitError(
            f"{request.label} was not sent: there is room for it in the store's quota "
            f"in {wait:.1f} s, and max_wait is {self.options.quota.max_wait:g} s",
            status=TOO_MANY,
            title="the wait for quota is longer than max_wait",
            method=request.method,
            url=str(request.url),
            retry_after=wait,
        )

    def _note_wait(self, seconds: float, reason: str) -> None:
        """Count what a session waits, once however many of its requests do, and say so."""
        now = asyncio.get_running_loop().time()
        news = self._tally.wait(now, seconds)
        if news >= _WORTH_SAYING:
            opens = datetime.now().astimezone() + timedelta(seconds=seconds)
            _log.info(
                "waiting %.1f s for quota, until %s: %s", seconds, f"{opens:%X}", reason,
                extra={"store": self.store, "delay": seconds},
            )  # fmt: skip
            if self._reporter is not None:
                self._reporter.waiting(seconds, reason, news)


def _accept(request: Request, reply: Reply, read: Callable[[Reply], T]) -> T:
    """Read an answer that can be believed."""
    if not (200 <= reply.status < 300 or reply.status in request.reads):  # noqa: PLR2004 - HTTP
        raise api_error(request, reply)
    if half := _HALF_DONE.get(reply.status):  # no success: whatever it says can't be relied on
        raise malformed(request, reply, half, "$")
    try:
        return read(reply)
    except MalformedDocumentError as error:
        unreadable = malformed(request, reply, error.reason, error.field)
    try:
        raise unreadable  # here, so that what the reader held does not hang on it
    finally:
        del unreadable  # whose traceback leads here
