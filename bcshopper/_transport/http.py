"""One request over the wire, and its whole answer: the only file that knows aiohttp."""

from __future__ import annotations

import asyncio

import aiohttp
from multidict import CIMultiDict

from bcshopper._secret import Secret
from bcshopper._transport.messages import Reply, Request
from bcshopper._version import __version__
from bcshopper.errors import RequestTimeoutError, SessionClosedError, TransportError

MAX_BODY = 16 * 1024 * 1024
"""Bytes of a decoded body that are read; the largest documented answer has some 50,000."""

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_LARGE_BLOCK = 1024 * 1024


class Wire:
    """Sends requests as they are, once each, through a connection pool of its own or a lent one.

    Args:
        token: the access token, sent with each request.
        http: the caller's aiohttp session, which is never closed; None: one of its own.
        connections: how many its own opens at most.
        timeout: seconds for one request and its whole answer.
    """

    def __init__(
        self,
        token: Secret,
        *,
        http: aiohttp.ClientSession | None,
        connections: int,
        timeout: float,
    ) -> None:
        self._http = http
        self._owns_http = http is None
        self._connections = connections
        self._timeout = timeout
        self._headers = CIMultiDict(
            {
                "X-Auth-Token": token,
                "Accept": "application/json",
                "User-Agent": f"bcshopper/{__version__}",
            }
        )
        self._headers_with_body = self._headers.copy()
        self._headers_with_body["Content-Type"] = "application/json"

    async def exchange(self, request: Request) -> Reply:
        """Send a request and read its answer, whatever its status.

        Raises:
            TransportError: no whole answer came.
            SessionClosedError: the lent session is closed.
        """
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

    def without_token(self, reply: Reply) -> Reply:
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

    async def aclose(self) -> None:
        """Let go of the network; a lent session is its owner's."""
        if self._owns_http and self._http is not None:
            await self._http.close()

    def _open_http(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                middlewares=(_ask_once,),
            )
        return self._http


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
