"""One request over the wire, and its whole answer: the only file that knows aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import select
import socket
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from multidict import CIMultiDict

from bcshopper._secret import Mask, Secret
from bcshopper._transport.messages import Reply, Request
from bcshopper._transport.scopes import CancelScope
from bcshopper._version import __version__
from bcshopper.errors import RequestTimeoutError, SessionClosedError, TransportError

MAX_BODY = 16 * 1024 * 1024
"""Bytes of a decoded body that are read; the largest documented answer has some 50,000."""

# Of the timeout for all, so that one that ends in here is known to have sent nothing.
_CONNECTING = 0.99
_WORDS_KEPT = 500  # characters of what aiohttp says; it may quote a whole header
# Seconds; longer than all attempts of a request take, with look-ups and waits between them.
_DISTRUST = 600.0
_TURNS = 10  # of the event loop; it needs four to notice an end and close the socket
_CLOSED = -1  # what a closed socket has for a file descriptor
_on_new_connection = ContextVar("_on_new_connection", default=False)
_NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
)


class Wire:
    """Sends requests as they are, once each, through a connection pool of its own or a lent one.

    Args:
        token: the access token, sent with each request.
        http: the caller's aiohttp session, which is never closed; None: one of its own.
        connections: how many its own opens at most.
    """

    def __init__(
        self,
        token: Secret,
        *,
        http: aiohttp.ClientSession | None,
        connections: int,
    ) -> None:
        self._http = http
        self._connector: _Connector | None = None  # of an aiohttp session of its own
        self._owns_http = http is None
        self._connections = connections
        self._distrusts_until = -math.inf
        self._mask = Mask(token)
        self._headers = CIMultiDict(
            {
                "X-Auth-Token": token,
                "Accept": "application/json",
                "User-Agent": f"bcshopper/{__version__}",
            }
        )
        self._headers_with_body = self._headers.copy()
        self._headers_with_body["Content-Type"] = "application/json"

    async def exchange(self, request: Request, scope: CancelScope, *, attempt: int) -> Reply:
        """Send a request and read its answer, whatever its status.

        For a while after a request was lost, maybe because the server drops the connections that it
        has kept, what must not be lost again goes out on a new one: a repeat, and a POST, whose
        look-up leaves another such connection.

        Args:
            request: what to send.
            scope: not entered yet; what it and its whole answer may take.
            attempt: how often it was sent, this time included.

        Raises:
            TransportError: no whole answer came.
            SessionClosedError: the lent session is closed.
        """
        http = self._open_http()
        if http.closed:
            raise SessionClosedError("the aiohttp session that this session was lent is closed")
        now = asyncio.get_running_loop().time()
        is_precious = attempt > 1 or not request.repeatable
        _on_new_connection.set(is_precious and now < self._distrusts_until)
        try:
            with scope:
                return await self._ask(http, request, _connecting_within(scope.seconds))
        except Exception as error:  # noqa: BLE001
            # aiohttp lets OS, TLS, decompression and parser errors through: all of them are ours
            # to translate, and few of them tell whether the request took effect.
            failure = self._failure(request, error, scope.seconds)
        if failure.sent:
            self._distrusts_until = asyncio.get_running_loop().time() + _DISTRUST
        try:
            raise failure  # here, so that it does not drag aiohttp's frames along
        finally:
            del failure  # whose traceback leads here

    async def _ask(
        self, http: aiohttp.ClientSession, request: Request, timeout: aiohttp.ClientTimeout
    ) -> Reply:
        async with http.request(
            request.method,
            request.url,
            data=request.body,
            headers=self._headers if request.body is None else self._headers_with_body,
            allow_redirects=False,  # the token would travel along
            raise_for_status=False,  # whatever a lent session does
            timeout=timeout,
        ) as response:
            body = await _read_bounded(response)
            return Reply(response.status, response.reason or "", response.headers, body, self._mask)

    def _failure(self, request: Request, error: Exception, timeout: float) -> TransportError:
        """What any failure becomes: its cause keeps its type and its words, and nothing else."""
        if isinstance(error, _DroppedError):
            error = error.cause
        words = self._mask(str(error))[:_WORDS_KEPT]
        # A lent session may have lost a first connection, and failed to open a second.
        sent = not self._owns_http and request.method != "POST"
        cls = TransportError
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            cls, said = RequestTimeoutError, f"could not connect within {timeout:g} s"
        elif isinstance(error, _NEVER_SENT):
            said = f"could not connect: {words}"
        elif isinstance(error, TimeoutError):
            cls, sent = RequestTimeoutError, True
            said = f"had no whole answer within {timeout:g} s"
        else:
            sent, said = True, f"failed: {type(error).__name__}: {words}"
        failure = cls(
            f"{request.label} {said}", method=request.method, url=str(request.url), sent=sent
        )
        failure.__cause__ = _bare(error, words)
        return failure

    async def aclose(self) -> None:
        """Let go of the network; a lent session is its owner's."""
        if self._connector is not None and self._http is not None:
            try:
                await self._connector.cut()
            finally:
                await self._http.close()

    def _open_http(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._connector = _Connector(limit=self._connections)
            self._http = _over(self._connector)
        return self._http


@functools.lru_cache(maxsize=32)
def _connecting_within(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=_CONNECTING * seconds, ceil_threshold=math.inf)


def open_pool(connections: int) -> aiohttp.ClientSession:
    """What several sessions may be lent, with all that one of a session's own does."""
    return _over(_Connector(limit=connections))


def _over(connector: _Connector) -> aiohttp.ClientSession:
    jar = aiohttp.DummyCookieJar()
    return aiohttp.ClientSession(connector=connector, cookie_jar=jar, middlewares=(_ask_once,))


class _Connector(aiohttp.TCPConnector):
    """Lends out a kept connection only if nothing has come on it since its last answer.

    aiohttp would take what came unasked for the next answer, and notices an end only in time.
    """

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit)
        self._links: WeakKeyDictionary[asyncio.Transport, _Link] = WeakKeyDictionary()

    async def cut(self) -> None:
        """Close all connections now. Over TLS, a silent server would keep them for 30 s."""
        sockets = [link.socket for link in self._links.values() if link.socket is not None]
        for transport in list(self._links):
            # On Python 3.11.2, asyncio's TLS fails on a connection that has ended already.
            with contextlib.suppress(AttributeError):
                transport.abort()
        await asyncio.sleep(0)
        # What aiohttp can't parse it closes twice, and asyncio has no hold on it any more.
        for one in sockets:
            with contextlib.suppress(OSError, TypeError):  # closed already; uvloop has none
                one.shutdown(socket.SHUT_RDWR)
        for _ in range(_TURNS):
            if all(one.fileno() == _CLOSED for one in sockets):
                return
            await asyncio.sleep(0)

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Get a connection; see the base class."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None:
                return connection  # lost this moment: sending says so
            link = self._links.get(transport)
            if link is None:
                self._links[transport] = _Link(transport.get_extra_info("socket"))
                return connection
            is_quiet = not (protocol.should_close or link.has_news())
            if is_quiet and not _on_new_connection.get():
                return connection
            connection.close()


class _Link:
    """The socket below a connection, looked at past asyncio.

    Attributes:
        socket: the socket; None where the event loop shows none.
    """

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self._poll = None
        if socket is not None and hasattr(select, "poll"):  # Windows has none
            self._poll = select.poll()
            self._poll.register(socket, select.POLLIN)

    def has_news(self) -> bool:
        """Whether bytes have come that asyncio has not read yet, or the end of the connection."""
        return self._poll is not None and bool(self._poll.poll(0))


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


def _bare(error: Exception, words: str) -> Exception:
    """An error of the same type that holds its words alone: no frames, no headers."""
    kind = type(error)
    bare: type[Exception] = type(
        kind.__name__,
        (kind,),
        {
            "__module__": kind.__module__,
            "__str__": lambda _: words,
            "__repr__": lambda _: f"{kind.__name__}({words!r})",
        },
    )
    return bare.__new__(bare)  # its own __init__ wants what it would keep


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
            raise aiohttp.ClientPayloadError(f"the answer has more than {MAX_BODY:,} bytes")
        blocks.append(block)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)
