"""The only way to the network: gate, send, read, and again if need be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

import aiohttp
import attrs
from multidict import CIMultiDict

from bcshopper._quota.gate import QuotaGate
from bcshopper._quota.headers import QuotaSnapshot
from bcshopper._quota.policy import QuotaPolicy
from bcshopper._quota.registry import shared_gate
from bcshopper._secret import Secret
from bcshopper._transport.convert import MalformedDocumentError
from bcshopper._transport.messages import Reply, Request
from bcshopper._transport.problems import api_error, malformed
from bcshopper._transport.retry import RetryPolicy, may_repeat
from bcshopper._version import __version__
from bcshopper.errors import (
    APIError,
    BCShopperError,
    InvalidInputError,
    RateLimitError,
    RequestTimeoutError,
    ResponseFormatError,
    SessionClosedError,
    TransportError,
)
from bcshopper.events import Event, QuotaWait, RequestSent, ResponseReceived, RetryScheduled

T = TypeVar("T")


@attrs.frozen
class Watch:
    """Told of each attempt of one call.

    Attributes:
        going_out: right before it leaves; what this raises stops the call.
        failed: as soon as it has failed, before anything is waited for.
    """

    going_out: Callable[[], None] = lambda: None
    failed: Callable[[BCShopperError], None] = lambda _: None


UNWATCHED = Watch()

MAX_BODY = 16 * 1024 * 1024
"""Bytes of a decoded body that are read; the largest documented answer has some 50,000."""

logging.getLogger("bcshopper").addHandler(logging.NullHandler())  # silent unless asked
_log = logging.getLogger("bcshopper.transport")
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_WORTH_SAYING = 1.0
_LARGE_BLOCK = 1024 * 1024
_GOOD = frozenset({200, 201, 204})


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
    """Sends requests for one session: through one gate, with retries, until it is closed."""

    def __init__(
        self,
        token: Secret,
        *,
        store: tuple[str, str],
        http: aiohttp.ClientSession | None,
        concurrency: int,
        timeout: float,
        retry: RetryPolicy,
        quota: QuotaPolicy,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self._stats = SessionStats()
        self.concurrency = concurrency
        self.closed = False
        self._http = http
        self._owns_http = http is None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._store = store
        self._shared_gate: QuotaGate | None = None
        self._waits_until = 0.0
        self._slots = asyncio.Semaphore(concurrency)
        self._timeout = timeout
        self._retry = retry
        self._quota = quota
        self._on_event = on_event
        self._tasks: set[asyncio.Task[Any]] = set()
        self.calls: set[_Call] = set()
        self._headers = CIMultiDict(
            {
                "X-Auth-Token": token,
                "Accept": "application/json",
                "User-Agent": f"bcshopper/{__version__}",
            }
        )
        self._headers_with_body = self._headers.copy()
        self._headers_with_body["Content-Type"] = "application/json"

    @property
    def stats(self) -> SessionStats:
        """What the session has done so far: a copy, which does not change."""
        sent = 0 if self._shared_gate is None else self._shared_gate.state.sent
        return attrs.evolve(self._stats, window_requests=sent)

    @property
    def quota(self) -> QuotaSnapshot | None:
        """The store's quota as the newest answer gave it; None if none has."""
        return None if self._shared_gate is None else self._shared_gate.state.snapshot

    @property
    def _gate(self) -> QuotaGate:
        if self._shared_gate is None:
            raise self.closed_error()  # not to be seen: every call enters first
        return self._shared_gate

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
                f"refused to send DELETE {request.url}: without ids it deletes every profile"
            )
        loop = self._enter()
        with _Call(self):
            began, attempt = loop.time(), 0
            while True:
                attempt += 1
                async with self._slots:
                    if self._quota.max_wait is not None:
                        await self._refuse_long_wait(request, self._quota.max_wait)
                    try:
                        return await self._attempt(request, read, watch, attempt)
                    except (APIError, TransportError, ResponseFormatError) as caught:
                        error = caught
                watch.failed(error)
                if not may_repeat(request.method, error):
                    raise error
                await self._back_off(request, error, attempt, loop.time() - began)

    async def back_off(
        self, request: Request, error: BCShopperError, attempt: int, elapsed: float
    ) -> None:
        """Wait as long as the retry policy says, or raise `error` if it says to give up.

        For callers that repeat a request themselves, in their own way; `send` does it for others.
        """
        self._enter()
        with _Call(self):
            await self._back_off(request, error, attempt, elapsed)

    async def _back_off(
        self, request: Request, error: BCShopperError, attempt: int, elapsed: float
    ) -> None:
        delay = self._retry.delay(error, method=request.method, attempt=attempt, elapsed=elapsed)
        if delay is None:
            raise error
        self._stats.retries += 1
        _log.warning(
            "attempt %d of %s failed, next in %.1f s: %s", attempt, request.label, delay, error,
        )  # fmt: skip
        self.emit(RetryScheduled(request.method, str(request.url), attempt, delay, str(error)))
        if not isinstance(error, RateLimitError):  # for those the gate makes everyone wait
            await asyncio.sleep(delay)

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
        except Exception:  # noqa: BLE001 - it may be any, and is logged
            _log.exception("on_event raised for %r", event)

    async def aclose(self) -> None:
        """Give up what is in flight or waiting, wait for it to end, and let go of the network."""
        self.closed = True
        for call in self.calls:
            call.abort()
        try:
            await asyncio.gather(*(call.ended() for call in self.calls))
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            try:
                if self._shared_gate is not None:
                    await self._shared_gate.release(self)
            finally:
                if self._owns_http and self._http is not None:
                    await self._http.close()

    def _enter(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is None and not self.closed:
            _keep_heap()
            self._loop = loop
            self._shared_gate = shared_gate(*self._store, self._quota)
            self._shared_gate.join(self)
        if self.closed or self._loop is not loop:
            raise self.closed_error()
        return loop

    def closed_error(self) -> SessionClosedError:
        if self.closed:
            return SessionClosedError("the session is closed; open a new one")
        return SessionClosedError(
            "the session belongs to another event loop; open one inside each asyncio.run()"
        )

    async def _attempt(
        self, request: Request, read: Callable[[Reply], T], watch: Watch, attempt: int
    ) -> T:
        gate, loop = self._gate, asyncio.get_running_loop()
        await gate.admit(self._quota, self._note_wait)
        try:
            watch.going_out()
            self._stats.requests += 1
            if self._on_event is not None:
                self.emit(RequestSent(request.method, str(request.url), attempt))
            started = loop.time()
            reply = await self._exchange(request)
        except BaseException:
            gate.leave()
            raise
        gate.leave(reply.status, reply.headers)
        if reply.status not in _GOOD or request.method == "POST":  # which may quote, beside data
            reply = self._without_token(reply)
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
        except MalformedDocumentError:
            reply = self._without_token(reply)
        try:
            return read(reply)  # once more: what is wrong may be quoted, and hold the token
        except MalformedDocumentError as error:
            raise malformed(request, reply, error.reason, error.field) from None

    async def _refuse_long_wait(self, request: Request, longest: float) -> None:
        wait = await self._gate.wait_for(self._quota)
        if wait > longest:
            raise RateLimitError(
                f"{request.label} was not sent: there is room for it in the store's quota "
                f"in {wait:.1f} s, and max_wait is {longest:g} s",
                status=429,
                title="the wait for quota is longer than max_wait",
                type=None,
                errors={},
                method=request.method,
                url=str(request.url),
                request_id=None,
                retry_after=wait,
                body="",
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

    async def _exchange(self, request: Request) -> Reply:
        http = self._open_http()
        if http.closed:
            raise SessionClosedError("the aiohttp session that this session was lent is closed")
        headers = self._headers if request.body is None else self._headers_with_body
        try:
            async with (
                asyncio.timeout(self._timeout),
                http.request(
                    request.method,
                    request.url,
                    data=request.body,
                    headers=headers,
                    allow_redirects=False,  # the token would travel along
                    raise_for_status=False,  # whatever a lent session does
                    timeout=_NO_TIMEOUT,
                ) as response,
            ):
                body = await _read_bounded(response)
                return Reply(response.status, response.reason or "", response.headers, body)
        except TimeoutError as error:
            raise RequestTimeoutError(
                f"{request.label} had no whole answer within {self._timeout:g} s",
                method=request.method, url=str(request.url), sent=True,
            ) from error  # fmt: skip
        except aiohttp.ClientConnectorError as error:
            raise TransportError(
                f"{request.label} could not connect: {error}",
                method=request.method,
                url=str(request.url),
                # A lent session may have lost a first connection, and failed to open a second.
                sent=not self._owns_http and request.method != "POST",
            ) from error  # fmt: skip
        except TransportError:
            raise
        except Exception as caught:  # noqa: BLE001
            # aiohttp lets OS, TLS, decompression and parser errors through: all of them are ours
            # to translate, and none of them tells whether the request took effect.
            cause = caught.cause if isinstance(caught, _DroppedError) else caught
            raise TransportError(
                f"{request.label} failed: {type(cause).__name__}: {cause}",
                method=request.method, url=str(request.url), sent=True,
            ) from cause  # fmt: skip

    def _open_http(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self.concurrency),
                cookie_jar=aiohttp.DummyCookieJar(),
                middlewares=(_ask_once,),
            )
        return self._http

    def _without_token(self, reply: Reply) -> Reply:
        """The answer for an error, in which a server that echoes what it got shows no token."""
        token = self._headers["X-Auth-Token"]

        def clean(text: str) -> str:
            # aiohttp makes surrogates of what is no UTF-8, which no terminal can print
            return text.encode(errors="replace").decode().replace(token, "[secure]")

        return Reply(
            reply.status,
            clean(reply.reason),
            CIMultiDict((name, clean(value)) for name, value in reply.headers.items()),
            reply.body.replace(token.encode(), b"[secure]"),
        )


class _Call:
    """A block that closing the session ends with `SessionClosedError`, wherever it waits.

    It cancels as `asyncio.timeout` does, but needs no timer.
    """

    __slots__ = ("_cancelling", "_ended", "_task", "_transport")

    def __init__(self, transport: Transport) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - coroutines of asyncio run in tasks
        self._transport = transport
        self._task = task
        self._cancelling = task.cancelling()
        self._ended: asyncio.Event | None = None

    def __enter__(self) -> None:
        self._transport.calls.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: object
    ) -> None:
        self._transport.calls.discard(self)
        if self._ended is None:
            return
        self._ended.set()
        ours_alone = self._task.uncancel() <= self._cancelling
        if ours_alone and isinstance(error, asyncio.CancelledError):
            raise self._transport.closed_error() from None

    def abort(self) -> None:
        """End the block."""
        if self._ended is None:
            self._ended = asyncio.Event()
            self._task.cancel()

    async def ended(self) -> None:
        """Wait until it has, once it was told to."""
        if self._ended is not None:
            await self._ended.wait()


class _DroppedError(Exception):
    """A dropped connection, hidden from aiohttp."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


async def _ask_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET or DELETE by itself, past the gate and uncounted."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _DroppedError(error) from None


def _keep_heap() -> None:
    """Have glibc keep what is freed for the next answer.

    asyncio receives into blocks of 256 KiB. Until a larger one was freed, glibc maps each of them
    anew, and every page of it faults: a tenth of all time when listing. Elsewhere it does nothing.
    """
    bytes(_LARGE_BLOCK)


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read a whole body, but never more than MAX_BODY, compressed bombs included."""
    length = response.content_length
    if length is not None and length <= MAX_BODY and "Content-Encoding" not in response.headers:
        return await response.read()
    blocks: list[bytes] = []
    size = 0
    async for block in response.content.iter_any():
        size += len(block)
        if size > MAX_BODY:
            response.close()
            raise TransportError(
                f"{response.method} {response.url} answered with more than {MAX_BODY:,} bytes",
                method=response.method,
                url=str(response.url),
                sent=True,
            )
        blocks.append(block)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)
