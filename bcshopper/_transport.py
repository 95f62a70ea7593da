"""The only way to the network: gate, send, read, and again if need be."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, NoReturn, TypeAlias, TypeVar

import aiohttp
import attrs
from multidict import CIMultiDict

from bcshopper._convert import MalformedDocumentError
from bcshopper._problems import api_error, malformed
from bcshopper._quota import QuotaGate, QuotaPolicy
from bcshopper._requests import Reply, Request
from bcshopper._retry import RetryPolicy, may_repeat
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

GoingOut: TypeAlias = Callable[[BCShopperError | None], None]

MAX_BODY = 16 * 1024 * 1024
"""Bytes of a decoded body that are read; the largest documented answer has some 50,000."""

logging.getLogger("bcshopper").addHandler(logging.NullHandler())  # silent unless asked
_log = logging.getLogger("bcshopper.transport")
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_BLOCK = 64 * 1024


class Secret(str):
    """A string that shows in no `repr`, and so in no traceback with locals, and in no pickle."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError("the access token can't be pickled")

    def __repr__(self) -> str:
        return "'[secure]'"


@attrs.define
class SessionStats:
    """What a session has done so far.

    Attributes:
        requests: requests that went out, retries included.
        retries: how many of them repeated a failed one.
        throttled: answers with status 429.
        bytes_received: bytes of all decoded bodies.
        quota_seconds: seconds that requests were held back for quota, each pause counted once.
    """

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    bytes_received: int = 0
    quota_seconds: float = 0.0


class Transport:
    """Sends requests for one session: through one gate, with retries, until it is closed."""

    def __init__(
        self,
        token: Secret,
        *,
        http: aiohttp.ClientSession | None,
        concurrency: int,
        timeout: float,
        retry: RetryPolicy,
        quota: QuotaPolicy,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self.stats = SessionStats()
        self.gate = QuotaGate(self._note_pause)
        self.concurrency = concurrency
        self.closed = False
        self._http = http
        self._owns_http = http is None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(concurrency)
        self._timeout = timeout
        self._retry = retry
        self._quota = quota
        self._on_event = on_event
        self._tasks: set[asyncio.Task[Any]] = set()
        self._calls: set[asyncio.Timeout] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._headers = CIMultiDict(
            {
                "X-Auth-Token": token,
                "Accept": "application/json",
                "User-Agent": f"bcshopper/{__version__}",
            }
        )
        self._headers_with_body = self._headers.copy()
        self._headers_with_body["Content-Type"] = "application/json"

    async def send(
        self,
        request: Request,
        read: Callable[[Reply], T],
        going_out: GoingOut = lambda _: None,
    ) -> T:
        """Send a request, repeat it while that is safe and worth it, and read its answer.

        Args:
            request: what to send.
            read: makes the result of an answer; may raise `MalformedDocumentError`.
            going_out: called right before each attempt leaves, with what the one before it came
                to; what it raises stops the call.
        """
        if request.method == "DELETE" and not request.wipes and not request.names_ids:
            raise InvalidInputError(
                f"refused to send DELETE {request.url}: without ids it deletes every profile"
            )
        began, attempt = self._enter().time(), 0
        previous: BCShopperError | None = None
        async with self._until_closed() as loop:
            while True:
                attempt += 1
                self._refuse_long_wait(request)
                try:
                    return await self._attempt(
                        request, read, functools.partial(going_out, previous), attempt
                    )
                except (APIError, TransportError, ResponseFormatError) as error:
                    if not may_repeat(request.method, error):
                        raise
                    await self._back_off(request, error, attempt, loop.time() - began)
                    previous = error

    async def back_off(
        self, request: Request, error: BCShopperError, attempt: int, elapsed: float
    ) -> None:
        """Wait as long as the retry policy says, or raise `error` if it says to give up.

        For callers that repeat a request themselves, in their own way; `send` does it for others.
        """
        async with self._until_closed():
            await self._back_off(request, error, attempt, elapsed)

    async def _back_off(
        self, request: Request, error: BCShopperError, attempt: int, elapsed: float
    ) -> None:
        delay = self._retry.delay(error, method=request.method, attempt=attempt, elapsed=elapsed)
        if delay is None:
            raise error
        self.stats.retries += 1
        _log.warning(
            "attempt %d of %s failed, next in %.1f s: %s", attempt, request.label, delay, error,
        )  # fmt: skip
        self.emit(RetryScheduled(request.method, str(request.url), attempt, delay, str(error)))
        if isinstance(error, RateLimitError):
            self.gate.pause(delay)  # everyone waits, this request with them
        else:
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
        for call in self._calls:
            if not call.expired():
                call.reschedule(0.0)  # a moment long past: now
        await self._idle.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._owns_http and self._http is not None:
            await self._http.close()

    @contextlib.asynccontextmanager
    async def _until_closed(self) -> AsyncGenerator[asyncio.AbstractEventLoop]:
        """Turn the closing of the session into `SessionClosedError`, wherever the block waits."""
        loop = self._enter()
        call = asyncio.timeout(None)
        try:
            async with call:
                self._calls.add(call)
                self._idle.clear()
                try:
                    yield loop
                finally:
                    self._calls.discard(call)
                    if not self._calls:
                        self._idle.set()
        except TimeoutError:
            if call.expired():
                raise self._closed_error() from None
            raise

    def _enter(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self.closed or self._loop is not loop:
            raise self._closed_error()
        return loop

    def _closed_error(self) -> SessionClosedError:
        if self.closed:
            return SessionClosedError("the session is closed; open a new one")
        return SessionClosedError(
            "the session belongs to another event loop; open one inside each asyncio.run()"
        )

    async def _attempt(
        self,
        request: Request,
        read: Callable[[Reply], T],
        going_out: Callable[[], None],
        attempt: int,
    ) -> T:
        async with self._slots:
            await self.gate.wait()
            going_out()
            self.stats.requests += 1
            if self._on_event is not None:
                self.emit(RequestSent(request.method, str(request.url), attempt))
            started = asyncio.get_running_loop().time()
            reply = await self._exchange(request)
            seconds = asyncio.get_running_loop().time() - started
        self.gate.observe(reply.headers)
        self.stats.bytes_received += len(reply.body)
        if self._on_event is not None:
            self.emit(
                ResponseReceived(
                    request.method, str(request.url), attempt,
                    reply.status, seconds, len(reply.body),
                )
            )  # fmt: skip
        if reply.status == 429:  # noqa: PLR2004 - HTTP
            self.stats.throttled += 1
        if not (200 <= reply.status < 300 or reply.status in request.reads):  # noqa: PLR2004
            raise api_error(request, reply)
        try:
            return read(reply)
        except MalformedDocumentError as error:
            raise malformed(request, reply, error.reason, error.field) from None

    def _refuse_long_wait(self, request: Request) -> None:
        longest, wait = self._quota.max_wait, self.gate.wait_left
        if longest is not None and wait > longest:
            raise RateLimitError(
                f"{request.label} was not sent: the store's quota is spent for "
                f"{wait:.1f} s, and max_wait is {longest:g} s",
                status=429,
                title="the store's quota is spent",
                type=None,
                errors={},
                method=request.method,
                url=str(request.url),
                request_id=None,
                retry_after=wait,
                body="",
            )

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
                method=request.method, url=str(request.url), sent=False,
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

    def _note_pause(self, seconds: float) -> None:
        self.stats.quota_seconds += seconds
        self.emit(QuotaWait(seconds, "the API answered 429"))


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


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read a whole body, but never more than MAX_BODY, compressed bombs included."""
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
