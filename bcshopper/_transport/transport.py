"""The only way to the network: the gate, one attempt, and again if need be."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import attrs

from bcshopper._quota import QuotaGate, QuotaPolicy, QuotaSnapshot, WaitTooLongError
from bcshopper._transport.convert import MalformedDocumentError
from bcshopper._transport.http import Wire
from bcshopper._transport.lifetime import Lifetime
from bcshopper._transport.messages import UNWATCHED, Reply, Request, Watch
from bcshopper._transport.problems import api_error, malformed
from bcshopper._transport.retry import Effect, RetryPolicy, effect_of, tells_of_trouble
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
from bcshopper.events import (
    Event,
    QuotaWait,
    RequestFailed,
    RequestGivenUp,
    RequestSent,
    ResponseReceived,
    RetryScheduled,
)

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
        self._on_event = on_event
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
        return self._on_event is not None

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
        gate = self.life.enter()
        try:
            return await self.life.until_closed(self._send(gate, request, read, watch))
        except WaitTooLongError as refused:
            raise self._not_sent(request, refused.seconds) from None

    async def _send(
        self, gate: QuotaGate, request: Request, read: Callable[[Reply], T], watch: Watch
    ) -> T:
        loop, retry, quota = asyncio.get_running_loop(), self.options.retry, self.options.quota
        attempt, began = 0, 0.0
        error: BCShopperError | None = None
        until: float | None = None  # when another try may go out at the latest
        try:
            while True:
                attempt += 1
                waiting = asyncio.timeout_at(until)
                try:
                    async with waiting, self._slots:
                        admitted_at = await self._admit(gate)
                        waiting.reschedule(None)
                        if attempt == 1:
                            began = admitted_at
                        longest = retry.max_retry_after
                        leave = partial(gate.leave, admitted_at, max_retry_after=longest)
                        return await self._attempt(leave, request, read, watch, attempt)
                except (APIError, TransportError, ResponseFormatError) as caught:
                    error = caught
                except (WaitTooLongError, TimeoutError) as late:
                    if error is None or not (
                        isinstance(late, WaitTooLongError) or waiting.expired()
                    ):
                        raise
                    raise error from error.__cause__  # it was sent, and that is what it came to
                watch.failed(error)
                may_repeat = request.repeatable or effect_of(error) is Effect.NONE
                elapsed = loop.time() - began
                delay = (
                    self._schedule(gate, request, error, attempt, elapsed) if may_repeat else None
                )
                if delay is None:
                    raise error
                if delay > gate.wait_for(quota):  # else the gate makes it wait, in its place
                    await asyncio.sleep(delay)
                if retry.max_elapsed is not None:
                    until = began + retry.max_elapsed
        finally:
            error = None  # whose traceback leads here

    async def _admit(self, gate: QuotaGate) -> float:
        tally = self._tally
        tally.at_gate += 1
        try:
            return await gate.admit(self.options.quota, self._note_wait)
        finally:
            tally.at_gate -= 1
            if not tally.at_gate:
                tally.all_are_through(asyncio.get_running_loop().time())

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
        await self.life.until_closed(asyncio.sleep(delay))
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
        if self.is_watched:
            about = self._about(request, attempt)
            self.emit(RetryScheduled(*about, delay, str(error), type(error).__name__))
        return delay

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

    async def _attempt(
        self,
        leave: Callable[..., None],
        request: Request,
        read: Callable[[Reply], T],
        watch: Watch,
        attempt: int,
    ) -> T:
        loop = asyncio.get_running_loop()
        started = None
        try:
            watch.going_out()
            self._tally.stats.requests += 1
            if self.is_watched:
                self.emit(RequestSent(*self._about(request, attempt)))
            started = loop.time()
            reply = await self._wire.exchange(request, self.options.timeout, attempt=attempt)
        except BaseException as error:
            leave(failed=self._tells_of_trouble(error))
            if started is not None:
                self._tell_failure(request, attempt, loop.time() - started, error)
            raise
        seconds = loop.time() - started
        self._tally.stats.bytes_received += len(reply.body)
        if reply.status == 429:  # noqa: PLR2004 - HTTP
            self._tally.stats.throttled += 1
        failure: Exception | None = None
        try:
            return _accept(request, reply, read)
        except Exception as error:
            failure = error
            raise
        finally:
            # What is in flight holds back others, so this comes before anybody is told.
            is_trouble = failure is not None and self._tells_of_trouble(failure)
            leave(reply.status, reply.headers, failed=is_trouble)
            if isinstance(failure, ResponseFormatError):
                self._tell_failure(request, attempt, seconds, failure)
            else:
                self._tell_answer(request, attempt, seconds, reply)
            failure = None  # whose traceback leads here

    def _tells_of_trouble(self, error: BaseException) -> bool:
        """Whether it counts for all calls to the store, and not only for one in a hurry."""
        in_a_hurry = isinstance(error, RequestTimeoutError) and self.options.timeout < _IN_A_HURRY
        return tells_of_trouble(error) and not in_a_hurry

    def _about(self, request: Request, attempt: int) -> tuple[str, str, int, str, str]:
        return request.method, str(request.url), attempt, request.route, self.store

    def _tell_answer(self, request: Request, attempt: int, seconds: float, reply: Reply) -> None:
        if not self.is_watched:
            return
        quota = self.quota
        left, limit = (None, None) if quota is None else (quota.remaining, quota.limit)
        about = self._about(request, attempt)
        self.emit(ResponseReceived(*about, reply.status, seconds, len(reply.body), left, limit))

    def _tell_failure(
        self, request: Request, attempt: int, seconds: float, error: BaseException
    ) -> None:
        if not self.is_watched:
            return
        about = self._about(request, attempt)
        if not isinstance(error, BCShopperError):
            self.emit(RequestGivenUp(*about, seconds))
            return
        status = error.status if isinstance(error, ResponseFormatError) else None
        sent = error.sent if isinstance(error, TransportError) else status is not None
        self.emit(RequestFailed(*about, type(error).__name__, status, sent, seconds))

    def _not_sent(self, request: Request, wait: float) -> RateLimitError:
        return RateLimitError(
            f"{request.label} was not sent: there is room for it in the store's quota "
            f"in {wait:.1f} s, and max_wait is {self.options.quota.max_wait:g} s",
            status=429,
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
            self.emit(QuotaWait(seconds, reason, news, self.store))


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
